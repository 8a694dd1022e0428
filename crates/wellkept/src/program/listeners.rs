//! Where the doors are: the sections `http`, `admin`, `grpc` and `haproxy`, and the rule that an open admin door needs a token.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use wellkept_config::{Ratio, Section, read_regular};
use wellkept_http::{Access, AgentOptions, Loopback, Names, Token};

/// Where the program listens.
#[derive(Debug, Clone)]
pub struct Listeners {
    /// Probes and metrics. Default `127.0.0.1:8080`.
    pub http: SocketAddr,
    /// Whether the public may read the checks' names. Default yes.
    pub names: Names,
    /// Details and the status page. Without it they are served on `http`, when that is loopback.
    pub admin: Option<Admin>,
    /// `grpc.health.v1`, without TLS. Off unless the section is there; then by default `127.0.0.1:8082`.
    pub grpc: Option<SocketAddr>,
    /// The agent that HAProxy's `agent-check` asks. Off unless the section is there.
    pub haproxy: Option<Haproxy>,
}

/// The agent for HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Haproxy {
    /// Where it listens. Default `127.0.0.1:8083`.
    pub listen: SocketAddr,
    /// What it says.
    pub options: AgentOptions,
}

/// The admin door.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where it listens. Default `127.0.0.1:8081`.
    pub listen: SocketAddr,
    /// The file that holds the token.
    pub token_file: Option<PathBuf>,
    /// The token in it.
    pub token: Option<Token>,
    /// Whether who comes straight to a loopback address is an operator without the token. Default yes.
    pub loopback: Loopback,
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            http: SocketAddr::from(([127, 0, 0, 1], 8080)),
            names: Names::Shown,
            admin: None,
            grpc: None,
            haproxy: None,
        }
    }
}

impl Listeners {
    pub(super) fn read(root: &mut Section<'_>) -> Self {
        let defaults = Self::default();
        let http = root.section("http", |http| {
            let listen = http.or("listen", defaults.http);
            let shown = http.or("show_names", true);
            http.complete();
            Some((listen, if shown { Names::Shown } else { Names::Hidden }))
        });
        let (http, names) = http.unwrap_or((defaults.http, defaults.names));
        let admin = root.section("admin", |section| Some(Admin::read(section)));
        let grpc = root.section("grpc", |grpc| {
            let listen = grpc.or("listen", SocketAddr::from(([127, 0, 0, 1], 8082)));
            grpc.complete();
            Some(listen)
        });
        let haproxy = root.section("haproxy", |section| Some(Haproxy::read(section)));
        let doors = [
            ("http", Some(http)),
            ("admin", admin.as_ref().map(|admin| admin.listen)),
            ("grpc", grpc),
            ("haproxy", haproxy.map(|haproxy| haproxy.listen)),
        ];
        let doors = doors.map(|(name, address)| address.map(|address| (name, address)));
        for (index, one) in doors.iter().enumerate() {
            let Some((name, address)) = one else { continue };
            let before = doors.iter().take(index).flatten().find(|(_, other)| collide(*address, *other));
            if let Some((other, _)) = before {
                let at = root.position_of(name);
                let port = address.port();
                let message = format!("{name} and {other} can't both listen on port {port}: give them different ports");
                root.report(at, "config.same_address", message);
            }
        }
        Self { http, names, admin, grpc, haproxy }
    }

    /// Who is an operator, on the door that shows details.
    pub fn access(&self) -> Access {
        let Some(admin) = &self.admin else { return Access::loopback_only() };
        let access = admin.token.clone().map_or_else(Access::loopback_only, Access::with_token);
        access.loopback(admin.loopback)
    }
}

impl Haproxy {
    fn read(section: &mut Section<'_>) -> Self {
        let listen = section.or("listen", SocketAddr::from(([127, 0, 0, 1], 8083)));
        let weight = section.optional::<Ratio>("degraded_weight");
        section.complete();
        // A ratio is from 0 to 1.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
        let options = weight.map(|weight| AgentOptions { degraded_weight: (weight.as_f64() * 100.0).round() as u8 });
        Self { listen, options: options.unwrap_or_default() }
    }
}

impl Admin {
    fn read(section: &mut Section<'_>) -> Self {
        let listen = section.or("listen", SocketAddr::from(([127, 0, 0, 1], 8081)));
        let token_file = section.optional::<PathBuf>("token_file");
        let loopback = if section.or("loopback", true) { Loopback::Trusted } else { Loopback::Untrusted };
        section.complete();
        let token = token_file.as_deref().and_then(|path| match read_token(path) {
            Ok(token) => Some(token),
            Err(problem) => {
                let at = section.position_of("token_file");
                section.report(at, "config.token", problem);
                None
            }
        });
        let has_token = token_file.is_some() || section.has("token_file");
        if loopback == Loopback::Untrusted && !has_token {
            let at = section.position_of("loopback");
            let message = "nobody could come in: name a `token_file`, or leave `loopback` out";
            section.report(at, "config.closed_admin", message.to_owned());
        } else if !listen.ip().is_loopback() && !has_token {
            let at = section.position_of("listen");
            section.report(
                at,
                "config.open_admin",
                format!(
                    "the admin door on {listen} would be open to everyone: name a `token_file`, or listen on 127.0.0.1"
                ),
            );
        }
        Self { listen, token_file, token, loopback }
    }
}

/// Largest token file that is read, in bytes.
const MAX_TOKEN_FILE: usize = 4096;

fn read_token(path: &Path) -> Result<Token, String> {
    let shown = path.display();
    let bytes =
        read_regular(path, MAX_TOKEN_FILE).map_err(|error| format!("the token file {shown} can't be read: {error}"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("the token file {shown} is not text"))?;
    Token::parse(text).map_err(|error| format!("{shown}: {error}"))
}

/// Whether two listeners can't both be had: one port, and one address or all of them.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_address = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_address
}
