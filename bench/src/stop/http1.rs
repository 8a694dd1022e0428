//! A client of HTTP/1.1: it keeps its connection while it may, and opens a new one where it was told `Connection: close`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::tally::{Fate, OfConnection, Tally};
use super::{PATIENCE, connect, think};
use crate::polite::{Answer, Connection};

/// Asks until nobody takes its connections any more.
pub(super) async fn client(target: SocketAddr, pause: Duration, tally: Arc<Tally>) {
    let mut open: Option<(Connection, OfConnection)> = None;
    let mut first = true;
    loop {
        think(pause).await;
        let (mut connection, mut of_connection) = match open.take().filter(|(connection, _)| connection.is_open()) {
            Some(open) => open,
            None => match connect(target).await {
                Some(stream) => {
                    tally.connected();
                    (Connection::new(stream), OfConnection::default())
                }
                None => return tally.refused(),
            },
        };
        let (fate, keep) = match timeout(PATIENCE, connection.ask()).await {
            Ok(Ok(answer)) => (fate(answer), !answer.close),
            _ => (Fate::Lost, false),
        };
        tally.note(fate, &mut of_connection);
        if first && fate == Fate::Answered {
            first = false;
            tally.is_ready();
            tally.started().await;
        }
        if keep {
            open = Some((connection, of_connection));
        } else {
            tally.over(of_connection);
        }
    }
}

fn fate(answer: Answer) -> Fate {
    match answer.status {
        200 => Fate::Answered,
        503 if answer.retry_after => Fate::ToldToRetry,
        _ => Fate::Other,
    }
}
