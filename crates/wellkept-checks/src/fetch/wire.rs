//! One request and its answer over a connection that stands, in HTTP/1.1 or HTTP/2.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::{FetchError, MOST_OF_A_HEAD, Request, Response};
use crate::driver::{Driver, Tasks};
use crate::reach::Stream;

/// What it waits for while the body comes.
pub(super) const READING: &str = "reading the body";
const WAITING: &str = "waiting for the response";

/// Sends the request, and takes the answer up to the limits.
pub(super) async fn exchange(
    request: &Request,
    stream: impl Stream,
    http2: bool,
    deadline: Instant,
) -> Result<Response, FetchError> {
    if http2 {
        return Box::pin(in_http2(request, stream, deadline)).await;
    }
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_OF_A_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(FetchError::Protocol)?;
    // What goes wrong with the connection is told to whoever waits for the response.
    let _driver = Driver::start(async move { drop(connection.await) });
    let response = timeout_at(deadline, sender.send_request(request.in_http1()?)).await;
    answer(response.map_err(silent)?.map_err(FetchError::Protocol)?, request.most, false, deadline).await
}

async fn in_http2(request: &Request, stream: impl Stream, deadline: Instant) -> Result<Response, FetchError> {
    let tasks = Tasks::default();
    let mut builder = http2::Builder::new(tasks.executor());
    builder.max_header_list_size(u32::try_from(MOST_OF_A_HEAD).unwrap_or(u32::MAX));
    let (mut sender, connection) = timeout_at(deadline, builder.handshake(TokioIo::new(stream)))
        .await
        .map_err(silent)?
        .map_err(FetchError::Protocol)?;
    let (told, end) = oneshot::channel();
    let _driver = Driver::start(async move { drop(told.send(connection.await.err())) });
    let response = match timeout_at(deadline, sender.send_request(request.in_http2()?)).await.map_err(silent)? {
        // The connection ended before it took the request, and knows why, unless it was just closed.
        Err(error) if error.is_canceled() => {
            let end = timeout_at(deadline, end).await.map_err(silent)?;
            return Err(FetchError::Protocol(end.ok().flatten().unwrap_or(error)));
        }
        response => response.map_err(FetchError::Protocol)?,
    };
    answer(response, request.most, true, deadline).await
}

fn silent(_elapsed: Elapsed) -> FetchError {
    FetchError::Timeout(WAITING)
}

impl Request {
    fn in_http1(&self) -> Result<hyper::Request<Full<Bytes>>, FetchError> {
        let mut request = self.addressed_to(&self.path())?;
        request.headers_mut().insert(HOST, self.host.clone());
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(request)
    }

    /// Where HTTP/1.1 has a header for the host, HTTP/2 has the URL whole (RFC 9113, 8.3.1).
    fn in_http2(&self) -> Result<hyper::Request<Full<Bytes>>, FetchError> {
        let host = self.host.to_str().map_err(|_| FetchError::Path)?;
        self.addressed_to(&format!("{}://{host}{}", self.url.scheme(), self.path()))
    }

    fn path(&self) -> String {
        let query = self.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}{query}", self.url.path())
    }

    fn addressed_to(&self, uri: &str) -> Result<hyper::Request<Full<Bytes>>, FetchError> {
        let mut request = hyper::Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri.parse().map_err(|_| FetchError::Path)?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

async fn answer(
    response: hyper::Response<Incoming>,
    most: usize,
    http2: bool,
    deadline: Instant,
) -> Result<Response, FetchError> {
    let (head, body) = response.into_parts();
    let collected = timeout_at(deadline, collect(body, most))
        .await
        .map_err(|_elapsed| FetchError::Timeout(READING))?
        .map_err(FetchError::Protocol)?;
    let (status, headers) = (head.status, head.headers);
    let Collected { body, truncated, trailers } = collected;
    Ok(Response { status, headers, body, truncated, trailers, http2, not_after: None })
}

struct Collected {
    body: Bytes,
    truncated: bool,
    trailers: HeaderMap,
}

/// The body's beginning, whether there was more, and what came behind it.
async fn collect(mut body: Incoming, most: usize) -> Result<Collected, hyper::Error> {
    let (mut collected, mut trailers) = (BytesMut::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        let data = match frame?.into_data() {
            Ok(data) => data,
            Err(frame) => {
                trailers.extend(frame.into_trailers().unwrap_or_default());
                continue;
            }
        };
        let room = most - collected.len();
        collected.extend_from_slice(data.get(..room).unwrap_or(&data));
        if data.len() > room {
            return Ok(Collected { body: collected.freeze(), truncated: true, trailers });
        }
    }
    Ok(Collected { body: collected.freeze(), truncated: false, trailers })
}
