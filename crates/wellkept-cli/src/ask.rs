//! Asking a running server.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use wellkept::checks::fetch::{FetchError, Method, Request, Response};
use wellkept::config::quoted;
use wellkept::http::Address;
use wellkept::net::AddressRules;
use wellkept::program::{Configuration, Door};

use crate::exit::{Exit, Failure};
use crate::output::escaped;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of an answer is taken: what a server with thousands of checks has to say of its configuration.
const MOST: usize = 64 << 20;

/// A running server and what opens its admin door.
pub(crate) struct Server {
    base: url::Url,
    /// Of a server that is reached by a Unix socket.
    socket: Option<PathBuf>,
    token: Option<String>,
}

impl Server {
    pub(crate) fn new(address: &str, token_file: Option<&Path>) -> Result<Self, Failure> {
        if address.starts_with("unix:") {
            return Self::on_socket(address, token_file);
        }
        let with_scheme = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let base = url::Url::parse(&with_scheme).map_err(|error| {
            Failure::new(Exit::Usage, format!("{} is no address of a server: {error}", quoted(address)))
        })?;
        let token = token_file.map(read_token).transpose()?;
        Ok(Self { base, socket: None, token })
    }

    fn on_socket(address: &str, token_file: Option<&Path>) -> Result<Self, Failure> {
        let refused = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Usage, format!("{} is no address of a server: {error}", quoted(address)))
        };
        let socket: Address = address.parse().map_err(|error| refused(&error))?;
        // Named in the request alone.
        let base = url::Url::parse("http://localhost").map_err(|error| refused(&error))?;
        let token = token_file.map(read_token).transpose()?;
        Ok(Self { base, socket: socket.path().map(Path::to_owned), token })
    }

    /// The address as given, for messages.
    pub(crate) fn address(&self) -> String {
        if let Some(socket) = &self.socket {
            return Address::unix(socket).to_string();
        }
        let mut shown = self.base.clone();
        // Can't fail for a URL with a host; without one there is nothing to hide.
        let _ = shown.set_password(None);
        shown.to_string().trim_end_matches('/').to_owned()
    }

    /// The server that is named, or the one that the configuration describes.
    pub(crate) fn find(
        named: Option<&str>,
        token_file: Option<&Path>,
        configuration: Option<&Configuration>,
    ) -> Result<Self, Failure> {
        let listeners = configuration.map(|configuration| &configuration.listeners);
        let admin = listeners.and_then(|listeners| listeners.admin.as_ref());
        let address = match (named, admin, listeners) {
            (Some(server), ..) => server.to_owned(),
            (None, Some(admin), _) => reachable(&admin.door),
            (None, None, Some(listeners)) => reachable(&listeners.http),
            (None, None, None) => return Err(Failure::new(Exit::Usage, "name a server with --server")),
        };
        Self::new(&address, token_file.or_else(|| admin.and_then(|admin| admin.token_file.as_deref())))
    }

    /// GETs a path.
    pub(crate) fn get(&self, path: &str) -> Result<Response, AskError> {
        self.send(&Wish::get(path), PATIENCE)
    }

    /// Sends anything.
    fn send(&self, wish: &Wish<'_>, patience: Duration) -> Result<Response, AskError> {
        let other = |error: &dyn std::fmt::Display| AskError::Other(error.to_string());
        let url = self.base.join(wish.path).map_err(|error| other(&error))?;
        let mut request = Request::new(wish.method.clone(), &url).map_err(|error| other(&error))?.taking(MOST);
        if let Some(socket) = &self.socket {
            request = request.with_unix_socket(socket);
        }
        if let Some(body) = wish.body {
            request = request.with_json(body.to_string());
        }
        let bearer = self.token.as_ref().map(|token| ("authorization", format!("Bearer {token}")));
        for (name, value) in bearer.iter().chain(wish.header.as_ref()) {
            request = request.with_header(name, value).map_err(|error| other(&error))?;
        }
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| other(&error))?;
        let sent = runtime.block_on(request.send(AddressRules::configured(), Instant::now() + patience));
        sent.map_err(AskError::Unreachable)
    }

    /// Has the server act, and reads its answer. The server's own words tell why it does not.
    pub(crate) fn act<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, AskError> {
        self.act_within(&Wish { method, path, body, header: None }, PATIENCE)
    }

    /// The same, where it may take longer.
    pub(crate) fn act_within<T: DeserializeOwned>(&self, wish: &Wish<'_>, patience: Duration) -> Result<T, AskError> {
        let response = self.send(wish, patience)?;
        let refusal = || serde_json::from_slice::<Refused>(&response.body).ok().map(|refused| refused.error);
        match (response.status.as_u16(), refusal()) {
            (401 | 403, _) => Err(AskError::Unauthorized),
            // Not the words of an endpoint that there is.
            (404, refusal) if refusal.as_ref().is_none_or(|refusal| refusal.code == "http.not_found") => {
                Err(AskError::NotThere)
            }
            (status, Some(refusal)) => Err(AskError::Refused { status, code: refusal.code, message: refusal.message }),
            (200..300, None) => serde_json::from_slice(&response.body)
                .map_err(|error| AskError::Other(format!("the answer is not one of wellkept's: {error}"))),
            (status, None) => Err(AskError::Other(format!("the answer is not one of wellkept's: {status}"))),
        }
    }

    /// GETs a path that answers in JSON.
    pub(crate) fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<(u16, T), AskError> {
        read(&self.get(path)?)
    }
}

/// One request.
pub(crate) struct Wish<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    /// Sent as JSON.
    pub(crate) body: Option<&'a Value>,
    /// A header and its value.
    pub(crate) header: Option<(&'static str, String)>,
}

impl<'a> Wish<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, header: None }
    }
}

fn read<T: DeserializeOwned>(response: &Response) -> Result<(u16, T), AskError> {
    match response.status.as_u16() {
        401 | 403 => Err(AskError::Unauthorized),
        404 => Err(AskError::NotThere),
        status => match serde_json::from_slice(&response.body) {
            Ok(value) => Ok((status, value)),
            Err(error) => Err(AskError::Other(format!("the answer is not one of wellkept's: {error}"))),
        },
    }
}

/// Where a listener is reached from its own machine: one on all addresses is on loopback too.
fn reachable(door: &Door) -> String {
    let mut listen: SocketAddr = match &door.listen {
        Address::Tcp(listen) => *listen,
        Address::Unix(_) => return door.listen.to_string(),
    };
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let scheme = if door.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{listen}")
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum AskError {
    Unreachable(FetchError),
    Unauthorized,
    NotThere,
    Refused { status: u16, code: String, message: String },
    Other(String),
}

/// An error as the doors write it.
#[derive(Deserialize)]
struct Refused {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    code: String,
    message: String,
}

impl AskError {
    /// What a command that was refused ends with: what is wrong with the wish is the caller's matter.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Refused { status: 400..500, .. } => Exit::Usage,
            Self::Refused { .. } => Exit::Failed,
            Self::Unreachable(_) | Self::Unauthorized | Self::NotThere | Self::Other(_) => Exit::Unreachable,
        }
    }
}

impl std::fmt::Display for AskError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(error) => write!(formatter, "{error}"),
            Self::Unauthorized => formatter.write_str("the server wants its admin token: name it with --token-file"),
            Self::NotThere => formatter.write_str("the server shows no details on this address: ask its admin door"),
            Self::Refused { code, message, .. } => write!(formatter, "{} ({})", escaped(message), escaped(code)),
            Self::Other(problem) => formatter.write_str(problem),
        }
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::Configuration, format!("the token file {} can't be read: {error}", path.display()))
    })?;
    // The first line is the newest token; a second one is being replaced.
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(ToOwned::to_owned)
        .ok_or_else(|| Failure::new(Exit::Configuration, format!("the token file {} is empty", path.display())))
}
