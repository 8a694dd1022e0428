//! Who may see details: a bearer of the token, or a caller on a loopback listener or a Unix socket who came straight to it.

use std::fmt;
use std::net::IpAddr;

use http::Version;
use http::header::{AUTHORIZATION, HOST, HeaderName};
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::server::{Address, Arrival, Peer, PeerProcess};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Anyone: sees status words and component names.
    Public,
    /// Sees everything that is shown.
    Operator,
}

/// What makes a caller an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// Bears the token.
    Token,
    /// Came straight to a loopback listener.
    Loopback,
    /// Came straight to a Unix socket, as the user that this process runs as, or as root.
    UnixSocket,
}

impl Credential {
    /// The word in the log: `token`, `loopback` or `unix_socket`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Loopback => "loopback",
            Self::UnixSocket => "unix_socket",
        }
    }
}

/// What callers who come straight to a loopback listener or a Unix socket are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loopback {
    /// Operators: whoever is on the machine may act on it; over a Unix socket, whoever runs as the same user or as root.
    #[default]
    Trusted,
    /// Nobody in particular: a proxy on the machine that leaves no trace would make operators of its callers.
    Untrusted,
}

/// The rule that tells callers apart. By default those who come straight from this machine are operators, and nobody
/// else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    token: Option<Token>,
    loopback: Loopback,
}

impl Access {
    /// Only callers on a loopback listener or a Unix socket.
    pub fn loopback_only() -> Self {
        Self::default()
    }

    /// Bearers of the token, and callers on a loopback listener or a Unix socket.
    pub fn with_token(token: Token) -> Self {
        Self { token: Some(token), ..Self::default() }
    }

    /// Only bearers of the token: for a service behind a proxy on the same machine.
    pub fn token_only(token: Token) -> Self {
        Self::with_token(token).loopback(Loopback::Untrusted)
    }

    /// The same rule with other trust in loopback callers. Without a token and without trust nobody is an operator.
    #[must_use]
    pub fn loopback(self, loopback: Loopback) -> Self {
        Self { loopback, ..self }
    }

    /// Whether a token is configured.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Who sent this request.
    ///
    /// A loopback caller is an operator only when the *listening socket* is bound to a loopback address, the request
    /// is of HTTP/1.1 or later and bears no trace of a proxy, and its Host is a loopback name: the last one keeps pages
    /// in a local browser from reading along by DNS rebinding. A proxy on the same machine that speaks HTTP/1.1, names
    /// a loopback Host and adds no header can't be told from a local caller: behind one, [`Access::token_only`].
    ///
    /// On a Unix socket the same holds, whoever may open its file, but the caller must also run as the user that this
    /// process runs as, or as root, as the system says (`SO_PEERCRED`): a group that the file lets in sees what is
    /// public. The Host may be empty, as RFC 9112 (section 3.2) has it where there is no authority.
    pub fn caller(&self, request: &Parts) -> Caller {
        if self.credential(request).is_some() { Caller::Operator } else { Caller::Public }
    }

    /// What makes the sender of this request an operator; `None` when it is nobody in particular.
    pub fn credential(&self, request: &Parts) -> Option<Credential> {
        if self.bears_token(request) {
            Some(Credential::Token)
        } else if self.loopback == Loopback::Trusted {
            comes_straight_from_here(request)
        } else {
            None
        }
    }

    fn bears_token(&self, request: &Parts) -> bool {
        let Some(token) = &self.token else { return false };
        let bearer = request.headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
        bearer.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case(b"bearer ") && token.is(given))
    }
}

fn comes_straight_from_here(request: &Parts) -> Option<Credential> {
    let arrival = request.extensions.get::<Arrival>()?;
    let (credential, may_lack_name) = match (&arrival.bound, arrival.peer) {
        (Address::Tcp(bound), _) => (bound.ip().is_loopback().then_some(Credential::Loopback), false),
        (Address::Unix(_), Peer::Unix(Some(process))) => (is_ours(process).then_some(Credential::UnixSocket), true),
        (Address::Unix(_), Peer::Unix(None) | Peer::Tcp(_)) => (None, true),
    };
    let proxied = request.headers.keys().any(is_of_a_proxy);
    // Of HTTP/1.0 there is little left but proxies that were not told to speak a later one: older versions of nginx
    // are so by default, with a loopback Host and no header of their own.
    let recent = request.version >= Version::HTTP_11;
    let named = host(request).is_some_and(|host| is_loopback_name(host) || (may_lack_name && host.is_empty()));
    credential.filter(|_| recent && !proxied && named)
}

/// Whether a process runs as the same user, or as one who may do everything anyway.
fn is_ours(process: PeerProcess) -> bool {
    process.user == rustix::process::geteuid().as_raw() || process.user == 0
}

fn is_of_a_proxy(name: &HeaderName) -> bool {
    let name = name.as_str();
    let names = ["via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "x-envoy-external-address"];
    names.contains(&name) || name.contains("forwarded")
}

/// The one Host of the request; `None` when there is none, several, or one that is not text.
pub(crate) fn host(request: &Parts) -> Option<&str> {
    let mut headers = request.headers.get_all(HOST).iter();
    match (request.uri.authority(), headers.next(), headers.next()) {
        (Some(authority), None, None) => Some(authority.as_str()),
        (None, Some(host), None) => host.to_str().ok(),
        (Some(authority), Some(host), None) => host.to_str().ok().filter(|host| *host == authority.as_str()),
        _ => None,
    }
}

fn is_loopback_name(host: &str) -> bool {
    let (name, rest) = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').unwrap_or_default(),
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    // After the name there may be a port, and nothing else.
    let port = rest.strip_prefix(':').unwrap_or(rest);
    let is_port = rest.is_empty() || (rest.starts_with(':') && port.parse::<u16>().is_ok());
    is_port && is_loopback(name)
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One or two secrets that open the admin door; two while one replaces the other. Only digests are kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    digests: Vec<[u8; 32]>,
}

impl Token {
    /// Shortest secret taken, in bytes.
    pub const MIN_LENGTH: usize = 16;

    /// Reads one secret a line, at most two; blank lines are passed over.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let secrets: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        match secrets.len() {
            0 => Err(TokenError::Empty),
            1 | 2 if secrets.iter().any(|secret| secret.len() < Self::MIN_LENGTH) => Err(TokenError::TooShort),
            1 | 2 => Ok(Self { digests: secrets.iter().map(|secret| Sha256::digest(secret).into()).collect() }),
            _ => Err(TokenError::TooMany),
        }
    }

    /// Compares digests of one length in constant time, and always all of them.
    fn is(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        let matches = self.digests.iter().fold(Choice::from(0), |found, digest| found | digest.ct_eq(&given));
        matches.into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(***)")
    }
}

/// Why a text is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is nothing in it.
    #[error("the token file is empty: write a secret of at least {} characters into it", Token::MIN_LENGTH)]
    Empty,
    /// A secret is too short to be one.
    #[error("the token is too short: at least {} characters", Token::MIN_LENGTH)]
    TooShort,
    /// There are more than two.
    #[error("the token file has more than two lines: one secret a line, two while one replaces the other")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::Request;

    use super::*;

    const SECRET: &str = "a-secret-of-some-length";

    fn socket(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    fn caller(bound: &str, headers: &[(&str, &str)], access: &Access) -> Caller {
        let mut request = Request::get("/health/detailed");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(Arrival::new(socket(bound), socket("127.0.0.1:5")));
        access.caller(&parts)
    }

    #[test]
    fn a_caller_straight_on_a_loopback_listener_is_an_operator() {
        for host in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "127.9.9.9"] {
            assert_eq!(caller("127.0.0.1:8080", &[("host", host)], &Access::default()), Caller::Operator, "{host}");
        }
    }

    #[test]
    fn a_loopback_peer_of_an_open_listener_is_nobody() {
        assert_eq!(caller("0.0.0.0:8080", &[("host", "127.0.0.1:8080")], &Access::default()), Caller::Public);
        assert_eq!(caller("[::]:8080", &[("host", "localhost")], &Access::default()), Caller::Public);
    }

    #[test]
    fn a_trace_of_a_proxy_or_a_strange_host_makes_the_caller_public() {
        let local = ("host", "127.0.0.1:8080");
        for header in [
            "forwarded",
            "x-forwarded-for",
            "X-Forwarded-Ssl",
            "x-forwarded-user",
            "via",
            "x-real-ip",
            "x-forwarded",
            "x-original-forwarded-for",
            "cf-connecting-ip",
        ] {
            let headers = [local, (header, "127.0.0.1")];
            assert_eq!(caller("127.0.0.1:8080", &headers, &Access::default()), Caller::Public, "{header}");
        }
        for host in [
            "rebound.example:8080",
            "127.0.0.1:1@evil.example",
            "[::1].evil.example",
            "localhost:.evil.example",
            "localhost:",
            "127.0.0.1.example",
            "localhost.example",
            "10.0.0.1",
            "",
            "[::1",
            "::1",
        ] {
            assert_eq!(caller("127.0.0.1:8080", &[("host", host)], &Access::default()), Caller::Public, "{host}");
        }
        assert_eq!(caller("127.0.0.1:8080", &[], &Access::default()), Caller::Public, "no host");
        assert_eq!(caller("127.0.0.1:8080", &[local, ("host", "b")], &Access::default()), Caller::Public, "two hosts");
    }

    #[test]
    fn a_token_opens_from_anywhere_and_nothing_else_does() {
        let access = Access::with_token(Token::parse(&format!("{SECRET}\n")).unwrap());
        let bearing = |value: &str| caller("0.0.0.0:8081", &[("authorization", value), ("host", "x")], &access);
        assert_eq!(bearing(&format!("Bearer {SECRET}")), Caller::Operator);
        assert_eq!(bearing(&format!("bearer {SECRET}")), Caller::Operator);
        for wrong in ["", "Bearer", "Bearer ", "Basic YTpi", SECRET, &format!("Bearer {SECRET} "), "Bearer \u{e9}"] {
            assert_eq!(bearing(wrong), Caller::Public, "{wrong}");
        }
    }

    #[test]
    fn a_proxy_that_speaks_http_1_0_is_nobody_unless_it_brings_the_token() {
        let access = Access::with_token(Token::parse(SECRET).unwrap());
        let asked = |version: Version, secret: &str| {
            let request = Request::get("/health/detailed").version(version).header(HOST, "127.0.0.1:8080");
            let request = request.header(AUTHORIZATION, format!("Bearer {secret}"));
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            parts.extensions.insert(Arrival::new(socket("127.0.0.1:8080"), socket("127.0.0.1:5")));
            access.credential(&parts)
        };
        assert_eq!(asked(Version::HTTP_10, "none"), None);
        assert_eq!(asked(Version::HTTP_10, SECRET), Some(Credential::Token));
        for version in [Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(asked(version, "none"), Some(Credential::Loopback), "{version:?}");
        }
    }

    #[test]
    fn without_trust_in_loopback_only_the_token_opens() {
        let access = Access::token_only(Token::parse(SECRET).unwrap());
        let local = ("host", "127.0.0.1:8080");
        assert_eq!(caller("127.0.0.1:8080", &[local], &access), Caller::Public);
        let bearer = format!("Bearer {SECRET}");
        assert_eq!(caller("127.0.0.1:8080", &[local, ("authorization", &bearer)], &access), Caller::Operator);
        let nobody = Access::loopback_only().loopback(Loopback::Untrusted);
        assert_eq!(caller("127.0.0.1:8080", &[local], &nobody), Caller::Public);
    }

    #[test]
    fn on_a_unix_socket_the_same_user_and_root_are_operators_and_nobody_else() {
        let own = rustix::process::geteuid().as_raw();
        let process = |user| Peer::Unix(Some(PeerProcess { user, id: Some(7) }));
        let asked = |peer: Peer, headers: &[(&str, &str)], access: &Access| {
            let mut request = Request::get("/health/detailed");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            parts.extensions.insert(Arrival::new(Address::unix("/run/wellkept.sock"), peer));
            access.credential(&parts)
        };
        let open = Access::default();
        for host in ["localhost", "", "127.0.0.1"] {
            assert_eq!(asked(process(own), &[("host", host)], &open), Some(Credential::UnixSocket), "{host}");
            assert_eq!(asked(process(0), &[("host", host)], &open), Some(Credential::UnixSocket), "{host}");
        }
        let local = ("host", "localhost");
        assert_eq!(asked(process(own + 1), &[local], &open), None, "another user");
        assert_eq!(asked(Peer::Unix(None), &[local], &open), None, "a user that is not known");
        assert_eq!(asked(process(own), &[local, ("via", "1.1 proxy")], &open), None);
        assert_eq!(asked(process(own), &[local, ("x-forwarded-for", "10.0.0.1")], &open), None);
        assert_eq!(asked(process(own), &[("host", "orders.example")], &open), None);
        assert_eq!(asked(process(own), &[], &open), None, "no host");
        let token = Access::token_only(Token::parse(SECRET).unwrap());
        assert_eq!(asked(process(own), &[local], &token), None);
        let bearer = format!("Bearer {SECRET}");
        let bearing = [local, ("authorization", bearer.as_str())];
        assert_eq!(asked(process(own + 1), &bearing, &token), Some(Credential::Token));
    }

    #[test]
    fn two_tokens_are_valid_while_one_replaces_the_other() {
        let token = Token::parse("the-old-secret-16\n\nthe-new-secret-16\n").unwrap();
        assert!(token.is(b"the-old-secret-16") && token.is(b"the-new-secret-16") && !token.is(b""));
        assert_eq!(Token::parse("\n").unwrap_err(), TokenError::Empty);
        assert_eq!(Token::parse("short").unwrap_err(), TokenError::TooShort);
        assert_eq!(Token::parse(&format!("{SECRET}\n").repeat(3)).unwrap_err(), TokenError::TooMany);
        assert_eq!(format!("{token:?}"), "Token(***)");
    }
}
