//! What the checks of all peers ask: a server that takes its time, and counts.

use std::io::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

/// How long it thinks about each question.
pub(super) const THINKS: Duration = Duration::from_millis(50);

/// A database in everything but its data: a connection per check, one question, one answer 50 ms later.
pub(super) struct Dependency {
    pub(super) address: SocketAddr,
    hits: Arc<AtomicU64>,
}

impl Dependency {
    pub(super) fn start(runtime: &Handle) -> Self {
        let _entered = runtime.enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a fresh socket takes options");
        let listener = TcpListener::from_std(listener).expect("it is a listener");
        let address = listener.local_addr().expect("it is bound");
        let hits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&hits);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move { drop(serve(stream, &counted).await) });
            }
        });
        Self { address, hits }
    }

    /// Questions so far.
    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, hits: &AtomicU64) -> Result<()> {
    // Nobody's port waits a minute for stray packets: there are thousands of connections per second.
    stream.set_zero_linger()?;
    let mut question = [0; 16];
    while stream.read(&mut question).await? > 0 {
        hits.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(THINKS).await;
        stream.write_all(b"ok\n").await?;
    }
    Ok(())
}

/// The check, as the peers in Rust make it.
pub(super) async fn ask(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"how are you\n").await?;
    let mut answer = [0; 16];
    stream.read(&mut answer).await.map(drop)
}
