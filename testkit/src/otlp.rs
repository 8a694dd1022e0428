//! Receivers of OTLP over HTTP: one of the test's own that answers as it is told, and the independent agent Rotel.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::{Program, free_address, python, until, until_some};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a [`OtlpReceiver`] does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtlpReply {
    /// Answers with this status, these header lines and this body.
    Answer(u16, &'static str, Vec<u8>),
    /// Accepts, reads, and never answers.
    Hang,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct OtlpRequest {
    /// Method and path.
    pub target: String,
    /// The lines of the head, in lower case.
    pub head: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// A receiver that keeps what comes. When its replies are used up it takes everything. It is there until the process ends.
#[derive(Debug)]
pub struct OtlpReceiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    replies: Mutex<VecDeque<OtlpReply>>,
    requests: Mutex<Vec<OtlpRequest>>,
    hung: Mutex<Vec<TcpStream>>,
}

impl OtlpReceiver {
    /// Starts one that replies like this, one after another.
    ///
    /// # Panics
    /// When there is no port.
    pub fn replying(replies: impl IntoIterator<Item = OtlpReply>) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), replies)
    }

    /// As [`replying`](Self::replying), on an address of the test's choice: to come back.
    ///
    /// # Panics
    /// When it is taken.
    pub fn at(address: SocketAddr, replies: impl IntoIterator<Item = OtlpReply>) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared { replies: Mutex::new(replies.into_iter().collect()), ..Shared::default() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// The endpoint for an exporter.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come so far.
    pub fn requests(&self) -> Vec<OtlpRequest> {
        lock(&self.shared.requests).clone()
    }

    /// Waits until so many requests to this path have come, and gives all of them.
    ///
    /// # Panics
    /// When they do not come.
    #[track_caller]
    pub fn wait_for(&self, path: &str, count: usize) -> Vec<OtlpRequest> {
        let target = format!("POST {path}");
        until_some(PATIENCE, "the exporter's requests", || {
            let mut requests = self.requests();
            requests.retain(|request| request.target == target);
            (requests.len() >= count).then_some(requests)
        })
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let Some(request) = read(&mut reader) else { return };
        let reply = lock(&self.replies).pop_front();
        lock(&self.requests).push(request);
        let mut stream = reader.into_inner();
        let (status, headers, body) = match reply {
            Some(OtlpReply::Hang) => return lock(&self.hung).push(stream),
            Some(OtlpReply::Answer(status, headers, body)) => (status, headers, body),
            None => (200, "", Vec::new()),
        };
        let head =
            format!("HTTP/1.1 {status} told\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len());
        // A client that is gone reads nothing.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<OtlpRequest> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let target = lines.first()?.trim_end_matches(" HTTP/1.1").to_owned();
    let head: Vec<String> = lines.iter().skip(1).map(|line| line.to_ascii_lowercase()).collect();
    let length =
        head.iter().find_map(|line| line.strip_prefix("content-length:")).and_then(|it| it.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(OtlpRequest { target, head, body })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The agent Rotel, which prints what it receives. Dropping it kills it.
#[derive(Debug)]
pub struct Rotel {
    program: Program,
    address: SocketAddr,
}

impl Rotel {
    /// Starts one. The first takes long: it is installed.
    ///
    /// # Panics
    /// When it can't be installed, or does not start.
    pub fn start() -> Self {
        let bin = python::environment(&["rotel==0.0.1a15"]);
        let agent = agent(&bin).expect("the package holds the agent");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&agent, mode).expect("the environment is the tests' own");
        let (grpc, http) = (free_address(), free_address());
        let mut command = Command::new(agent);
        command.args(["start", "--otlp-grpc-endpoint", &grpc.to_string(), "--otlp-http-endpoint", &http.to_string()]);
        command.args(["--exporter", "blackhole", "--debug-log", "traces", "--debug-log", "metrics"]);
        let program = Program::spawn(command.args(["--debug-log-verbosity", "detailed"]));
        until(PATIENCE, "Rotel to listen", || TcpStream::connect(http).is_ok());
        Self { program, address: http }
    }

    /// The endpoint for an exporter.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it has printed a line like this.
    ///
    /// # Panics
    /// With all that it has printed when it does not.
    #[track_caller]
    pub fn wait_for_line(&self, fits: impl Fn(&str) -> bool) -> String {
        self.program.wait_for_line(fits, PATIENCE)
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.program.output()
    }
}

/// The agent's program within an environment.
fn agent(bin: &Path) -> Option<PathBuf> {
    let lib = bin.with_file_name("lib");
    let versions = std::fs::read_dir(lib).ok()?.flatten();
    versions.map(|version| version.path().join("site-packages/rotel/rotel-agent")).find(|agent| agent.exists())
}
