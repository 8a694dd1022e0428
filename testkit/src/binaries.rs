//! Where the servers' programs are on this machine, and running one of their tools to its end.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::poll;

/// As Debian calls node exporter and its package.
const NODE_EXPORTER: &str = "prometheus-node-exporter";

/// The servers that the tests need and that are not installed, by the name of their Debian package. Empty when
/// everything is there.
pub fn missing_servers() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if ["postgres", "initdb", "psql"].iter().any(|name| find_postgres(name).is_none()) {
        missing.push("postgresql");
    }
    if ["redis-server", "redis-cli"].iter().any(|name| find_in_path(name).is_none()) {
        missing.push("redis-server");
    }
    if find_in_path("haproxy").is_none() {
        missing.push("haproxy");
    }
    if find_in_path("nginx").is_none() {
        missing.push("nginx-light");
    }
    if find_in_path("logrotate").is_none() {
        missing.push("logrotate");
    }
    if find_in_path("unbound").is_none() {
        missing.push("unbound");
    }
    if ["rabbitmq-server", "rabbitmqctl", "epmd"].iter().any(|name| find_rabbitmq(name).is_none()) {
        missing.push("rabbitmq-server");
    }
    for name in ["memcached", "nats-server"] {
        if find_in_path(name).is_none() {
            missing.push(name);
        }
    }
    if ["mariadbd", "mariadb-install-db", "mariadb"].iter().any(|name| find_in_path(name).is_none()) {
        missing.push("mariadb-server");
    }
    if ["prometheus", "promtool"].iter().any(|name| find_in_path(name).is_none()) {
        missing.push("prometheus");
    }
    if node_exporter().is_none() {
        missing.push(NODE_EXPORTER);
    }
    if find_faketime().is_none() {
        missing.push("faketime");
    }
    if !crate::python::is_installed() {
        missing.push("python3-venv");
    }
    if !crate::node::is_installed() {
        missing.push("npm");
    }
    missing
}

/// Runs a tool to its end and returns its output; kills it when the deadline has passed.
///
/// # Errors
/// When it can't be started, or is killed at the deadline.
pub fn wait_within(deadline: Duration, command: &mut Command) -> std::io::Result<Output> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut pipes = [
        child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>),
        child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>),
    ];
    // Both pipes are read while waiting, so that a talkative tool can't fill one and hang.
    let readers = pipes.each_mut().map(|pipe| {
        let pipe = pipe.take();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes)).map(|_| bytes)
        })
    });
    let Some(status) = poll(deadline, || child.try_wait().transpose()) else {
        child.kill()?;
        child.wait()?;
        let message = format!("{} did not end within {deadline:?}", command.get_program().display());
        return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, message));
    };
    let [stdout, stderr] = readers.map(|reader| reader.join().expect("the reader does not panic"));
    Ok(Output { status: status?, stdout: stdout?, stderr: stderr? })
}

/// A program of PostgreSQL's, or a panic that says how to get it.
pub(crate) fn postgres(name: &str) -> PathBuf {
    find_postgres(name).unwrap_or_else(|| missing(name, "postgresql"))
}

/// A program of Redis's, or a panic that says how to get it.
pub(crate) fn redis(name: &str) -> PathBuf {
    find_in_path(name).unwrap_or_else(|| missing(name, "redis-server"))
}

/// HAProxy.
pub(crate) fn haproxy() -> PathBuf {
    find_in_path("haproxy").unwrap_or_else(|| missing("haproxy", "haproxy"))
}

/// nginx.
pub(crate) fn nginx() -> PathBuf {
    find_in_path("nginx").unwrap_or_else(|| missing("nginx", "nginx-light"))
}

/// logrotate.
pub(crate) fn logrotate() -> PathBuf {
    find_in_path("logrotate").unwrap_or_else(|| missing("logrotate", "logrotate"))
}

/// Unbound.
pub(crate) fn unbound() -> PathBuf {
    find_in_path("unbound").unwrap_or_else(|| missing("unbound", "unbound"))
}

/// memcached.
pub(crate) fn memcached() -> PathBuf {
    find_in_path("memcached").unwrap_or_else(|| missing("memcached", "memcached"))
}

/// NATS.
pub(crate) fn nats() -> PathBuf {
    find_in_path("nats-server").unwrap_or_else(|| missing("nats-server", "nats-server"))
}

/// A program of RabbitMQ's, or a panic that says how to get it.
pub(crate) fn rabbitmq(name: &str) -> PathBuf {
    find_rabbitmq(name).unwrap_or_else(|| missing(name, "rabbitmq-server"))
}

/// Tansu, or a panic that says how to get it.
pub(crate) fn tansu() -> PathBuf {
    let program = crate::tansu_program();
    assert!(is_program(&program), "Tansu has not been built: `cargo xtask test` builds what the tests need");
    program
}

/// A program of MariaDB's, or a panic that says how to get it.
pub(crate) fn mariadb(name: &str) -> PathBuf {
    find_in_path(name).unwrap_or_else(|| missing(name, "mariadb-server"))
}

/// A program of Prometheus', or a panic that says how to get it.
pub(crate) fn prometheus(name: &str) -> PathBuf {
    find_in_path(name).unwrap_or_else(|| missing(name, "prometheus"))
}

/// Node exporter, if it is installed.
pub(crate) fn node_exporter() -> Option<PathBuf> {
    find_in_path(NODE_EXPORTER)
}

/// libfaketime, for programs with several threads.
pub(crate) fn faketime() -> PathBuf {
    find_faketime().unwrap_or_else(|| missing("libfaketimeMT.so.1", "faketime"))
}

fn missing(name: &str, package: &str) -> ! {
    panic!("`{name}` is not installed (package {package}): `cargo xtask test` installs what the tests need")
}

fn find_postgres(name: &str) -> Option<PathBuf> {
    // Debian keeps the servers of all versions side by side and out of the PATH.
    let configured = Command::new("pg_config")
        .arg("--bindir")
        .output()
        .ok()
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    versions.sort();
    configured
        .into_iter()
        .chain(versions.into_iter().rev())
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
        .or_else(|| find_in_path(name))
}

fn find_faketime() -> Option<PathBuf> {
    let mut folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders.find_map(|folder| {
        let library = folder.path().join("faketime/libfaketimeMT.so.1");
        library.exists().then_some(library)
    })
}

/// Those of Debian's in the PATH run as the user `rabbitmq` and in its folders only.
fn find_rabbitmq(name: &str) -> Option<PathBuf> {
    let own = Path::new("/usr/lib/rabbitmq/bin").join(name);
    Some(own).filter(|path| is_program(path)).or_else(|| find_in_path(name))
}

fn find_in_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_hangs_is_killed_at_the_deadline() {
        let error = wait_within(Duration::from_millis(50), Command::new("sleep").arg("60")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_talkative_tool_does_not_hang() {
        let mut command = Command::new("head");
        let output = wait_within(Duration::from_secs(10), command.args(["-c", "1000000", "/dev/zero"])).unwrap();
        assert_eq!(output.stdout.len(), 1_000_000);
    }

    #[test]
    fn a_program_that_is_missing_is_named_with_the_remedy() {
        let panic = std::panic::catch_unwind(|| redis("no-such-program")).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("no-such-program") && message.contains("cargo xtask test"), "{message}");
    }
}
