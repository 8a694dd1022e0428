//! A server that answers whatever it is asked with the same bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use url::Url;

/// A server that answers each request with these bytes, and tells what it was asked.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) requests: mpsc::UnboundedReceiver<String>,
}

impl Server {
    pub(crate) async fn start(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, tell) = (answer.clone(), tell.clone());
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(stream.read_u8().await?);
                    }
                    let _ = tell.send(String::from_utf8(request).unwrap());
                    stream.write_all(&answer).await
                });
            }
        });
        Self { address, requests }
    }

    /// A server that answers with a status and a JSON body.
    pub(crate) async fn with_json(status: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        Self::start(head + body).await
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    pub(crate) async fn asked(&mut self) -> String {
        self.requests.recv().await.unwrap()
    }
}
