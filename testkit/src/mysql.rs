//! A throw-away MariaDB: own folder, own port, with a binary log so that it can be copied, ended when dropped.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::server::{PATIENCE, Server, percent_encode, tail};
use crate::{Issued, binaries, free_port, until, wait_within};

/// A MariaDB of the test's own, on 127.0.0.1. Dropping it ends it and removes its folder.
///
/// ```no_run
/// let mut mysql = wellkept_testkit::Mysql::start();
/// assert_eq!(mysql.execute("select 1 + 1"), "2");
/// mysql.kill();
/// mysql.start_again();
/// ```
#[derive(Debug)]
pub struct Mysql {
    // Declared before the folder: the server ends before its folder goes.
    server: Server,
    folder: TempDir,
    options: Vec<String>,
    port: u16,
}

impl Mysql {
    /// The user, who may do everything.
    pub const USER: &'static str = "wellkept";
    /// The user's password.
    pub const PASSWORD: &'static str = "correct horse";
    /// The database, which is empty.
    pub const DATABASE: &'static str = "app";

    /// Makes a new instance and waits until it answers; a second.
    ///
    /// As root it runs as the user `mysql`.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more options of the server's, for example `--max-connections=10`.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_in(own_folder(), options)
    }

    /// The same with a certificate, so that it speaks TLS to whoever wants it.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn start_with_tls(issued: &Issued) -> Self {
        let folder = own_folder();
        let own = |name: &str, file: &Path| {
            let copy = folder.path().join(name);
            fs::copy(file, &copy).expect("the certificate is there");
            give_away(&copy);
            copy.display().to_string()
        };
        let certificate = format!("--ssl-cert={}", own("server.pem", &issued.certificate));
        let key = format!("--ssl-key={}", own("server.key", &issued.key));
        Self::start_in(folder, &[&certificate, &key])
    }

    /// Starts another instance that copies this one from its beginning, and waits until it does. It is read-only, and
    /// has the same users.
    ///
    /// # Panics
    /// When it does not start, or does not copy.
    #[must_use]
    pub fn start_replica(&self) -> Self {
        let replica = Self::start_with(&["--read-only"]);
        replica.execute(&format!(
            "change master to master_host = '127.0.0.1', master_port = {}, master_user = '{}', master_password = '{}', \
             master_connect_retry = 1, master_use_gtid = slave_pos; start slave",
            self.port,
            Self::USER,
            Self::PASSWORD,
        ));
        until(PATIENCE, "the replica to copy", || replica.execute("show all slaves status").contains("\tYes\tYes\t"));
        replica
    }

    fn start_in(folder: TempDir, options: &[&str]) -> Self {
        let mut install = Command::new(binaries::mariadb("mariadb-install-db"));
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        install.args(common(folder.path()));
        let output = wait_within(PATIENCE, &mut install).expect("mariadb-install-db runs");
        assert!(output.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&output.stderr));
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        let (server, port) = (0..3)
            .find_map(|_| {
                // Somebody may take a free port before MariaDB does, so a failed start tries another one.
                let port = free_port();
                Some((try_run(folder.path(), port, &options)?, port))
            })
            .unwrap_or_else(|| panic!("MariaDB does not start:\n{}", tail(&folder.path().join("log"))));
        let started = Self { server, folder, options, port };
        // Not to be copied: a replica has them already.
        started.execute(&format!(
            "set sql_log_bin = 0; create user '{0}'@'%' identified by '{1}'; grant all on *.* to '{0}'@'%'; \
             create database {2}",
            Self::USER,
            Self::PASSWORD,
            Self::DATABASE,
        ));
        started
    }

    /// `mysql://wellkept:…@127.0.0.1:PORT/app`, with the right password.
    pub fn url(&self) -> String {
        self.url_with_password(Self::PASSWORD)
    }

    /// The same with another password, which is percent-encoded.
    pub fn url_with_password(&self, password: &str) -> String {
        format!("mysql://{}:{}@127.0.0.1:{}/{}", Self::USER, percent_encode(password), self.port, Self::DATABASE)
    }

    /// Makes a user with the password `x` who may do nothing but log in, and returns their URL.
    ///
    /// # Panics
    /// When there is such a user.
    pub fn url_of_new_user(&self, name: &str) -> String {
        self.execute(&format!("set sql_log_bin = 0; create user '{name}'@'%' identified by 'x'"));
        format!("mysql://{name}:x@127.0.0.1:{}", self.port)
    }

    /// The port it listens on; the same after [`Mysql::start_again`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The Unix socket it listens on.
    pub fn socket(&self) -> PathBuf {
        socket(self.folder.path())
    }

    /// Runs SQL as root and returns what the client prints, without headers and with tabs between columns.
    ///
    /// # Panics
    /// With the server's message when the SQL fails.
    pub fn execute(&self, sql: &str) -> String {
        let output = wait_within(PATIENCE, &mut client(self.folder.path(), sql)).expect("the client ends");
        assert!(output.status.success(), "mariadb: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// What the server has written to its log.
    pub fn log(&self) -> String {
        let text = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Ends it and waits. Does nothing when it has ended.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Ends it at once (SIGKILL), as a crash would.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts an ended instance again: same folder, same port, same options.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.start_again_with(&[]);
    }

    /// The same with more options of the server's.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again_with(&mut self, options: &[&str]) {
        self.stop();
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        let (folder, port) = (self.folder.path(), self.port);
        self.server = try_run(folder, port, &self.options)
            .or_else(|| try_run(folder, port, &self.options))
            .unwrap_or_else(|| panic!("MariaDB does not start again:\n{}", tail(&folder.join("log"))));
    }

    /// Freezes it: connections are accepted by the kernel, nothing is answered.
    pub fn pause(&mut self) {
        self.server.pause();
    }

    /// Lets a paused one go on.
    pub fn resume(&mut self) {
        self.server.resume();
    }
}

fn own_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("wellkept-mysql-").tempdir().expect("a temporary folder");
    give_away(folder.path());
    folder
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}

/// To the user that the server runs as.
fn give_away(path: &Path) {
    if geteuid().is_root() {
        chown(path, Some(unprivileged_user()), None).expect("root may give a file away");
    }
}

/// What its making and its running have in common.
fn common(folder: &Path) -> Vec<String> {
    let mut options = vec![
        format!("--datadir={}", folder.join("data").display()),
        // One that starts removes the temporary tables that it finds there, also those of others.
        format!("--tmpdir={}", folder.display()),
        "--innodb-buffer-pool-size=16M".to_owned(),
        "--innodb-log-file-size=8M".to_owned(),
    ];
    // It refuses to run as root, and changes the user by itself.
    options.extend(geteuid().is_root().then(|| "--user=mysql".to_owned()));
    options
}

fn unprivileged_user() -> u32 {
    fs::read_to_string("/etc/passwd")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("mysql:")?.split(':').nth(1)?.parse().ok())
        .expect("the package mariadb-server has made the user `mysql`")
}

fn try_run(folder: &Path, port: u16, options: &[String]) -> Option<Server> {
    let mut command = Command::new(binaries::mariadb("mariadbd"));
    command
        .arg("--no-defaults")
        .args(common(folder))
        .arg(format!("--socket={}", socket(folder).display()))
        .args(["--bind-address=127.0.0.1", &format!("--port={port}"), &format!("--server-id={port}")])
        .args(["--skip-name-resolve", "--log-bin=binlog", "--innodb-flush-log-at-trx-commit=2"])
        .args(options);
    let mut server = Server::start(&mut command, &folder.join("log"), &[Signal::TERM]);
    let ready = server.wait_ready(|| {
        wait_within(PATIENCE, &mut client(folder, "select 1")).is_ok_and(|output| output.status.success())
    });
    ready.then_some(server)
}

fn client(folder: &Path, sql: &str) -> Command {
    let mut command = Command::new(binaries::mariadb("mariadb"));
    command.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names", "--connect-timeout=5"]);
    command.arg(format!("--socket={}", socket(folder).display())).args(["--execute", sql]);
    command
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn an_instance_that_crashes_starts_again_on_its_port_and_keeps_its_data() {
        let mut mysql = Mysql::start();
        mysql.execute("create table app.kept (value int); insert into app.kept values (42)");
        let port = mysql.port();
        mysql.kill();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        mysql.start_again();
        assert_eq!((mysql.port(), mysql.execute("select value from app.kept").as_str()), (port, "42"));
    }

    #[test]
    fn a_replica_has_what_its_primary_has() {
        let primary = Mysql::start();
        primary.execute("create table app.copied (value int); insert into app.copied values (42)");
        let replica = primary.start_replica();
        until(PATIENCE, "the writes to be copied", || {
            // The table may not be there yet.
            let tables = replica.execute("select count(*) from information_schema.tables where table_name = 'copied'");
            tables == "1" && replica.execute("select count(*) from app.copied") == "1"
        });
        assert_eq!(replica.execute("select @@global.read_only"), "1");
    }

    #[test]
    fn a_paused_instance_is_gone_with_its_folder_when_dropped() {
        let mut mysql = Mysql::start();
        let (port, folder) = (mysql.port(), mysql.folder.path().to_owned());
        mysql.pause();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(mysql);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err() && !folder.exists());
    }
}
