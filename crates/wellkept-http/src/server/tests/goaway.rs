//! GOAWAY frame by frame (RFC 9113, section 6.8), with a client that sees and sends each of them.

use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Of a first GOAWAY: nothing is given up yet.
const ANY_STREAM: u32 = (1 << 31) - 1;

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The last stream and the error code of a GOAWAY.
    fn goaway(&self) -> (u32, u32) {
        assert_eq!(self.kind, GOAWAY, "{self:?}");
        let number = |at: usize| u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"));
        (number(0), number(4))
    }
}

/// A client that does nothing by itself.
struct FrameClient(Client);

impl FrameClient {
    async fn connect(setup: &Setup) -> Self {
        let mut client = setup.connect().await;
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let mut client = Self(client);
        client.send(SETTINGS, 0, 0, &[]).await;
        client
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.send(&[&head, payload].concat()).await;
    }

    /// `GET path` in the words of HPACK's static table, with the path and the authority as they are.
    async fn ask(&mut self, stream: u32, path: &str) {
        let literal = |index: u8, text: &str| {
            let length = u8::try_from(text.len()).expect("it is short");
            [&[0x40 | index, length], text.as_bytes()].concat()
        };
        let head = [vec![0x82, 0x86], literal(4, path), literal(1, "test")].concat();
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &head).await;
    }

    /// The next frame, or none at the end. Settings and windows are passed over.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            within(self.0.socket.read_exact(&mut head)).await.ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            within(self.0.socket.read_exact(&mut payload)).await.expect("the whole frame comes");
            if matches!(kind, DATA | HEADERS | PING | GOAWAY) {
                return Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload });
            }
        }
    }

    /// Reads the answer on this stream, of which nothing else may come in between.
    async fn answer(&mut self, stream: u32) -> String {
        let mut body = Vec::new();
        loop {
            let frame = self.next().await.expect("an answer");
            assert!(frame.stream == stream && matches!(frame.kind, HEADERS | DATA), "{frame:?}");
            if frame.kind == DATA {
                body.extend(frame.payload);
            }
            if frame.flags & END_STREAM != 0 {
                return String::from_utf8(body).expect("it is text");
            }
        }
    }
}

#[tokio::test]
async fn the_first_goaway_gives_up_no_stream_and_the_second_names_the_last_one_that_was_served() {
    let setup = Setup::new(ServerOptions::default());
    let mut client = FrameClient::connect(&setup).await;
    client.ask(1, "/slow").await;
    eventually(|| setup.handle.stats().in_flight == 1).await;
    setup.handle.announce();
    assert_eq!(client.next().await.unwrap().goaway(), (ANY_STREAM, 0));
    let ping = client.next().await.unwrap();
    assert_eq!((ping.kind, ping.flags), (PING, 0), "what the client has on the way is waited for");

    // On the way when the first GOAWAY was: nobody could have known, so it is served.
    client.ask(3, "/").await;
    assert_eq!(client.answer(3).await, "hello");
    client.send(PING, ACK, 0, &ping.payload).await;
    assert_eq!(client.next().await.unwrap().goaway(), (3, 0));

    // One that comes all the same is not begun: the client may send it again elsewhere.
    client.ask(5, "/").await;
    setup.gate.add_permits(1);
    assert_eq!(client.answer(1).await, "slow");
    assert!(client.next().await.is_none_or(|frame| frame.kind == GOAWAY));
    within(setup.handle.closed()).await;
    assert_eq!(setup.handle.stats().requests_total, 2);
}

#[tokio::test]
async fn a_client_that_never_answers_the_ping_is_served_and_holds_nobody_afterwards() {
    let setup = Setup::new(ServerOptions::default());
    let mut client = FrameClient::connect(&setup).await;
    client.ask(1, "/slow").await;
    eventually(|| setup.handle.stats().in_flight == 1).await;
    setup.handle.announce();
    assert_eq!(client.next().await.unwrap().goaway(), (ANY_STREAM, 0));
    assert_eq!(client.next().await.unwrap().kind, PING);
    within(setup.handle.stop_accepting()).await;
    let mut drain = std::pin::pin!(setup.handle.drain());
    assert!(is_pending(drain.as_mut()).await);

    setup.gate.add_permits(1);
    assert_eq!(client.answer(1).await, "slow");
    let answered = std::time::Instant::now();
    within(drain).await;
    assert!(answered.elapsed() < Duration::from_secs(1), "{:?}", answered.elapsed());
    within(setup.handle.closed()).await;
}

#[tokio::test]
async fn a_stream_opened_after_the_stop_is_answered_and_counted_as_refused() {
    let setup = Setup::new(ServerOptions::default());
    let mut client = FrameClient::connect(&setup).await;
    client.ask(1, "/slow").await;
    eventually(|| setup.handle.stats().in_flight == 1).await;
    within(setup.handle.stop_accepting()).await;
    assert_eq!(client.next().await.unwrap().goaway(), (ANY_STREAM, 0));
    assert_eq!(client.next().await.unwrap().kind, PING);
    client.ask(3, "/").await;
    assert_ne!(client.answer(3).await, "hello");
    eventually(|| setup.handle.stats().refused_late_total == 1).await;
    setup.gate.add_permits(1);
    assert_eq!(client.answer(1).await, "slow");
}
