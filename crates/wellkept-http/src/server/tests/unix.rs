//! Over Unix sockets: the file and its permissions, who comes, and how it ends.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use axum::extract::Request;
use tokio::net::UnixStream;

use std::os::fd::AsFd as _;

use super::super::{Address, BindError, Listener, Peer};
use super::*;

/// A folder and the path of a socket in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("wellkept.sock");
    (folder, path)
}

fn bind(path: &Path) -> Result<Server, BindError> {
    Server::bind(Address::unix(path), ServerOptions::default())
}

fn serve_at(path: &Path, router: Router) -> Arc<ServerHandle> {
    bind(path).expect("the path is free").serve("test", router, Tracker::default())
}

async fn connect(path: &Path) -> Client<UnixStream> {
    Client::over(within(UnixStream::connect(path)).await.expect("it listens"))
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn a_request_over_a_unix_socket_knows_its_process_and_has_no_address_of_tcp() {
    let (_folder, path) = place();
    let whence = |request: Request| async move {
        let arrival = request.extensions().get::<Arrival>().expect("each request has one").clone();
        assert!(request.extensions().get::<ConnectInfo<SocketAddr>>().is_none());
        format!("{} {}", arrival.bound, arrival.peer)
    };
    let handle = serve_at(&path, Router::new().route("/", get(whence)));
    assert_eq!(handle.local_address().to_string(), format!("unix:{}", path.display()));
    let user = rustix::process::geteuid().as_raw();
    let expected = format!("unix:{} process {} of user {user}", path.display(), std::process::id());
    assert_eq!(connect(&path).await.get("/").await.body, expected);
}

#[tokio::test]
async fn all_that_wait_on_a_unix_socket_are_answered_and_its_file_is_gone_before() {
    let (_folder, path) = place();
    let handle = serve_at(&path, Router::new().route("/", get(|| async { "hello" })));
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let mut client = StdUnixStream::connect(&path).unwrap();
            std::io::Write::write_all(&mut client, b"GET / HTTP/1.1\r\nHost: \r\n\r\n").unwrap();
            client
        })
        .collect();
    assert_eq!(handle.stats().accepted_total, 0);
    within(handle.stop_accepting()).await;
    let gone = StdUnixStream::connect(&path).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
    within(handle.drain()).await;
    for mut client in clients {
        client.set_read_timeout(Some(SHORT * 50)).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut client, &mut answer).expect("it is answered, not reset");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn what_is_cut_on_a_unix_socket_is_named_with_its_process() {
    let (_folder, path) = place();
    let gate = Arc::new(Semaphore::new(0));
    let handle = serve_at(&path, routes(&gate));
    connect(&path).await.ask("/slow").await;
    let mut client = connect(&path).await;
    client.ask("/slow").await;
    eventually(|| handle.stats().in_flight > 0).await;
    let remaining = handle.remaining();
    let named = format!("GET /slow from process {} of user ", std::process::id());
    assert!(remaining.iter().any(|remaining| remaining.item.starts_with(&named)), "{remaining:?}");
    handle.abort();
    assert_eq!(client.rest().await, 0);
}

#[test]
fn the_file_is_for_the_same_user_unless_it_is_told_otherwise_whatever_the_umask() {
    let (_folder, path) = place();
    drop(bind(&path).unwrap());
    let listener = Listener::bind(Address::unix(&path), 0o600).unwrap();
    assert_eq!(mode_of(&path), 0o600);
    drop(listener);
    // Wider than what any usual umask leaves.
    let _listener = Listener::bind(Address::unix(&path), 0o777).unwrap();
    assert_eq!(mode_of(&path), 0o777);
}

#[test]
fn what_is_left_of_a_dead_process_is_replaced_and_what_lives_is_not() {
    let (_folder, path) = place();
    // A listener of the standard library leaves its file behind.
    drop(UnixListener::bind(&path).unwrap());
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    let server = bind(&path).expect("nobody listens there");
    let error = bind(&path).unwrap_err();
    assert_eq!(error.code(), "server.address_in_use");
    let path = path.display();
    insta::assert_snapshot!(
        error.to_string().replace(&path.to_string(), "PATH"),
        @"cannot listen on unix:PATH: another process listens there; stop it, or choose another path"
    );
    drop(server);
}

#[test]
fn a_queue_that_is_full_has_an_owner_too() {
    let (_folder, path) = place();
    let _owner = UnixListener::bind(&path).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None);
        let socket = StdUnixStream::from(socket.unwrap());
        socket.set_nonblocking(true).unwrap();
        let name = rustix::net::SocketAddrUnix::new(&path).unwrap();
        if rustix::net::connect(&socket, &name).is_err() {
            break;
        }
        waiting.push(socket);
    }
    assert_eq!(bind(&path).unwrap_err().code(), "server.address_in_use");
}

#[test]
fn what_is_no_socket_is_left_alone_and_named() {
    let (folder, path) = place();
    let refused = |path: &Path| {
        let error = bind(path).unwrap_err();
        assert_eq!(error.code(), "server.not_a_socket");
        error.to_string().replace(&folder.path().display().to_string(), "")
    };
    fs::write(&path, "precious").unwrap();
    insta::assert_snapshot!(refused(&path), @"cannot listen on unix:/wellkept.sock: there is a file of that name, which is left alone; remove it, or choose another path");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    insta::assert_snapshot!(refused(folder.path()), @"cannot listen on unix:: there is a folder of that name, which is left alone; remove it, or choose another path");
    // Also one that leads to a socket nobody listens on, or nowhere.
    let (link, dead) = (folder.path().join("link"), folder.path().join("dead"));
    drop(UnixListener::bind(&dead).unwrap());
    std::os::unix::fs::symlink(&dead, &link).unwrap();
    insta::assert_snapshot!(refused(&link), @"cannot listen on unix:/link: there is a symbolic link of that name, which is left alone; remove it, or choose another path");
    fs::remove_file(&dead).unwrap();
    refused(&link);
    assert!(fs::symlink_metadata(&link).is_ok());
}

#[test]
fn a_folder_that_is_missing_and_a_path_that_is_too_long_are_told_with_what_to_do() {
    let (folder, _) = place();
    let missing = bind(&folder.path().join("none/wellkept.sock")).unwrap_err();
    assert_eq!(missing.code(), "server.no_such_folder");
    assert!(missing.to_string().ends_with("make it first (systemd: `RuntimeDirectory=`)"), "{missing}");
    let long = bind(&folder.path().join("x".repeat(200))).unwrap_err();
    assert_eq!(long.code(), "server.path_too_long");
}

#[test]
fn only_a_file_that_is_still_its_own_is_removed_at_the_end() {
    let (_folder, path) = place();
    let server = bind(&path).unwrap();
    // Somebody has put another one in its place.
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    drop(server);
    assert!(StdUnixStream::connect(&path).is_ok(), "the other one is still reached");
    drop(other);

    let mut handed_over = Listener::bind(Address::unix(&path), 0o600).unwrap();
    handed_over.leave_file();
    let successor = handed_over.as_fd().try_clone_to_owned().unwrap();
    drop(handed_over);
    let mut successor = Listener::from_fd(successor).unwrap();
    assert_eq!(*successor.address(), Address::unix(&path));
    successor.adopt_file();
    assert!(StdUnixStream::connect(&path).is_ok());
    drop(successor);
    assert!(!path.exists(), "the successor removes what it has adopted");
}

#[test]
fn of_many_that_take_over_a_dead_socket_at_once_one_gets_it() {
    let (_folder, path) = place();
    let together = std::sync::Barrier::new(4);
    for _ in 0..50 {
        drop(UnixListener::bind(&path).unwrap());
        let all = std::thread::scope(|scope| {
            let start = || {
                together.wait();
                bind(&path)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(all.iter().filter(|bound| bound.is_ok()).count(), 1);
        assert!(StdUnixStream::connect(&path).is_ok());
    }
}

#[test]
fn a_peer_is_told_as_far_as_it_is_known() {
    assert_eq!(Peer::Unix(None).to_string(), "a process on this machine");
    assert_eq!(Peer::from(SocketAddr::from(([127, 0, 0, 1], 5))).to_string(), "127.0.0.1:5");
}
