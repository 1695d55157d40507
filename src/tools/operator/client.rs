//! Calls the admin interface.

use std::{fmt, fs, io, path::PathBuf, str::FromStr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::AdminLocation;
use crate::config::{self, AdminBind, Diagnostics};

/// The deadline of a whole call.
const PATIENCE: Duration = Duration::from_secs(15);
/// The most bytes of an answer. A list of a thousand sessions takes about 1 MiB.
const LARGEST: usize = 16 * 1024 * 1024;

/// The address of an admin interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Calls one admin interface, with a token if it has one.
#[derive(Debug)]
pub struct AdminClient {
    address: Address,
    token: Option<String>,
}

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// The file does not say where to call, because it has errors.
    Config(Diagnostics),
    /// The file has no admin interface, or one on a port that only the running longwire knows.
    NoAdmin(PathBuf),
    /// The token cannot be read.
    Token(PathBuf, io::Error),
    /// Nobody answers at the address.
    Unreachable(Address, String),
    /// The answer does not come from longwire.
    Strange(Address, String),
    /// Nothing that runs has the name that was given.
    NoSuchName(String),
    /// The call was refused. The value is the `error` of the answer.
    Refused(Value),
    /// The person who was asked did not say yes.
    Declined,
    /// The process cannot listen to signals.
    Signal(io::Error),
    /// The terminal cannot be written to.
    Terminal(io::Error),
}

impl AdminLocation {
    /// Finds the address and the token for calls.
    ///
    /// # Errors
    /// The file cannot be read, or has no admin interface; or the token cannot be read.
    pub fn find(self) -> Result<AdminClient, CallError> {
        let Self { address, config, mut token_file } = self;
        let address = match address {
            Some(address) => address,
            None => {
                let admin = config::admin_of(&config).map_err(CallError::Config)?;
                let admin = admin.ok_or_else(|| CallError::NoAdmin(config.clone()))?;
                token_file = token_file.or(admin.token_file);
                Address::of(admin.bind).ok_or(CallError::NoAdmin(config))?
            }
        };
        let token = token_file.map(|file| match fs::read_to_string(&file) {
            Ok(token) => Ok(token.trim().to_owned()),
            Err(error) => Err(CallError::Token(file, error)),
        });
        Ok(AdminClient { address, token: token.transpose()? })
    }
}

impl Address {
    /// The address as seen from this machine; `None` = only the process that has bound the port knows it.
    fn of(bind: AdminBind) -> Option<Self> {
        match bind {
            AdminBind::Unix(path) => Some(Self::Unix(path)),
            AdminBind::Tcp(address) if address.port() == 0 => None,
            AdminBind::Tcp(address) if address.ip().is_unspecified() => {
                Some(Self::Tcp(format!("{}:{}", if address.is_ipv4() { "127.0.0.1" } else { "[::1]" }, address.port())))
            }
            AdminBind::Tcp(address) => Some(Self::Tcp(address.to_string())),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let place = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        match place.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                Ok(Self::Tcp(place.to_owned()))
            }
            _ => Err("write host:port, such as 127.0.0.1:9900, or unix:/path".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(place) => f.write_str(place),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl AdminClient {
    pub(super) async fn get(&self, path: &str) -> Result<Value, CallError> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, CallError> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(super) async fn delete(&self, path: &str, body: &Value) -> Result<Value, CallError> {
        self.call(Method::DELETE, path, Some(body)).await
    }

    /// The error for an answer that comes from another server.
    pub(super) fn strange(&self, why: &str) -> CallError {
        CallError::Strange(self.address.clone(), why.to_owned())
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CallError> {
        let unreachable = |error: String| CallError::Unreachable(self.address.clone(), error);
        let strange = |error: &dyn fmt::Display| CallError::Strange(self.address.clone(), error.to_string());
        let request = self.request(method, path, body).map_err(|error| strange(&error))?;
        let call = async {
            match &self.address {
                Address::Tcp(place) => match TcpStream::connect(place).await {
                    Ok(stream) => exchange(stream, request).await.map_err(|error| strange(&error)),
                    Err(error) => Err(unreachable(error.to_string())),
                },
                Address::Unix(path) => match UnixStream::connect(path).await {
                    Ok(stream) => exchange(stream, request).await.map_err(|error| strange(&error)),
                    Err(error) => Err(unreachable(error.to_string())),
                },
            }
        };
        let (status, body) =
            timeout(PATIENCE, call).await.map_err(|_| unreachable(format!("no answer within {PATIENCE:?}")))??;
        let Ok(mut value) = serde_json::from_slice::<Value>(&body) else {
            return Err(strange(&format_args!("it answers {status}, and no JSON")));
        };
        if status.is_success() {
            return Ok(value);
        }
        match value["error"].take() {
            error if error["code"].is_null() => Err(strange(&format_args!("it answers {status}"))),
            error => Err(CallError::Refused(error)),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let host = match &self.address {
            Address::Tcp(place) => place,
            Address::Unix(_) => "localhost",
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(Full::from(body.map(Value::to_string).unwrap_or_default()))
    }
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Broken> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok((head.status, Limited::new(body, LARGEST).collect().await?.to_bytes()))
}

/// A part of a path or a query. Every byte is percent-encoded, except those that have no meaning of their own (RFC 3986
/// §2.3).
pub(super) fn encode(text: &str) -> String {
    const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, &RESERVED).to_string()
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(diagnostics) => f.write_str(diagnostics.render(false).trim_end()),
            Self::NoAdmin(file) => write!(
                f,
                "{} does not say where the admin interface is (admin: {{ bind: 127.0.0.1:9900 }}): --admin ADDRESS does",
                file.display()
            ),
            Self::Token(file, error) => write!(f, "cannot read the token in {}: {error}", file.display()),
            Self::Unreachable(address, error) => write!(
                f,
                "nobody answers on {address} ({error}): is longwire running there? --admin ADDRESS asks elsewhere"
            ),
            Self::Strange(address, error) => write!(
                f,
                "{address} is not the admin interface of longwire: {error}. It is where `admin.bind` of the file says"
            ),
            Self::NoSuchName(error) => f.write_str(error),
            Self::Refused(error) => f.write_str(error["message"].as_str().unwrap_or("refused")),
            Self::Declined => f.write_str("nothing was done"),
            Self::Signal(error) => write!(f, "cannot wait for signals: {error}"),
            Self::Terminal(error) => write!(f, "cannot write to the terminal: {error}"),
        }
    }
}

impl std::error::Error for CallError {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_place_or_a_path() {
        let tcp = |text: &str| Address::Tcp(text.to_owned());
        assert_eq!("127.0.0.1:9900".parse(), Ok(tcp("127.0.0.1:9900")));
        assert_eq!("http://longwire.internal:9900/".parse(), Ok(tcp("longwire.internal:9900")));
        assert_eq!("unix:/run/longwire.sock".parse(), Ok(Address::Unix("/run/longwire.sock".into())));
        for wrong in ["", "9900", ":9900", "localhost", "localhost:0", "unix:", "host:99999"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn everywhere_is_called_from_here() {
        let of = |bind: &str| Address::of(AdminBind::Tcp(bind.parse().unwrap())).map(|address| address.to_string());
        assert_eq!(of("0.0.0.0:9900").as_deref(), Some("127.0.0.1:9900"));
        assert_eq!(of("[::]:9900").as_deref(), Some("[::1]:9900"));
        assert_eq!(of("127.0.0.1:0"), None);
    }

    #[test]
    fn a_name_is_encoded_whole() {
        assert_eq!(encode("*/ws/é ~x"), "%2A%2Fws%2F%C3%A9%20~x");
    }
}
