//! A client of HTTP/2 that behaves well: some streams on one connection, and a new connection after GOAWAY.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use h2::client::{Builder, SendRequest};
use h2::{Error, Reason};
use http::header::RETRY_AFTER;
use http::{Request, StatusCode};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::tally::{Fate, OfConnection, Tally};
use super::{PATIENCE, connect, think};

/// Streams of one connection at the same time.
pub(super) const STREAMS: usize = 3;

/// Asks until nobody takes its connections any more.
pub(super) async fn client(target: SocketAddr, pause: Duration, tally: Arc<Tally>) {
    let first = Arc::new(AtomicBool::new(true));
    loop {
        let Some(stream) = connect(target).await else { return tally.refused() };
        tally.connected();
        let mut of_connection = OfConnection::default();
        // Where not even the preface can be written, nothing has been asked.
        if let Ok(Ok((requests, connection))) = timeout(PATIENCE, Builder::new().handshake::<_, &[u8]>(stream)).await {
            tokio::spawn(connection);
            let mut streams = JoinSet::new();
            for _ in 0..STREAMS {
                streams.spawn(ask_on(requests.clone(), pause, Arc::clone(&tally), Arc::clone(&first)));
            }
            drop(requests);
            while let Some(of_stream) = streams.join_next().await {
                of_connection.add(of_stream.expect("a client does not panic"));
            }
        }
        tally.over(of_connection);
    }
}

/// One request after the other, for as long as the connection takes them.
async fn ask_on(
    mut requests: SendRequest<&'static [u8]>,
    pause: Duration,
    tally: Arc<Tally>,
    first: Arc<AtomicBool>,
) -> OfConnection {
    let mut of_connection = OfConnection::default();
    loop {
        let Ok(Ok(ready)) = timeout(PATIENCE, requests.ready()).await else { return of_connection };
        requests = ready;
        let request = Request::get("http://127.0.0.1/").body(()).expect("it is a request");
        let Ok((response, _)) = requests.send_request(request, true) else { return of_connection };
        let fate = timeout(PATIENCE, answer(response)).await.unwrap_or(Fate::Lost);
        tally.note(fate, &mut of_connection);
        if fate == Fate::Answered && first.swap(false, Ordering::Relaxed) {
            tally.is_ready();
        }
        tally.started().await;
        if matches!(fate, Fate::Lost | Fate::Unprocessed) {
            return of_connection;
        }
        think(pause).await;
    }
}

async fn answer(response: h2::client::ResponseFuture) -> Fate {
    let read = async {
        let (head, mut body) = response.await?.into_parts();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        Ok::<_, Error>(match head.status {
            StatusCode::OK => Fate::Answered,
            StatusCode::SERVICE_UNAVAILABLE if head.headers.contains_key(RETRY_AFTER) => Fate::ToldToRetry,
            _ => Fate::Other,
        })
    };
    read.await.unwrap_or_else(|error| if never_processed(&error) { Fate::Unprocessed } else { Fate::Lost })
}

/// A GOAWAY ends the streams above the last one that it names, and only those (RFC 9113, section 6.8).
fn never_processed(error: &Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}
