//! The source of documents that is asked, not sent to: it takes part in each change of the configuration, and refuses one
//! that names a server which nobody can reach.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::net::TcpStream;
use tokio::time::timeout;
use wellkept::config::{Effect, Prepared, Refusal, Subscriber};

use crate::settings::{Ingestion, Rest};

/// How long one waits for a server.
const PATIENCE: Duration = Duration::from_secs(2);

/// The source. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Source(Arc<ArcSwapOption<Connection>>);

/// A connection to the server. A real one would be a client with a pool, and a task that asks.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
}

impl Source {
    /// One without a server.
    pub(crate) fn new() -> Self {
        Self(Arc::new(ArcSwapOption::empty()))
    }

    /// Connects, if there is a server to connect to.
    pub(crate) async fn connect(&self, rest: Option<&Rest>) -> Result<(), Refusal> {
        if let Some(rest) = rest {
            self.0.store(Some(Arc::new(connected(rest.address).await?)));
        }
        Ok(())
    }
}

impl Subscriber<Ingestion> for Source {
    async fn prepare(&self, old: &Arc<Ingestion>, new: &Arc<Ingestion>) -> Result<Prepared, Refusal> {
        let address = |ingestion: &Ingestion| ingestion.adapters.rest.as_ref().map(|rest| rest.address);
        if address(old) == address(new) {
            return Ok(Prepared::nothing());
        }
        // Beside the old one, which goes on meanwhile, and afterwards if another subscriber refuses.
        let connection = match address(new) {
            Some(address) => Some(Arc::new(connected(address).await?)),
            None => None,
        };
        let (source, former) = (self.clone(), self.0.load_full());
        let commit = move || {
            let peer = connection.as_ref().and_then(|connection| connection.stream.peer_addr().ok());
            source.0.store(connection);
            vec![("connected", Effect::Names(peer.iter().map(ToString::to_string).collect()))]
        };
        // Closed when nobody uses it any more.
        Ok(Prepared::new(commit).retire(|| async move { drop(former) }))
    }
}

async fn connected(address: SocketAddr) -> Result<Connection, Refusal> {
    match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(Connection { stream }),
        Ok(Err(error)) => Err(Refusal::new(format!("adapters.rest.address: {address} can't be reached: {error}"))),
        Err(_) => Err(Refusal::new(format!("adapters.rest.address: {address} did not answer in {PATIENCE:?}"))),
    }
}
