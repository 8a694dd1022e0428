//! A throw-away RabbitMQ: own folder, own ports, own port mapper, ended when dropped.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::{PATIENCE, Server, tail};
use crate::{binaries, free_port, http, wait_within};

/// `guest:guest`, as HTTP has it.
const GUEST: (&str, &str) = ("authorization", "Basic Z3Vlc3Q6Z3Vlc3Q=");

/// A RabbitMQ on 127.0.0.1 with its management plugin. The user is `guest`, with that password. Dropping it ends it.
#[derive(Debug)]
pub struct RabbitMq {
    // Declared in this order: the server ends before its port mapper, and both before the folder goes.
    server: Server,
    mapper: Server,
    folder: TempDir,
    ports: Ports,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    amqp: u16,
    management: u16,
    nodes: u16,
    mapper: u16,
}

impl RabbitMq {
    /// Starts one and waits until it answers: several seconds.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-rabbitmq-").tempdir().expect("a temporary folder");
        let (server, mapper, ports) = (0..3)
            // Somebody may take a free port before RabbitMQ does, so a failed start tries others.
            .find_map(|_| try_run(folder.path()))
            .unwrap_or_else(|| panic!("RabbitMQ does not start:\n{}", tail(&folder.path().join("log"))));
        Self { server, mapper, folder, ports }
    }

    /// One that other tests of this process use at the same time, each in a [virtual host](Self::virtual_host) of its
    /// own. It ends with the last of them.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<RabbitMq>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    /// The URL of a virtual host: `amqp://guest:guest@127.0.0.1:PORT/NAME`, in which `/` is `%2F`.
    pub fn url(&self, virtual_host: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{}", self.ports.amqp, virtual_host.replace('/', "%2F"))
    }

    /// Makes a virtual host for `guest`, and returns its URL.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn virtual_host(&self, name: &str) -> String {
        self.put(&format!("/api/vhosts/{name}"), "{}");
        self.put(&format!("/api/permissions/{name}/guest"), r#"{"configure": ".*", "write": ".*", "read": ".*"}"#);
        self.url(name)
    }

    /// The port that AMQP is spoken on.
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// Sends a PUT to the management plugin.
    ///
    /// # Panics
    /// When it is refused.
    pub fn put(&self, path: &str, body: &str) {
        let response = self.manage("PUT", path, body);
        assert!((200..300).contains(&response.status), "PUT {path}: {} {}", response.status, response.text());
    }

    /// As [`put`](Self::put), with a POST.
    ///
    /// # Panics
    /// When it is refused.
    pub fn post(&self, path: &str, body: &str) {
        let response = self.manage("POST", path, body);
        assert!((200..300).contains(&response.status), "POST {path}: {} {}", response.status, response.text());
    }

    /// What the management plugin answers to a GET.
    ///
    /// # Panics
    /// When there is no answer, or it is no JSON.
    pub fn ask(&self, path: &str) -> serde_json::Value {
        self.manage("GET", path, "").json()
    }

    fn manage(&self, method: &str, path: &str, body: &str) -> http::Response {
        let headers = [GUEST, ("content-type", "application/json")];
        let address = (Ipv4Addr::LOCALHOST, self.ports.management);
        http::request(address, method, path, &headers, body.as_bytes()).expect("the management plugin answers")
    }

    /// Runs `rabbitmqctl`.
    ///
    /// # Panics
    /// When it fails.
    pub fn control(&self, arguments: &[&str]) {
        let mut command = at(&binaries::rabbitmq("rabbitmqctl"), self.folder.path(), self.ports);
        let output = wait_within(PATIENCE, command.args(arguments)).expect("rabbitmqctl ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Ends it and waits. Does nothing when it has ended.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts a stopped one again, with what it held.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.stop();
        self.server = try_start(self.folder.path(), self.ports)
            .unwrap_or_else(|| panic!("RabbitMQ does not start again:\n{}", tail(&self.folder.path().join("log"))));
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

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.server.stop();
        self.mapper.stop();
    }
}

fn try_run(folder: &Path) -> Option<(Server, Server, Ports)> {
    let ports = Ports { amqp: free_port(), management: free_port(), nodes: free_port(), mapper: free_port() };
    let Ports { amqp, management, .. } = ports;
    let configuration = format!(
        "listeners.tcp.1 = 127.0.0.1:{amqp}\nmanagement.tcp.port = {management}\nmanagement.tcp.ip = 127.0.0.1\n"
    );
    fs::write(folder.join("rabbitmq.conf"), configuration).expect("the folder can be written");
    fs::write(folder.join("plugins"), "[rabbitmq_management].").expect("the folder can be written");
    // Started here, it ends here; the one that RabbitMQ would start outlives it.
    let mut mapper = Command::new(binaries::rabbitmq("epmd"));
    mapper.args(["-address", "127.0.0.1", "-port", &ports.mapper.to_string()]);
    let mut mapper = Server::start(&mut mapper, &folder.join("epmd.log"), &[Signal::TERM]);
    mapper.wait_ready(|| TcpStream::connect((Ipv4Addr::LOCALHOST, ports.mapper)).is_ok()).then_some(())?;
    Some((try_start(folder, ports)?, mapper, ports))
}

fn try_start(folder: &Path, ports: Ports) -> Option<Server> {
    let mut command = at(&binaries::rabbitmq("rabbitmq-server"), folder, ports);
    let mut server = Server::start(&mut command, &folder.join("log"), &[Signal::TERM]);
    let ready = server.wait_ready(|| {
        let address = (Ipv4Addr::LOCALHOST, ports.management);
        let answer = http::request(address, "GET", "/api/health/checks/local-alarms", &[GUEST], b"");
        // It opens the port for AMQP last.
        let is_well = answer.is_ok_and(|answer| answer.status == 200);
        is_well && TcpStream::connect((Ipv4Addr::LOCALHOST, ports.amqp)).is_ok()
    });
    ready.then_some(server)
}

/// A program of RabbitMQ's, for the instance of this folder.
fn at(program: &PathBuf, folder: &Path, ports: Ports) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env("HOME", folder)
        .env("RABBITMQ_NODENAME", "wellkept@localhost")
        .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
        .env("RABBITMQ_LOG_BASE", folder.join("logs"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
        .env("RABBITMQ_DIST_PORT", ports.nodes.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", ports.mapper.to_string());
    command
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_instance_has_virtual_hosts_and_is_gone_when_dropped() {
        let rabbitmq = RabbitMq::start();
        let url = rabbitmq.virtual_host("shop");
        assert!(url.ends_with("/shop"), "{url}");
        assert_eq!(rabbitmq.ask("/api/vhosts").as_array().unwrap().len(), 2);
        let ports = rabbitmq.ports;
        drop(rabbitmq);
        for port in [ports.amqp, ports.mapper] {
            crate::until(Duration::from_secs(5), "the port to be free", || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()
            });
        }
    }
}
