//! Over TLS: the handshake and its limits, the end that is said to be one, the certificate that is renewed.

mod ending;
mod others;

use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::time::Instant;
use wellkept_net::tls::{Client as TlsClient, Session, TlsStream};
use wellkept_testkit::Authority;

use super::super::Address;
use super::*;
use crate::{Tls, TlsFiles, TlsIdentity};

type Secured<S = TcpStream> = Client<TlsStream<S>>;

const HTTP1: &[&[u8]] = &[b"http/1.1"];
const HTTP2: &[&[u8]] = &[b"h2"];
const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
/// The beginning of a hello that announces more than comes: a handshake's record, TLS 1.0 as all say, 512 bytes.
const HALF_A_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

/// An authority, and what a server for `localhost` shakes hands with.
struct Certified {
    authority: Authority,
    tls: Tls,
}

impl Certified {
    fn new() -> Self {
        let authority = Authority::new();
        let tls = Tls::new(identity(&authority, 30));
        Self { authority, tls }
    }

    fn options(&self) -> ServerOptions {
        ServerOptions { tls: Some(self.tls.clone()), ..ServerOptions::default() }
    }

    fn client(&self, alpn: &'static [&'static [u8]]) -> TlsClient {
        TlsClient::with_ca_file(&self.authority.ca_file()).expect("the file is sound").offering(alpn)
    }

    async fn connect(&self, handle: &ServerHandle) -> Secured {
        Client::over(self.shake(handle, HTTP1).await)
    }

    async fn shake(&self, handle: &ServerHandle, alpn: &'static [&'static [u8]]) -> TlsStream<TcpStream> {
        let socket = within(TcpStream::connect(tcp(handle))).await.expect("it listens");
        self.client(alpn).connect(socket, "localhost", soon()).await.expect("they shake hands")
    }
}

fn identity(authority: &Authority, days: i32) -> TlsIdentity {
    let issued = authority.issue("localhost", days);
    let files = TlsFiles { certificate: issued.certificate, key: issued.key, client_ca: None };
    TlsIdentity::load(&files).expect("the files are sound")
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Reads to the end, which must be said to be one.
async fn rest_in_order<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<TlsStream<S>>) -> usize {
    let mut rest = Vec::new();
    within(client.socket.read_to_end(&mut rest)).await.expect("the end is said to be one");
    rest.len()
}

fn hello() -> Router {
    routes(&Arc::new(Semaphore::new(0)))
}

#[tokio::test]
async fn the_client_chooses_between_the_two_versions_of_http() {
    let certified = Certified::new();
    let handle = serve(hello(), certified.options(), &Tracker::default());
    for (offered, agreed) in [(HTTP1, Some(&b"http/1.1"[..])), (HTTP2, Some(b"h2")), (BOTH, Some(b"h2")), (&[], None)] {
        let stream = certified.shake(&handle, offered).await;
        let session = Session::of(&stream);
        assert_eq!((session.version, session.alpn.as_deref()), ("1.3", agreed));
        if agreed == Some(b"h2") {
            let io = TokioIo::new(stream);
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
            let (mut sender, connection) = within(handshake).await.unwrap();
            tokio::spawn(connection);
            let request = Request::get("https://localhost/").body(Empty::<Bytes>::new()).unwrap();
            let response = within(sender.send_request(request)).await.unwrap();
            assert_eq!(within(response.into_body().collect()).await.unwrap().to_bytes(), "hello");
        } else {
            assert_eq!(Client::over(stream).get("/").await.body, "hello");
        }
    }
}

#[tokio::test]
async fn a_unix_socket_speaks_tls_too() {
    let (certified, folder) = (Certified::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("wellkept.sock");
    let server = Server::bind(Address::unix(&path), certified.options()).unwrap();
    assert_eq!(server.scheme(), "https");
    let _handle = server.serve("test", hello(), Tracker::default());
    let socket = UnixStream::connect(&path).await.unwrap();
    let stream = certified.client(HTTP1).connect(socket, "localhost", soon()).await.unwrap();
    assert_eq!(Client::over(stream).get("/").await.body, "hello");
    let mut plain = Client::over(UnixStream::connect(&path).await.unwrap());
    assert_eq!(plain.get("/").await.status, 400);
}

#[tokio::test]
async fn a_handshake_that_stops_half_way_is_cut_by_the_limit_of_the_first_byte() {
    let certified = Certified::new();
    // Long enough for a whole handshake on a loaded machine.
    let options = ServerOptions { first_byte_timeout: SHORT * 20, ..certified.options() };
    let handle = serve(hello(), options, &Tracker::default());
    let (mut nothing, mut half) = (Client::connect(tcp(&handle)).await, Client::connect(tcp(&handle)).await);
    half.send(HALF_A_HELLO).await;
    // Who has shaken hands and then says nothing, too.
    let mut silent = certified.connect(&handle).await;
    assert_eq!((nothing.rest().await, half.rest().await, rest_in_order(&mut silent).await), (0, 0, 0));
    let stats = handle.stats();
    assert_eq!((stats.timeouts.first_byte_total, stats.handshake_errors_total, stats.requests_total), (3, 0, 0));
}

#[tokio::test]
async fn a_handshake_that_stops_half_way_holds_no_drain_and_is_named() {
    let certified = Certified::new();
    let handle = serve(hello(), certified.options(), &Tracker::default());
    let (mut silent, mut half) = (Client::connect(tcp(&handle)).await, Client::connect(tcp(&handle)).await);
    half.send(HALF_A_HELLO).await;
    eventually(|| handle.open() == 2).await;
    let own = half.socket.get_ref().local_addr().unwrap();
    let named = |remaining: &wellkept_shutdown::Remaining| {
        remaining.item == format!("TLS connection from {own}") && remaining.reason == "tls_handshake"
    };
    assert!(handle.remaining().iter().any(named), "{:?}", handle.remaining());
    within(handle.stop_accepting()).await;
    let began = std::time::Instant::now();
    within(handle.drain()).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!((silent.rest().await, half.rest().await, handle.open()), (0, 0, 0));
}

#[tokio::test]
async fn a_handshake_that_comes_just_before_the_stop_is_finished_and_its_request_served() {
    let certified = Certified::new();
    let attempt = async || {
        let handle = serve(hello(), certified.options(), &Tracker::default());
        let socket = TcpStream::connect(tcp(&handle)).await.unwrap();
        within(handle.stop_accepting()).await;
        let client = async {
            let mut stream = certified.client(HTTP1).connect(socket, "localhost", soon()).await.ok()?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.ok()?;
            let mut answer = String::new();
            // To an end that is said to be one.
            stream.read_to_string(&mut answer).await.ok().map(|_| answer)
        };
        within(async { tokio::join!(client, handle.drain()) }).await.0
    };
    // The drain waits for a moment only, and a loaded machine may be slower than that.
    for _ in 0..5 {
        if let Some(answer) = Box::pin(attempt()).await {
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close\r\n"), "{answer}");
            return;
        }
    }
    panic!("no handshake is finished");
}

#[tokio::test]
async fn who_speaks_plain_http_is_told_so_and_anything_else_gets_an_alert() {
    let certified = Certified::new();
    let handle = serve(hello(), certified.options(), &Tracker::default());
    let mut client = Client::connect(tcp(&handle)).await;
    let response = client.get("/").await;
    assert_eq!((response.status, response.header("connection")), (400, Some("close")));
    insta::assert_snapshot!(response.body, @r#"{"error":{"code":"server.tls_required","message":"this port speaks TLS: ask with https://"}}"#);
    assert_eq!(client.rest().await, 0);
    drop(client);
    // Who only looks whether the port is open has not failed.
    drop(Client::connect(tcp(&handle)).await);
    // With a body that is longer than what anybody reads at once, and by the preface of HTTP/2.
    let long = [b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 30000\r\n\r\n", &PAYLOAD[..30_000]].concat();
    for said in [&long[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = Client::connect(tcp(&handle)).await;
        client.send(said).await;
        assert_eq!(client.response().await.status, 400);
    }
    let mut client = Client::connect(tcp(&handle)).await;
    client.send(b"\0\0\0\0\0\0\0\0").await;
    let mut alert = Vec::new();
    within(client.socket.read_to_end(&mut alert)).await.unwrap();
    assert_eq!(alert.first(), Some(&21), "the type of an alert's record");
    drop(client);
    eventually(|| handle.open() == 0).await;
    assert_eq!((handle.stats().handshake_errors_total, handle.stats().requests_total), (4, 0));
}

#[tokio::test]
async fn a_renewed_certificate_is_for_new_connections_and_the_old_ones_stay() {
    let certified = Certified::new();
    let handle = serve(hello(), certified.options(), &Tracker::default());
    let ends = |client: &Secured| Session::of(client.socket.get_ref()).not_after.unwrap();
    let mut old = certified.connect(&handle).await;
    certified.tls.renew(identity(&certified.authority, 90));
    let mut new = certified.connect(&handle).await;
    assert!(ends(&new) > ends(&old) + Duration::from_secs(59 * 86_400), "{:?} {:?}", ends(&new), ends(&old));
    assert_eq!(certified.tls.identity().not_after(), Some(ends(&new)));
    assert_eq!((old.get("/").await.body, new.get("/").await.body), ("hello".into(), "hello".into()));
}

#[tokio::test]
async fn with_authorities_for_clients_only_those_that_bear_a_certificate_come_in() {
    let (certified, clients) = (Certified::new(), Authority::new());
    let issued = certified.authority.issue("localhost", 30);
    let files = TlsFiles { certificate: issued.certificate, key: issued.key, client_ca: Some(clients.ca_file()) };
    certified.tls.renew(TlsIdentity::load(&files).unwrap());
    let handle = serve(hello(), certified.options(), &Tracker::default());

    let mut nobody = certified.connect(&handle).await;
    // In TLS 1.3 a client learns of it with the first answer.
    let _ = nobody.socket.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let refused = within(nobody.socket.read_u8()).await.unwrap_err();
    assert!(refused.to_string().contains("CertificateRequired"), "{refused}");
    eventually(|| handle.stats().handshake_errors_total == 1).await;

    let socket = TcpStream::connect(tcp(&handle)).await.unwrap();
    let config = others::bearing(&certified.authority, &clients.issue("client", 30));
    let stream = wellkept_net::tls::connect_with(config, socket, "localhost", soon()).await.unwrap();
    assert_eq!(Client::over(stream).get("/").await.body, "hello");
}
