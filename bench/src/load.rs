//! Load on a server: keep-alive connections that send one request after another, or at a steady rate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

const CONNECTIONS: usize = 32;

/// Requests per second that the server answers when each connection asks as soon as it has its answer.
pub(crate) fn saturate(address: SocketAddr, path: &'static str, time: Duration) -> f64 {
    let end = Instant::now() + time;
    let began = Instant::now();
    let answers = on_own_runtime(async move {
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            clients.spawn(async move {
                let mut client = Client::open(address, path).await;
                let mut answers = 0_u64;
                while Instant::now() < end {
                    client.ask().await;
                    answers += 1;
                }
                answers
            });
        }
        clients.join_all().await.into_iter().sum::<u64>()
    });
    answers as f64 / began.elapsed().as_secs_f64()
}

/// The latency, from when a request was due, at a steady rate: the median and the 99th percentile.
pub(crate) fn steady(address: SocketAddr, path: &'static str, per_second: f64, time: Duration) -> (Duration, Duration) {
    let every = Duration::from_secs_f64(CONNECTIONS as f64 / per_second);
    let mut latencies = on_own_runtime(async move {
        let mut clients = JoinSet::new();
        let begin = tokio::time::Instant::now() + Duration::from_millis(20);
        for number in 0..CONNECTIONS {
            // The clients take turns within the interval.
            let first = begin + every.mul_f64(number as f64 / CONNECTIONS as f64);
            clients.spawn(async move {
                let mut client = Client::open(address, path).await;
                let mut latencies = Vec::new();
                let mut due = first;
                while due < begin + time {
                    tokio::time::sleep_until(due).await;
                    let sent = Instant::now();
                    client.ask().await;
                    latencies.push(sent.elapsed());
                    due += every;
                }
                latencies
            });
        }
        clients.join_all().await.concat()
    });
    latencies.sort();
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index).copied().unwrap_or_default()
    };
    (at(0.5), at(0.99))
}

fn on_own_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(work)
}

struct Client {
    stream: TcpStream,
    request: String,
    buffer: Vec<u8>,
}

impl Client {
    async fn open(address: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server accepts");
        stream.set_nodelay(true).expect("a fresh socket takes options");
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
        Self { stream, request, buffer: vec![0; 16 * 1024] }
    }

    /// Sends one request and reads one whole answer.
    async fn ask(&mut self) {
        self.stream.write_all(self.request.as_bytes()).await.expect("the server reads");
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await.expect("the server answers");
            assert!(read > 0, "the server closed the connection");
            filled += read;
            if length_of(&self.buffer[..filled]).is_some_and(|length| length <= filled) {
                return;
            }
        }
    }
}

/// The whole answer's length, once its head is there.
fn length_of(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).ok()?;
    assert!(text.starts_with("HTTP/1.1 200"), "not a 200: {text}");
    let name = "content-length: ";
    let line = text.lines().find(|line| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name))?;
    Some(head + line[name.len()..].trim().parse::<usize>().ok()?)
}
