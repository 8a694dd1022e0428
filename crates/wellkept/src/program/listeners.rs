//! Where the doors are: the sections `http`, `admin`, `grpc` and `haproxy`, and the rule that an open admin door needs a token.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use wellkept_config::{FromNode, Ratio, Schema, Section, read_regular};
use wellkept_http::{Access, Address, AddressError, AgentOptions, Loopback, Names, Token};

use super::tls::DoorTls;

/// Where the program listens.
#[derive(Debug, Clone)]
pub struct Listeners {
    /// Probes and metrics. Default `127.0.0.1:8080`.
    pub http: Door,
    /// Whether the public may read the checks' names. Default yes.
    pub names: Names,
    /// Details and the status page. Without it they are served on `http`, when only this machine reaches that.
    pub admin: Option<Admin>,
    /// `grpc.health.v1`, without TLS. Off unless the section is there; then by default `127.0.0.1:8082`.
    pub grpc: Option<SocketAddr>,
    /// The agent that HAProxy's `agent-check` asks. Off unless the section is there.
    pub haproxy: Option<Haproxy>,
}

/// Where a door of HTTP listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// Its address, TCP or a Unix socket.
    pub listen: Address,
    /// The permissions of a Unix socket's file. Default 0600.
    pub mode: u32,
    /// TLS on it. Default none.
    pub tls: Option<DoorTls>,
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
    pub door: Door,
    /// The file that holds the token.
    pub token_file: Option<PathBuf>,
    /// The token in it.
    pub token: Option<Token>,
    /// Whether who comes straight to a loopback address is an operator without the token. Default yes.
    pub loopback: Loopback,
}

impl Default for Listeners {
    fn default() -> Self {
        Self { http: Door::on_loopback(8080), names: Names::Shown, admin: None, grpc: None, haproxy: None }
    }
}

impl Listeners {
    pub(super) fn read(root: &mut Section<'_>) -> Self {
        root.describe(&[
            ("http", "The door of the probes and the metrics."),
            ("http.show_names", "Whether the public may read the names of the checks."),
            ("admin", "The door of details, the status page and what acts. Default: on `http`, if only this machine reaches that."),
            ("grpc", "The door of `grpc.health.v1.Health`, without TLS. Default: none."),
            ("grpc.listen", "Where it listens."),
            ("haproxy", "The agent that HAProxy's `agent-check` asks. Default: none."),
        ]);
        let defaults = Self::default();
        let http = root.section("http", |http| {
            let door = Door::read(http, 8080);
            let shown = http.or("show_names", true);
            http.complete();
            Some((door, if shown { Names::Shown } else { Names::Hidden }))
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
            ("http", Some(http.listen.clone())),
            ("admin", admin.as_ref().map(|admin| admin.door.listen.clone())),
            ("grpc", grpc.map(Address::Tcp)),
            ("haproxy", haproxy.map(|haproxy| Address::Tcp(haproxy.listen))),
        ];
        let doors = doors.map(|(name, address)| address.map(|address| (name, address)));
        for (index, one) in doors.iter().enumerate() {
            let Some((name, address)) = one else { continue };
            let mut before = doors.iter().take(index).flatten();
            if let Some((other, place)) = before.find_map(|(other, at)| Some((other, collide(address, at)?))) {
                let at = root.position_of(name);
                root.report(at, "config.same_address", format!("{name} and {other} can't both listen on {place}"));
            }
        }
        Self { http, names, admin, grpc, haproxy }
    }

    pub(super) fn admin_tls(&self) -> Option<&DoorTls> {
        self.admin.as_ref().and_then(|admin| admin.door.tls.as_ref())
    }

    /// What is allowed and seldom meant, in words.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let doors = [("http", self.http.tls.as_ref()), ("admin", self.admin_tls())];
        doors.into_iter().filter_map(|(door, tls)| tls?.warning(door))
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
        section.describe(&[
            ("listen", "Where it listens."),
            ("degraded_weight", "The weight, of that of a healthy server, that a degraded one gets. Default: 50%."),
        ]);
        let listen = section.or("listen", SocketAddr::from(([127, 0, 0, 1], 8083)));
        let weight = section.optional::<Ratio>("degraded_weight");
        section.complete();
        // A ratio is from 0 to 1.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
        let options = weight.map(|weight| AgentOptions { degraded_weight: (weight.as_f64() * 100.0).round() as u8 });
        Self { listen, options: options.unwrap_or_default() }
    }
}

impl Door {
    fn on_loopback(port: u16) -> Self {
        Self { listen: Address::from(([127, 0, 0, 1], port)), mode: OWN, tls: None }
    }

    fn read(section: &mut Section<'_>, port: u16) -> Self {
        section.describe(&[
            ("listen", "Where it listens: an address and port, or a Unix socket as `unix:/run/orders.sock`."),
            ("mode", "The permissions of a Unix socket's file, in octal digits from 0600 to 0777. Default: 0600."),
            ("tls", "TLS on it. Default: none."),
        ]);
        let default = Self::on_loopback(port);
        let read = section.if_absent("listen", Listen(default.listen.clone()));
        let mode = section.optional::<SocketMode>("mode");
        let refused = read.is_none();
        let listen = read.map_or(default.listen, |listen| listen.0);
        if mode.is_some() && listen.path().is_none() && !refused {
            let at = section.position_of("mode");
            section.report(
                at,
                "config.mode_without_socket",
                "`mode` is for a Unix socket, such as `listen: unix:/run/wellkept.sock`",
            );
        }
        let tls = section.section("tls", DoorTls::read);
        Self { listen, mode: mode.map_or(default.mode, |mode| mode.0), tls }
    }
}

/// For who runs as the same user.
const OWN: u32 = 0o600;

struct Listen(Address);

impl FromNode for Listen {
    const EXPECTED: &'static str = "an address such as 127.0.0.1:8080 or unix:/run/wellkept.sock";

    fn schema() -> Schema {
        Schema::Text { pattern: "unix:.+|.*:[0-9]{1,5}", examples: &["127.0.0.1:8080", "unix:/run/wellkept.sock"] }
    }

    fn written(&self) -> Option<String> {
        Some(self.0.to_string())
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        if text.starts_with("unix:") {
            return text.parse().map(Self).map_err(|error: AddressError| error.to_string());
        }
        SocketAddr::from_scalar(text).map(|address| Self(Address::Tcp(address)))
    }
}

struct SocketMode(u32);

impl FromNode for SocketMode {
    const EXPECTED: &'static str = "permissions in octal digits, such as 0660";

    fn from_scalar(text: &str) -> Result<Self, String> {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && mode & OWN == OWN);
        mode.map(Self).ok_or_else(|| "from 0600 to 0777".to_owned())
    }
}

impl Admin {
    fn read(section: &mut Section<'_>) -> Self {
        section.describe(&[
            (
                "token_file",
                "The file of the token that operators show. Default: none, which a door beyond this machine refuses.",
            ),
            ("loopback", "Whether who comes straight to a loopback address is an operator without the token."),
        ]);
        let door = Door::read(section, 8081);
        let listen = &door.listen;
        let token_file = section.file("token_file");
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
        } else if !listen.is_local() && !has_token {
            let at = section.position_of("listen");
            section.report(
                at,
                "config.open_admin",
                format!(
                    "the admin door on {listen} would be open to everyone: name a `token_file`, or listen on 127.0.0.1"
                ),
            );
        }
        Self { door, token_file, token, loopback }
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

/// Why two listeners can't both be had: one port, and one address or all of them; one socket.
fn collide(one: &Address, other: &Address) -> Option<String> {
    match (one, other) {
        (Address::Tcp(one), Address::Tcp(other)) => {
            let same_address = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
            let collides = one.port() != 0 && one.port() == other.port() && same_address;
            collides.then(|| format!("port {}: give them different ports", one.port()))
        }
        (Address::Unix(_), Address::Unix(_)) if one == other => Some(format!("{one}: give them different paths")),
        _ => None,
    }
}
