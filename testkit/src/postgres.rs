//! A throw-away PostgreSQL: own folder, own port, password by SCRAM, ended when dropped.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::server::{PATIENCE, Server, percent_encode, tail};
use crate::{binaries, free_port, wait_within};

/// Where `cargo xtask test` says that its shared instance is.
const SHARED: &str = "WELLKEPT_TEST_POSTGRES_URL";

/// A PostgreSQL of the test's own, on 127.0.0.1. Dropping it ends it and removes its folder.
///
/// ```no_run
/// let mut postgres = wellkept_testkit::Postgres::start();
/// assert_eq!(postgres.execute("select 1 + 1"), "2");
/// postgres.pause();
/// // It still accepts connections (the kernel does), but answers nothing.
/// postgres.resume();
/// postgres.stop();
/// postgres.start_again();
/// ```
#[derive(Debug)]
pub struct Postgres {
    // Declared before the folder: the server ends before its folder goes.
    server: Server,
    folder: TempDir,
    port: u16,
}

impl Postgres {
    /// The user, who is a superuser.
    pub const USER: &'static str = "wellkept";
    /// The user's password.
    pub const PASSWORD: &'static str = "correct horse";
    /// The database.
    pub const DATABASE: &'static str = "postgres";

    /// Makes a new instance and waits until it answers; half a second.
    ///
    /// PostgreSQL refuses to run as root: then it runs as the user `postgres`.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn start() -> Self {
        let folder = own_folder();
        let password = folder.path().join("password");
        fs::write(&password, Self::PASSWORD).expect("the folder can be written");
        give_away(&password);
        let mut initdb = unprivileged(&binaries::postgres("initdb"), folder.path());
        initdb
            .arg("-D")
            .arg(folder.path().join("data"))
            .arg("--pwfile")
            .arg(&password)
            .args(["--username", Self::USER, "--auth", "scram-sha-256", "--encoding", "UTF8"])
            .args(["--no-locale", "--no-sync"]);
        let output = wait_within(PATIENCE, &mut initdb).expect("initdb runs");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        Self::start_in(folder)
    }

    /// Makes a streaming replica of this instance (`pg_basebackup`) and waits until it answers; a second. It takes no
    /// writes, and has the same users.
    ///
    /// # Panics
    /// When it can't be copied, or does not start.
    #[must_use]
    pub fn start_replica(&self) -> Self {
        let folder = own_folder();
        let mut copy = unprivileged(&binaries::postgres("pg_basebackup"), folder.path());
        copy.arg("-D")
            .arg(folder.path().join("data"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", Self::USER, "--no-password"])
            .args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"])
            .env("PGPASSWORD", Self::PASSWORD);
        let output = wait_within(PATIENCE, &mut copy).expect("pg_basebackup runs");
        assert!(output.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&output.stderr));
        Self::start_in(folder)
    }

    fn start_in(folder: TempDir) -> Self {
        let (server, port) = (0..3)
            .find_map(|_| {
                // Somebody may take a free port before PostgreSQL does, so a failed start tries another one.
                let port = free_port();
                Some((try_run(folder.path(), port)?, port))
            })
            .unwrap_or_else(|| panic!("PostgreSQL does not start:\n{}", tail(&folder.path().join("log"))));
        Self { server, folder, port }
    }

    /// The instance that `cargo xtask test` started for all tests, or one of this test's own without it. For tests
    /// that neither stop it nor leave anything in it.
    pub fn shared() -> SharedPostgres {
        if let Ok(url) = env::var(SHARED) {
            return SharedPostgres { url, own: None };
        }
        let own = Self::start();
        SharedPostgres { url: own.url(), own: Some(own) }
    }

    /// `postgres://wellkept:…@127.0.0.1:PORT/postgres`, with the right password.
    pub fn url(&self) -> String {
        self.url_with_password(Self::PASSWORD)
    }

    /// The same with another password, which is percent-encoded.
    pub fn url_with_password(&self, password: &str) -> String {
        format!("postgres://{}:{}@127.0.0.1:{}/{}", Self::USER, percent_encode(password), self.port, Self::DATABASE)
    }

    /// The port it listens on; the same after [`Postgres::start_again`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Runs SQL as the superuser and returns what `psql` prints, unaligned and without headers.
    ///
    /// # Panics
    /// With the server's message when the SQL fails.
    pub fn execute(&self, sql: &str) -> String {
        executed(&mut psql(self.port, sql))
    }

    /// Ends it and waits; open connections are cut ("fast" shutdown). Does nothing when it has ended.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts a stopped instance again: same folder, same port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.stop();
        self.server = try_run(self.folder.path(), self.port)
            .or_else(|| try_run(self.folder.path(), self.port))
            .unwrap_or_else(|| panic!("PostgreSQL does not start again:\n{}", tail(&self.folder.path().join("log"))));
    }

    /// Freezes the server and every process of it: connections are accepted by the kernel, nothing is answered.
    pub fn pause(&mut self) {
        self.server.pause();
    }

    /// Lets a paused server go on.
    pub fn resume(&mut self) {
        self.server.resume();
    }
}

/// A PostgreSQL that other tests use too; see [`Postgres::shared`].
#[derive(Debug)]
pub struct SharedPostgres {
    url: String,
    #[expect(dead_code, reason = "held so that it lives as long as the URL is used")]
    own: Option<Postgres>,
}

impl SharedPostgres {
    /// The URL, with the password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// As [`Postgres::execute`].
    ///
    /// # Panics
    /// With the server's message when the SQL fails.
    pub fn execute(&self, sql: &str) -> String {
        let mut command = Command::new(binaries::postgres("psql"));
        executed(command.args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-d", &self.url, "-c", sql]))
    }
}

fn own_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("wellkept-postgres-").tempdir().expect("a temporary folder");
    give_away(folder.path());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("the folder is ours");
    folder
}

/// To the user that the server runs as.
fn give_away(path: &Path) {
    if geteuid().is_root() {
        let (user, group) = unprivileged_user();
        chown(path, Some(user), Some(group)).expect("root may give a file away");
    }
}

fn try_run(folder: &Path, port: u16) -> Option<Server> {
    let mut command = unprivileged(&binaries::postgres("postgres"), folder);
    command
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-k")
        .arg(folder)
        .args(["-h", "127.0.0.1", "-F", "-p", &port.to_string()])
        .args(["-c", "max_connections=50", "-c", "shared_buffers=16MB"]);
    // SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one; SIGKILL would leave shared memory behind.
    let mut server = Server::start(&mut command, &folder.join("log"), &[Signal::INT, Signal::QUIT]);
    let ready = server
        .wait_ready(|| wait_within(PATIENCE, &mut psql(port, "select 1")).is_ok_and(|output| output.status.success()));
    ready.then_some(server)
}

fn executed(psql: &mut Command) -> String {
    let output = wait_within(PATIENCE, psql).expect("psql ends");
    assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn psql(port: u16, sql: &str) -> Command {
    let mut command = Command::new(binaries::postgres("psql"));
    command
        .args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &port.to_string()])
        .args(["-U", Postgres::USER, "-d", Postgres::DATABASE, "-c", sql])
        .env("PGPASSWORD", Postgres::PASSWORD)
        .env("PGCONNECT_TIMEOUT", "5");
    command
}

/// A command that runs as `postgres` when we are root.
fn unprivileged(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("LC_ALL", "C");
    if geteuid().is_root() {
        let (user, group) = unprivileged_user();
        command.uid(user).gid(group);
    }
    command
}

fn unprivileged_user() -> (u32, u32) {
    fs::read_to_string("/etc/passwd")
        .unwrap_or_default()
        .lines()
        .find_map(|line| {
            let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        })
        .expect("the package postgresql has made the user `postgres`")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_instance_stops_starts_again_on_its_port_and_keeps_its_data() {
        let mut postgres = Postgres::start();
        postgres.execute("create table kept (value int); insert into kept values (42)");
        let (port, pid) = (postgres.port(), postgres.pid());
        postgres.stop();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        postgres.start_again();
        assert_eq!(postgres.port(), port);
        assert_ne!(postgres.pid(), pid);
        assert_eq!(postgres.execute("select value from kept"), "42");
    }

    #[test]
    fn a_replica_has_what_its_primary_has_and_takes_no_writes() {
        let primary = Postgres::start();
        primary.execute("create table copied (value int); insert into copied values (42)");
        let replica = primary.start_replica();
        assert_eq!(replica.execute("select value from copied"), "42");
        assert_eq!(replica.execute("select pg_is_in_recovery()"), "t");
        primary.execute("insert into copied values (43)");
        crate::until(PATIENCE, "the write to be copied", || replica.execute("select count(*) from copied") == "2");
    }

    #[test]
    fn a_wrong_password_is_refused() {
        let postgres = Postgres::start();
        let mut command = psql(postgres.port(), "select 1");
        let output = wait_within(PATIENCE, command.env("PGPASSWORD", "wrong")).unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("password authentication failed"));
    }

    #[test]
    fn a_paused_instance_is_connectable_and_silent_and_a_dropped_one_is_gone() {
        let mut postgres = Postgres::start();
        let (port, pid, folder) = (postgres.port(), postgres.pid(), postgres.folder.path().to_owned());
        postgres.pause();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        // SSLRequest, which a server that runs answers with one byte.
        let request = [0, 0, 0, 8, 4, 210, 22, 47];
        stream.write_all(&request).unwrap();
        assert!(stream.read(&mut [0]).is_err());
        postgres.resume();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        postgres.pause();
        drop(postgres);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(!folder.exists());
    }
}
