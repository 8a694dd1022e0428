//! Load on a server: keep-alive connections that send one request after another, or at a steady rate.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) const CONNECTIONS: usize = 32;
/// How late timers may be.
const TIMERS: Duration = Duration::from_millis(2);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests per second that the server answers when each connection asks as soon as it has its answer.
pub(crate) fn saturate(address: SocketAddr, path: &'static str, time: Duration) -> f64 {
    let end = Instant::now() + time;
    let began = Instant::now();
    let answers = on_own_runtime(async move {
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            clients.spawn(async move {
                let mut client = Client::open(address, path).await.expect("the server accepts");
                let mut answers = 0_u64;
                while Instant::now() < end {
                    assert_eq!(client.ask().await.expect("the server answers"), 200);
                    answers += 1;
                }
                answers
            });
        }
        clients.join_all().await.into_iter().sum::<u64>()
    });
    answers as f64 / began.elapsed().as_secs_f64()
}

/// What came of requests at a steady rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steady {
    /// Answers with 200 within the time, per second.
    pub(crate) answered: f64,
    /// Answers with another code, and connections that broke.
    pub(crate) failed: usize,
    /// The median of the latency, from when a request was due.
    pub(crate) median: Duration,
    /// Its 99th percentile.
    pub(crate) slow: Duration,
}

/// Asks at a steady rate, whether or not the server keeps up: what it is late with counts as its latency.
pub(crate) fn steady(address: SocketAddr, path: &'static str, per_second: f64, time: Duration) -> Steady {
    let every = Duration::from_secs_f64(CONNECTIONS as f64 / per_second);
    let answers = on_own_runtime(async move {
        let mut clients = JoinSet::new();
        let begin = tokio::time::Instant::now() + Duration::from_millis(20);
        for number in 0..CONNECTIONS {
            // The clients take turns within the interval.
            let first = begin + every.mul_f64(number as f64 / CONNECTIONS as f64);
            clients.spawn(ask_steadily(address, path, first, every, begin + time));
        }
        clients.join_all().await.concat()
    });
    let mut latencies: Vec<Duration> = answers.iter().filter_map(|answer| answer.latency).collect();
    latencies.sort();
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index).copied().unwrap_or(Duration::MAX)
    };
    let in_time = answers.iter().filter(|answer| answer.in_time && answer.latency.is_some()).count();
    Steady {
        answered: in_time as f64 / time.as_secs_f64(),
        failed: answers.len() - latencies.len(),
        median: at(0.5),
        slow: at(0.99),
    }
}

/// One request's end. No latency: it failed.
#[derive(Debug, Clone, Copy)]
struct Answer {
    latency: Option<Duration>,
    in_time: bool,
}

async fn ask_steadily(
    address: SocketAddr,
    path: &'static str,
    first: tokio::time::Instant,
    every: Duration,
    end: tokio::time::Instant,
) -> Vec<Answer> {
    let mut client = None;
    let mut answers = Vec::new();
    let mut due = first;
    while due < end && tokio::time::Instant::now() < end {
        // Being busy with the request before is the server's lateness.
        let late = due.elapsed();
        until(due).await;
        let sent = Instant::now();
        let mut open = match client.take() {
            Some(open) => Ok(open),
            None => Client::open(address, path).await,
        };
        let answered = match &mut open {
            Ok(open) => {
                timeout(PATIENCE, open.ask()).await.is_ok_and(|status| status.is_ok_and(|status| status == 200))
            }
            Err(_) => false,
        };
        let latency = answered.then(|| sent.elapsed() + late);
        answers.push(Answer { latency, in_time: tokio::time::Instant::now() <= end });
        client = open.ok().filter(|_| answered);
        due += every;
    }
    answers
}

/// Waits to the microsecond: a timer is late by up to a millisecond, which is not the server's.
pub(crate) async fn until(due: tokio::time::Instant) {
    tokio::time::sleep_until(due - TIMERS).await;
    while tokio::time::Instant::now() < due {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn on_own_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(work)
}

struct Client {
    stream: TcpStream,
    request: String,
    buffer: Vec<u8>,
}

impl Client {
    async fn open(address: SocketAddr, path: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        Ok(Self { stream, request, buffer: vec![0; 16 * 1024] })
    }

    /// Sends one request, reads one whole answer, and returns its code.
    async fn ask(&mut self) -> Result<u16> {
        self.stream.write_all(self.request.as_bytes()).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            if let Some(status) = whole(&self.buffer[..filled])? {
                return Ok(status);
            }
        }
    }
}

/// The code of an answer that is there to its end.
pub(crate) fn whole(answer: &[u8]) -> Result<Option<u16>> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..head]).map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
    let status = text.get(9..12).and_then(|code| code.parse().ok()).ok_or(ErrorKind::InvalidData)?;
    let ends = match (value(text, "content-length: "), value(text, "transfer-encoding: ")) {
        (Some(length), _) => answer.len() >= head + length.parse::<usize>().map_err(|_| ErrorKind::InvalidData)?,
        (None, Some("chunked")) => answer.ends_with(b"0\r\n\r\n"),
        (None, _) => return Err(ErrorKind::InvalidData.into()),
    };
    Ok(ends.then_some(status))
}

/// The value of a header whose name is given with `: `.
pub(crate) fn value<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let fits = |line: &&str| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    head.lines().find(fits).map(|line| line[name.len()..].trim())
}
