//! What is said over a connection that stands: the upgrade, a ping or a message, the farewell.

use std::fmt;
use std::io;

use futures_util::{SinkExt as _, StreamExt as _};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::http::header;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Url;
use wellkept_health::{Outcome, Reason};

use super::refused;
use crate::InvalidOption;
use crate::fetch::credentials;
use crate::reach::timed_out;

/// Largest message that is read, in bytes.
const MOST_OF_A_MESSAGE: usize = 64 * 1024;
/// Most messages that are passed over before the ping comes back.
const MOST_PASSED_OVER: usize = 256;
const PING: &[u8] = b"wellkept";

/// What is said, prepared. `Debug` shows none of it.
pub(super) struct Talk {
    /// Without its key, which is a new one each time.
    request: Request,
    send: Option<SecretString>,
    expect: Option<String>,
}

impl Talk {
    pub(super) fn new(
        url: &Url,
        headers: &[(String, SecretString)],
        send: Option<SecretString>,
        expect: Option<String>,
    ) -> Result<Self, InvalidOption> {
        let invalid = |option| move |told: String| InvalidOption::new(option, told);
        let mut bare = url.clone();
        bare.set_fragment(None);
        // Neither can fail on a URL that has a host.
        let _ = bare.set_username("");
        let _ = bare.set_password(None);
        let no_host = || InvalidOption::new("url", "the URL names no host");
        let host = url.host_str().ok_or_else(no_host)?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let agent = concat!("wellkept/", env!("CARGO_PKG_VERSION"));
        let request = Request::builder().uri(bare.as_str()).header(header::HOST, host);
        let request = request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "websocket");
        let request = request.header(header::SEC_WEBSOCKET_VERSION, "13").header(header::USER_AGENT, agent);
        let mut request = request.body(()).map_err(|_| InvalidOption::new("url", "the URL can't be sent"))?;
        if let Some(value) = credentials(url).map_err(|error| error.to_string()).map_err(invalid("url"))? {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        for (name, value) in headers {
            let name = HeaderName::try_from(name.as_str());
            let name = name.map_err(|_| InvalidOption::new("headers", "a header's name holds letters, digits and hyphens"))?;
            let mut value = HeaderValue::try_from(value.expose_secret())
                .map_err(|_| InvalidOption::new("headers", "a header's value holds no line breaks and control characters"))?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
        Ok(Self { request, send, expect })
    }

    /// Says it, until `deadline` at the latest.
    pub(super) async fn over<S>(&self, stream: S, deadline: Instant) -> Outcome
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut request = self.request.clone();
        let Ok(key) = HeaderValue::try_from(generate_key()) else {
            return Outcome::fail(Reason::Internal, "no key for the handshake");
        };
        request.headers_mut().insert(header::SEC_WEBSOCKET_KEY, key);
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MOST_OF_A_MESSAGE))
            .max_frame_size(Some(MOST_OF_A_MESSAGE))
            .write_buffer_size(0);
        let upgraded = timeout_at(deadline, client_async_with_config(request, stream, Some(limits))).await;
        let mut socket = match upgraded {
            Ok(Ok((socket, _response))) => socket,
            Ok(Err(error)) => return failed(&error),
            Err(_elapsed) => return timed_out("waiting for the upgrade"),
        };
        let doing = if self.expect.is_some() { "waiting for the first message" } else { "waiting for the ping to come back" };
        match timeout_at(deadline, self.exchange(&mut socket)).await {
            Ok(Ok(outcome)) => {
                // A farewell that does not go out at once is not waited for: nothing is left behind either way.
                let _ = timeout_at(deadline, socket.send(Message::Close(None))).await;
                outcome
            }
            Ok(Err(error)) => failed(&error),
            Err(_elapsed) => timed_out(doing),
        }
    }

    async fn exchange<S>(&self, socket: &mut WebSocketStream<S>) -> Result<Outcome, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Some(text) = &self.send {
            socket.send(Message::text(text.expose_secret())).await?;
        }
        if self.expect.is_none() {
            socket.send(Message::Ping(PING.into())).await?;
        }
        for _ in 0..MOST_PASSED_OVER {
            let message = match socket.next().await.ok_or(Error::ConnectionClosed)?? {
                Message::Close(_) => return Err(Error::ConnectionClosed),
                message => message,
            };
            match (&self.expect, message) {
                (None, Message::Pong(answer)) if answer == PING => return Ok(Outcome::pass()),
                (Some(expected), message @ (Message::Text(_) | Message::Binary(_))) => {
                    let data = message.into_data();
                    return Ok(if holds(&data, expected.as_bytes()) {
                        Outcome::pass()
                    } else {
                        let detail = format!("the first message has {} bytes and not the expected text", data.len());
                        Outcome::fail(Reason::Unexpected, "unexpected message").with_detail(detail)
                    });
                }
                _ => {}
            }
        }
        Ok(Outcome::fail(Reason::Unexpected, "the ping did not come back").with_detail("256 messages came instead"))
    }
}

impl fmt::Debug for Talk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Talk")
    }
}

fn failed(error: &Error) -> Outcome {
    let broken = |detail: String| Outcome::fail(Reason::Network, "connection broken").with_detail(detail);
    match error {
        Error::Http(response) => refused(response.status().as_u16()),
        Error::ConnectionClosed | Error::AlreadyClosed => Outcome::fail(Reason::Unexpected, "the server closed the connection"),
        Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => no_websocket(error.to_string()),
        Error::Io(error) => broken(error.to_string()),
        Error::Protocol(
            error @ (ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete),
        ) => broken(error.to_string()),
        Error::Capacity(error) => {
            Outcome::fail(Reason::Unexpected, "the message is too long").with_detail(error.to_string())
        }
        error => no_websocket(error.to_string()),
    }
}

fn no_websocket(detail: String) -> Outcome {
    Outcome::fail(Reason::Protocol, "what answers does not speak WebSocket").with_detail(detail)
}

fn holds(data: &[u8], text: &[u8]) -> bool {
    text.is_empty() || data.windows(text.len()).any(|window| window == text)
}
