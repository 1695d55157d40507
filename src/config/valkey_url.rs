//! The URL of a Valkey or Redis server.

use std::{borrow::Cow, fmt};

use percent_encoding::percent_decode_str;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::{
    addresses::BackendAddress,
    bad_value::BadValue,
    fleet::{FleetPassword, FleetServer},
    unix_name::UnixName,
};

/// The URL of a Valkey or Redis server. It is never shown with what stands in it before the `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValkeyUrl(pub(super) FleetServer);

/// `valkey`: one URL, or a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenValkeyUrls")]
pub(super) struct ValkeyUrls(pub(super) Vec<ValkeyUrl>);

/// The two forms in the file. The checker has chosen between them before.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenValkeyUrls {
    One(ValkeyUrl),
    Several(Vec<ValkeyUrl>),
}

/// The port of a server whose URL has none.
const USUAL_PORT: u16 = 6379;

impl ValkeyUrl {
    pub(super) const KIND: &str = "the URL of a Valkey server";
    pub(super) const PATTERN: &str = r"^(valkey|redis)(s|\+unix)?://.|^rediss://.|\$\{";
    pub(super) const EXAMPLE: &str = "rediss://valkey:6379";

    /// Reads a URL. No message repeats a part of it that may be a secret.
    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        let refused = |help: &str| BadValue::new("this is not the URL of a Valkey server".into(), help);
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(refused("write rediss://USER:PASSWORD@HOST:PORT, or redis:// without TLS"));
        };
        let (is_tls, is_unix) = match &*scheme.to_ascii_lowercase() {
            "redis" | "valkey" => (false, false),
            "rediss" | "valkeys" => (true, false),
            "redis+unix" | "valkey+unix" | "unix" | "redis+socket" => (false, true),
            _ => return Err(refused("it begins with rediss:// (TLS), redis:// (in the clear) or redis+unix://")),
        };
        // A password may have every other sign, because it comes from a variable as it is: the last `@` ends it.
        let (signs_in, place) = match rest.rsplit_once('@') {
            Some(parts) if !is_unix || !rest.starts_with('/') => parts,
            _ => ("", rest),
        };
        let (user, password) = match signs_in.split_once(':') {
            Some((user, password)) => (decoded(user)?, decoded(password)?),
            None if signs_in.is_empty() => (None, None),
            None => {
                return Err(refused(
                    "a name signs in with a password: USER:PASSWORD@, or :PASSWORD@ for the default user",
                ));
            }
        };
        if user.is_some() && password.is_none() {
            return Err(refused("the password is empty: is its variable set?"));
        }
        let (address, database) = if is_unix { unix_place(place)? } else { tcp_place(place)? };
        Ok(Self(FleetServer { address, is_tls, user, password: password.map(FleetPassword::new), database }))
    }
}

/// What a part before the `@` says; `None` = nothing.
fn decoded(part: &str) -> Result<Option<String>, BadValue> {
    let text = percent_decode_str(part).decode_utf8().map_err(|_| {
        BadValue::new("a name or a password of this URL is no text".into(), "a percent sign in it is written %25")
    })?;
    Ok(Some(text.into_owned()).filter(|text| !text.is_empty()))
}

/// The address in `HOST:PORT/DATABASE`, where the port and the database may be missing.
fn tcp_place(text: &str) -> Result<(String, u32), BadValue> {
    let refused = |help: &str| BadValue::new("this is not the URL of a Valkey server".into(), help);
    if text.contains(['?', '#']) {
        return Err(refused("it ends with the number of the database: nothing stands behind a ? or a #"));
    }
    let (address, database) = text.split_once('/').unwrap_or((text, ""));
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let address = if has_port { address.to_owned() } else { format!("{address}:{USUAL_PORT}") };
    // Its own message would repeat the text.
    let address = BackendAddress::parse(&address).map_err(|_| refused("a host and a port: rediss://valkey:6379"))?;
    Ok((address.0, database_of(database)?))
}

/// The address in `/PATH?db=DATABASE`, where the database may be missing.
fn unix_place(text: &str) -> Result<(String, u32), BadValue> {
    let refused = |help: &str| BadValue::new("this is not the URL of a Unix socket".into(), help);
    let (path, query) = text.split_once('?').unwrap_or((text, "db=0"));
    let Some(database) = query.strip_prefix("db=") else {
        return Err(refused("only ?db= and the number of the database stand behind the path"));
    };
    let address = format!("{}{path}", UnixName::PREFIX);
    UnixName::parse(&address)
        .map_err(|_| refused("the whole path, of at most 107 bytes: redis+unix:///run/valkey.sock"))?;
    Ok((address, database_of(database)?))
}

fn database_of(text: &str) -> Result<u32, BadValue> {
    match text.trim_end_matches('/') {
        "" => Ok(0),
        number => number.parse().map_err(|_| {
            BadValue::new("the database of this URL is no number".into(), "a number from 0: redis://valkey:6379/0")
        }),
    }
}

/// The URL without what signs in.
impl fmt::Display for ValkeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FleetServer { address, is_tls, user, password, database } = &self.0;
        let signs_in = match (user, password) {
            (Some(_), Some(_)) => "***:***@",
            (None, Some(_)) => ":***@",
            (_, None) => "",
        };
        match address.strip_prefix(UnixName::PREFIX) {
            Some(path) => write!(f, "redis+unix://{signs_in}{path}?db={database}"),
            None if *is_tls => write!(f, "rediss://{signs_in}{address}/{database}"),
            None => write!(f, "redis://{signs_in}{address}/{database}"),
        }
    }
}

impl From<WrittenValkeyUrls> for ValkeyUrls {
    fn from(written: WrittenValkeyUrls) -> Self {
        match written {
            WrittenValkeyUrls::One(url) => Self(vec![url]),
            WrittenValkeyUrls::Several(urls) => Self(urls),
        }
    }
}

impl Serialize for ValkeyUrls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl JsonSchema for ValkeyUrls {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ValkeyUrls".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<ValkeyUrl>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> FleetServer {
        ValkeyUrl::parse(text).unwrap_or_else(|bad| panic!("{text}: {bad}")).0
    }

    #[test]
    fn a_url_names_a_place_and_perhaps_who_signs_in() {
        for (text, place, is_tls, user, password, database) in [
            ("redis://valkey", "valkey:6379", false, None, None, 0),
            ("rediss://valkey:6380/3", "valkey:6380", true, None, None, 3),
            ("valkeys://[2001:db8::1]/", "[2001:db8::1]:6379", true, None, None, 0),
            ("redis://[::1]:7000", "[::1]:7000", false, None, None, 0),
            ("REDIS://:word@10.0.0.1:1/2", "10.0.0.1:1", false, None, Some("word"), 2),
            ("rediss://me:word@valkey", "valkey:6379", true, Some("me"), Some("word"), 0),
            // What a variable brings is no URL.
            ("rediss://me:a/b@c:d?e#f@valkey:1", "valkey:1", true, Some("me"), Some("a/b@c:d?e#f"), 0),
            ("rediss://m%3Ae:50%25%40@valkey:1", "valkey:1", true, Some("m:e"), Some("50%@"), 0),
            ("redis+unix:///run/v@lkey.sock", "unix:/run/v@lkey.sock", false, None, None, 0),
            ("redis+unix://me:word@/run/v.sock?db=4", "unix:/run/v.sock", false, Some("me"), Some("word"), 4),
        ] {
            let server = read(text);
            assert_eq!((server.address.as_str(), server.is_tls), (place, is_tls), "{text}");
            assert_eq!((server.user.as_deref(), server.database), (user, database), "{text}");
            assert_eq!(server.password.as_ref().map(FleetPassword::expose), password, "{text}");
        }
    }

    #[test]
    fn a_url_that_would_mean_something_else_is_refused_and_not_repeated() {
        for (text, advice) in [
            ("valkey:6379", "rediss://"),
            ("me:hush@valkey:6379", "rediss://"),
            ("http://me:hush@valkey", "it begins with rediss://"),
            ("rediss://me:hush@", "a host and a port"),
            ("rediss://me:hush@valkey:0", "a host and a port"),
            ("rediss://me:hush@valkey:1/x", "a number from 0"),
            ("rediss://me:hush@valkey:1/-1", "a number from 0"),
            ("rediss://me:hush@valkey?db=1", "nothing stands behind a ?"),
            ("rediss://hush@valkey", "a name signs in with a password"),
            ("rediss://hush:@valkey", "is its variable set?"),
            ("rediss://me:hush%ff@valkey", "%25"),
            ("redis+unix://me:hush@run/v.sock", "the whole path"),
            ("redis+unix:///run/hush?x=1", "only ?db="),
            ("redis+unix://", "the whole path"),
        ] {
            let bad = ValkeyUrl::parse(text).unwrap_err().to_string();
            assert!(bad.contains(advice), "{text}: {bad}");
            assert!(!bad.contains("hush"), "{bad}");
        }
    }

    #[test]
    fn nobody_reads_what_signs_in() {
        for (text, shown) in [
            ("rediss://me:hush@valkey:6380/3", "rediss://***:***@valkey:6380/3"),
            ("redis://:hush@valkey", "redis://:***@valkey:6379/0"),
            ("redis+unix://:hush@/run/v.sock?db=4", "redis+unix://:***@/run/v.sock?db=4"),
            ("redis://valkey", "redis://valkey:6379/0"),
        ] {
            let url = ValkeyUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hush"));
            assert!(ValkeyUrl::parse(shown).is_ok());
        }
    }
}
