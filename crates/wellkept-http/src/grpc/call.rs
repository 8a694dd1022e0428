//! One call of gRPC over HTTP/2 ("gRPC over HTTP2", PROTOCOL-HTTP2): its deadline, its one message, how it ends.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tokio::time::Instant;

/// Largest message taken, in bytes. A service's name is all there is in one.
pub(super) const MAX_MESSAGE: usize = 1024;
/// Before each message: whether it is compressed, and its length in four bytes.
const PREFIX: usize = 5;
/// How long a message may take to come when the client names no shorter time.
const MESSAGE_TIME: Duration = Duration::from_secs(2);

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// The codes that are answered with here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Code {
    Ok = 0,
    DeadlineExceeded = 4,
    NotFound = 5,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

/// Why a call ends without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    code: Code,
    /// Printable ASCII without `%`, so that it needs no encoding.
    message: &'static str,
}

impl Failure {
    pub(super) const fn new(code: Code, message: &'static str) -> Self {
        Self { code, message }
    }

    pub(super) const fn deadline_exceeded() -> Self {
        Self::new(Code::DeadlineExceeded, "the deadline has passed")
    }

    /// The headers alone, without a body ("Trailers-Only").
    pub(super) fn into_response(self) -> Response {
        let mut response = stream(Body::empty());
        self.write(response.headers_mut());
        if self.code == Code::Unimplemented {
            response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        response
    }

    /// The last frame of a stream that ends so.
    pub(super) fn into_frame(self) -> Frame<Bytes> {
        let mut trailers = HeaderMap::with_capacity(2);
        self.write(&mut trailers);
        Frame::trailers(trailers)
    }

    fn write(self, headers: &mut HeaderMap) {
        headers.insert(STATUS, HeaderValue::from(self.code as u16));
        headers.insert(MESSAGE, HeaderValue::from_static(self.message));
    }
}

/// When a call ends at the latest; `None` when the client has set no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// What `grpc-timeout` says, counted from now: at most eight digits and a unit.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let Some(timeout) = headers.get(TIMEOUT) else { return Ok(Self(None)) };
        let timeout = timeout.to_str().ok().and_then(duration);
        let timeout = timeout.ok_or(Failure::new(Code::Internal, "grpc-timeout can't be read"))?;
        // A time beyond what the clock can hold is no deadline.
        Ok(Self(Instant::now().checked_add(timeout)))
    }

    /// Ends when the deadline has passed.
    pub(super) async fn passed(self) {
        match self.0 {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Whether a request is a call at all: `application/grpc`, with or without the name of its encoding.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.and_then(|kind| kind.strip_prefix("application/grpc")).is_some_and(|rest| {
        // Not `application/grpc-web`, which is another protocol.
        rest.is_empty() || rest.starts_with([';', '+'])
    })
}

/// Reads the one message of a call, within the deadline and within [`MESSAGE_TIME`].
pub(super) async fn message<M: Message + Default>(request: Request, deadline: Deadline) -> Result<M, Failure> {
    if request.headers().get(ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Failure::new(Code::Unimplemented, "messages are taken uncompressed only"));
    }
    let bytes = tokio::select! {
        biased;
        bytes = collect(request.into_body()) => bytes?,
        () = deadline.passed() => return Err(Failure::deadline_exceeded()),
        () = tokio::time::sleep(MESSAGE_TIME) => {
            return Err(Failure::new(Code::DeadlineExceeded, "the message did not come in time"));
        }
    };
    decode(&bytes)
}

/// Reads a body to its end, or to more than one message can have.
async fn collect(mut body: Body) -> Result<BytesMut, Failure> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::new(Code::Internal, "the message broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > PREFIX + MAX_MESSAGE {
            return Err(Failure::new(Code::ResourceExhausted, "the message is larger than 1024 bytes"));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Failure> {
    const NOT_ONE: Failure = Failure::new(Code::Unimplemented, "this method takes exactly one message");
    const BROKEN: Failure = Failure::new(Code::Internal, "the message can't be read");
    if bytes.is_empty() {
        return Err(NOT_ONE);
    }
    let ([compressed, length @ ..], message) = bytes.split_first_chunk::<PREFIX>().ok_or(BROKEN)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    // Compressed without an encoding named, or a flag that does not exist.
    if *compressed != 0 || length > message.len() {
        return Err(BROKEN);
    }
    if length < message.len() {
        return Err(NOT_ONE);
    }
    M::decode(message).map_err(|_| BROKEN)
}

/// A message as it stands in a body.
pub(super) fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a hundred names are far below 4 GiB"));
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

/// One message, and the end.
pub(super) fn answer(message: &impl Message) -> Response {
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from(Code::Ok as u16))]);
    stream(Body::new(Full::new(encode(message)).with_trailers(async { Some(Ok(trailers)) })))
}

/// A body that brings its own end.
pub(super) fn stream(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use super::super::messages::CheckRequest;
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_is_digits_and_a_unit_and_never_too_large_for_the_clock() {
        let now = Instant::now();
        for (text, timeout) in [
            ("1S", Duration::from_secs(1)),
            ("250m", Duration::from_millis(250)),
            ("2M", Duration::from_secs(120)),
            ("1H", Duration::from_secs(3600)),
            ("99999999u", Duration::from_micros(99_999_999)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(Deadline::of(&headers("grpc-timeout", text)), Ok(Deadline(Some(now + timeout))), "{text}");
        }
        assert_eq!(Deadline::of(&HeaderMap::new()), Ok(Deadline(None)));
        Deadline::of(&headers("grpc-timeout", "99999999H")).expect("it may be far away");
        for text in ["", "S", "1", "1s", "-1S", "+1S", "123456789S", "1.5S", "1 S", "1SS"] {
            Deadline::of(&headers("grpc-timeout", text)).expect_err(text);
        }
    }

    #[test]
    fn only_grpc_is_taken_for_grpc() {
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert!(is_grpc(&headers("content-type", kind)), "{kind}");
        }
        for kind in ["application/json", "application/grpc-web", "application/grpcx", "text/plain", ""] {
            assert!(!is_grpc(&headers("content-type", kind)), "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn a_message_is_read_whole_or_refused() {
        let good = encode(&CheckRequest { service: "readiness".to_owned() });
        assert_eq!(decode::<CheckRequest>(&good).unwrap().service, "readiness");
        let twice = [&good[..], &good[..]].concat();
        for (bytes, code) in [
            (&b""[..], Code::Unimplemented),
            (&twice, Code::Unimplemented),
            (b"\0\0\0", Code::Internal),
            (&good[..good.len() - 1], Code::Internal),
            (b"\x01\0\0\0\0", Code::Internal),
            (b"\x02\0\0\0\0", Code::Internal),
            (b"\0\xff\xff\xff\xff", Code::Internal),
            // A string that is not UTF-8, one that is longer than the message, and a field that does not exist.
            (b"\0\0\0\0\x04\x0a\x02\xff\xfe", Code::Internal),
            (b"\0\0\0\0\x02\x0a\x7f", Code::Internal),
            (b"\0\0\0\0\x01\xff", Code::Internal),
        ] {
            assert_eq!(decode::<CheckRequest>(bytes).unwrap_err().code, code, "{bytes:?}");
        }
        // A field of a later version is passed over.
        assert_eq!(decode::<CheckRequest>(b"\0\0\0\0\x05\x10\x07\x0a\x01x").unwrap().service, "x");
    }

    proptest::proptest! {
        #[test]
        fn no_message_makes_it_panic(bytes: Vec<u8>) {
            drop(decode::<CheckRequest>(&bytes));
        }
    }
}
