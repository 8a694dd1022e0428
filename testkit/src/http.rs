//! A tiny blocking HTTP/1.1 client, strict enough for tests and able to misbehave: raw bytes, half requests.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long an answer may take unless a deadline is given.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers in their order, names as written.
    pub headers: Vec<(String, String)>,
    /// The body, with chunked framing removed.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text, with what is no UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// With the body when it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {:?}", self.text()))
    }
}

/// Sends one GET on a connection of its own and reads the answer.
///
/// # Panics
/// When there is no answer within [`PATIENCE`]; see [`request`] for one that returns the error.
#[track_caller]
pub fn get(address: impl ToSocketAddrs, path: &str) -> Response {
    match request(address, "GET", path, &[], b"") {
        Ok(response) => response,
        Err(error) => panic!("GET {path}: {error}"),
    }
}

/// Sends one request on a connection of its own, with `Connection: close`, and reads the answer within [`PATIENCE`].
///
/// # Errors
/// When the connection is refused, breaks or times out, or the answer is no HTTP.
pub fn request(
    address: impl ToSocketAddrs,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let mut connection = Connection::open(address)?;
    let headers: Vec<_> = headers.iter().copied().chain([("connection", "close")]).collect();
    connection.send(method, path, &headers, body)?;
    connection.read_response(PATIENCE)
}

/// A connection on which several requests can be sent, one after another or pipelined.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    host: String,
    /// Read and not yet used.
    buffered: Vec<u8>,
    /// Whether each unanswered request was a HEAD, in order: such an answer has no body.
    heads: VecDeque<bool>,
}

impl Connection {
    /// Connects within [`PATIENCE`].
    ///
    /// # Errors
    /// As [`TcpStream::connect_timeout`].
    pub fn open(address: impl ToSocketAddrs) -> Result<Self> {
        let address = address
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the name has no address"))?;
        Self::on(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// Takes a connection that is open already.
    ///
    /// # Errors
    /// When it is closed.
    pub fn on(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let host = stream.peer_addr()?.to_string();
        Ok(Self { stream, host, buffered: Vec::new(), heads: VecDeque::new() })
    }

    /// The address of this end.
    ///
    /// # Errors
    /// As [`TcpStream::local_addr`].
    pub fn local_address(&self) -> Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Writes a request. `Host` is added unless given, `Content-Length` when there is a body.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<()> {
        let mut bytes = Vec::new();
        write!(bytes, "{method} {path} HTTP/1.1\r\n")?;
        let given = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        if !given("host") {
            write!(bytes, "Host: {}\r\n", self.host)?;
        }
        if !body.is_empty() && !given("content-length") && !given("transfer-encoding") {
            write!(bytes, "Content-Length: {}\r\n", body.len())?;
        }
        for (name, value) in headers {
            write!(bytes, "{name}: {value}\r\n")?;
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        self.heads.push_back(method == "HEAD");
        self.write_raw(&bytes)
    }

    /// Sends a GET and reads its answer within [`PATIENCE`].
    ///
    /// # Errors
    /// When the connection is gone or times out.
    pub fn get(&mut self, path: &str) -> Result<Response> {
        self.send("GET", path, &[], b"")?;
        self.read_response(PATIENCE)
    }

    /// Writes bytes as they are: half a request, several, or none at all.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn write_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends this side's sending; answers can still be read.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn finish_sending(&mut self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Reads one answer. Interim answers (1xx) are passed over, except 101.
    ///
    /// # Errors
    /// `UnexpectedEof` when the connection ended first, `TimedOut` at the deadline, `InvalidData` when it is no HTTP.
    pub fn read_response(&mut self, deadline: Duration) -> Result<Response> {
        let end = Instant::now() + deadline;
        loop {
            let (status, headers) = self.read_head(end)?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let is_head = self.heads.pop_front().unwrap_or(false);
            let mut response = Response { status, headers, body: Vec::new() };
            if !is_head && !matches!(status, 101 | 204 | 304) {
                response.body = self.read_body(&response, end)?;
            }
            return Ok(response);
        }
    }

    /// Reads what comes next, at least one byte; empty when the other side has closed.
    ///
    /// # Errors
    /// `TimedOut` at the deadline, or as the connection says.
    pub fn read_some(&mut self, deadline: Duration) -> Result<Vec<u8>> {
        if self.buffered.is_empty() {
            self.fill(Instant::now() + deadline)?;
        }
        Ok(std::mem::take(&mut self.buffered))
    }

    /// Reads all that comes until the other side closes. A reset counts as a close.
    ///
    /// # Errors
    /// `TimedOut` at the deadline.
    pub fn read_to_end(&mut self, deadline: Duration) -> Result<Vec<u8>> {
        let end = Instant::now() + deadline;
        loop {
            match self.fill(end) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error),
            }
        }
        Ok(std::mem::take(&mut self.buffered))
    }

    /// Whether the other side closes or resets within the deadline. What it sends before is dropped.
    pub fn is_closed_within(&mut self, deadline: Duration) -> bool {
        self.read_to_end(deadline).is_ok()
    }

    /// The socket, for what this client can't do. Bytes already buffered are lost.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn read_head(&mut self, end: Instant) -> Result<(u16, Vec<(String, String)>)> {
        let length = loop {
            if let Some(position) = find(&self.buffered, b"\r\n\r\n") {
                break position;
            }
            if self.buffered.len() > 1 << 20 {
                return Err(Error::new(ErrorKind::InvalidData, "the answer's head is longer than 1 MiB"));
            }
            self.need(end)?;
        };
        let head: Vec<u8> = self.buffered.drain(..length + 4).collect();
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.trim_end().split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1."))
            .and_then(|line| line.get(2..5))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("no HTTP/1 answer: {head:?}")))?;
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Ok((status, headers))
    }

    fn read_body(&mut self, response: &Response, end: Instant) -> Result<Vec<u8>> {
        if response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.read_chunks(end);
        }
        if let Some(length) = response.header("content-length") {
            let length = length.parse().map_err(|_| Error::new(ErrorKind::InvalidData, "no length"))?;
            return self.read_exactly(length, end);
        }
        while self.fill(end)? > 0 {}
        Ok(std::mem::take(&mut self.buffered))
    }

    fn read_chunks(&mut self, end: Instant) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line(end)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| Error::new(ErrorKind::InvalidData, format!("no chunk size: {line:?}")))?;
            if size == 0 {
                // Trailers, if any, end with an empty line.
                while !self.read_line(end)?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.read_exactly(size, end)?);
            self.read_line(end)?;
        }
    }

    fn read_line(&mut self, end: Instant) -> Result<String> {
        loop {
            if let Some(position) = find(&self.buffered, b"\r\n") {
                let line: Vec<u8> = self.buffered.drain(..position + 2).take(position).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.need(end)?;
        }
    }

    fn read_exactly(&mut self, length: usize, end: Instant) -> Result<Vec<u8>> {
        while self.buffered.len() < length {
            self.need(end)?;
        }
        Ok(self.buffered.drain(..length).collect())
    }

    fn need(&mut self, end: Instant) -> Result<()> {
        if self.fill(end)? == 0 {
            let message = format!("the connection ended after {:?}", String::from_utf8_lossy(&self.buffered));
            return Err(Error::new(ErrorKind::UnexpectedEof, message));
        }
        Ok(())
    }

    fn fill(&mut self, end: Instant) -> Result<usize> {
        let mut bytes = [0; 16 << 10];
        let count = loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut bytes) {
                Ok(count) => break count,
                // A process that is stopped for a moment, by a debugger or with its whole machine.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What a timed-out read is called differs between systems.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
                Err(error) => return Err(error),
            }
        };
        self.buffered.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    /// Answers one connection with fixed bytes after one read, and returns what it read.
    fn answering(bytes: &'static [u8]) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap();
            stream.write_all(bytes).unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        (address, server)
    }

    #[test]
    fn a_body_with_a_length_is_read_and_the_connection_kept() {
        let (address, server) = answering(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 503 No\r\nRetry-After: 5\r\ncontent-length: 0\r\n\r\n",
        );
        let mut connection = Connection::open(address).unwrap();
        let first = connection.get("/a").unwrap();
        assert_eq!((first.status, first.json()), (200, serde_json::json!({})));
        let second = connection.read_response(PATIENCE).unwrap();
        assert_eq!((second.status, second.header("retry-after")), (503, Some("5")));
        assert!(connection.is_closed_within(PATIENCE));
        assert!(server.join().unwrap().starts_with("GET /a HTTP/1.1\r\nHost: 127.0.0.1:"));
    }

    #[test]
    fn chunks_and_trailers_are_taken_apart() {
        let (address, _server) = answering(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nwell\r\n4\r\nkept\r\n0\r\nDigest: x\r\n\r\n",
        );
        assert_eq!(get(address, "/").text(), "wellkept");
    }

    #[test]
    fn a_head_answer_has_no_body() {
        let (address, _server) = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        assert_eq!(request(address, "HEAD", "/", &[], b"").unwrap().body, b"");
    }

    #[test]
    fn a_body_cut_short_is_an_error() {
        let (address, _server) = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
        let error = request(address, "POST", "/", &[("x-a", "b")], b"body").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_silent_server_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::open(listener.local_addr().unwrap()).unwrap();
        let error = connection.read_response(Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(!connection.is_closed_within(Duration::from_millis(20)));
    }
}
