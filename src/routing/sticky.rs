//! The cookie by which a client comes back to its backend. PURE.

use std::{fmt::Write as _, time::Duration};

use hyper::header::HeaderValue;

/// The cookie of a route that names a client's backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyCookie {
    /// Its name, a token (RFC 6265 §4.1.1).
    pub name: String,
    /// Whether browsers send it over TLS alone.
    pub security: CookieSecurity,
    /// Whether browsers send it with requests that pages of other sites make.
    pub same_site: SameSite,
    /// How long browsers keep it, in whole seconds; `None` = until they are closed.
    pub max_age: Option<Duration>,
}

/// Whether a cookie is `Secure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieSecurity {
    /// If the request came over TLS.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `SameSite` of a cookie (RFC 6265bis §5.6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Not with requests that pages of other sites make, but where a link leads from one.
    Lax,
    /// Never with requests that begin at another site.
    Strict,
    /// With all requests. Browsers take such a cookie only with `Secure`.
    None,
}

impl StickyCookie {
    /// The value of `Set-Cookie`. `tag`: the text that names the backend. `is_secure`: whether the request came over TLS.
    /// `None`: a name or tag that cannot stand in a field.
    #[must_use]
    pub fn field(&self, tag: &str, is_secure: bool) -> Option<HeaderValue> {
        let same_site = match self.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        };
        let mut text = format!("{}={tag}; Path=/; HttpOnly; SameSite={same_site}", self.name);
        if let Some(age) = self.max_age {
            // Writing to a String cannot fail.
            let _ = write!(text, "; Max-Age={}", age.as_secs());
        }
        let is_secure = match self.security {
            CookieSecurity::Auto => is_secure,
            CookieSecurity::Always => true,
            CookieSecurity::Never => false,
        };
        if is_secure {
            text.push_str("; Secure");
        }
        HeaderValue::try_from(text).ok()
    }

    /// Whether every answer carries the cookie. A cookie that ends would otherwise end under a client that comes all the time.
    #[must_use]
    pub const fn is_renewed(&self) -> bool {
        self.max_age.is_some()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn field_has_the_attributes_of_the_file() {
        let plain = StickyCookie {
            name: "longwire".to_owned(),
            security: CookieSecurity::Auto,
            same_site: SameSite::Lax,
            max_age: None,
        };
        let strict = StickyCookie {
            name: "s".to_owned(),
            same_site: SameSite::Strict,
            max_age: Some(Duration::from_secs(3600)),
            security: CookieSecurity::Never,
        };
        let always = StickyCookie { same_site: SameSite::None, security: CookieSecurity::Always, ..plain.clone() };
        for (cookie, is_secure, expected) in [
            (&plain, false, "longwire=abc; Path=/; HttpOnly; SameSite=Lax"),
            (&plain, true, "longwire=abc; Path=/; HttpOnly; SameSite=Lax; Secure"),
            (&strict, true, "s=abc; Path=/; HttpOnly; SameSite=Strict; Max-Age=3600"),
            (&always, false, "longwire=abc; Path=/; HttpOnly; SameSite=None; Secure"),
        ] {
            assert_eq!(cookie.field("abc", is_secure).unwrap(), expected);
        }
    }
}
