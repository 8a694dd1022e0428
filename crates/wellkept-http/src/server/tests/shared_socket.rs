//! A listening socket that somebody else listens on too: a successor, or a service manager.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream as StdStream};

use super::*;
use crate::server::Listener;
use crate::sockets::Listening as _;

/// A client that waits in the queue with its request.
fn waiting(address: SocketAddr) -> StdStream {
    let mut client = StdStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    client
}

/// The answers of a server that takes over the queue.
async fn are_answered_by_the_next(socket: TcpListener, clients: Vec<StdStream>) {
    let gate = Arc::new(Semaphore::new(0));
    let next = Server::on(socket, ServerOptions::default()).unwrap();
    let next = next.serve("next", routes(&gate), Tracker::default());
    let count = clients.len() as u64;
    eventually(|| next.stats().requests_total == count).await;
    within(next.stop_accepting()).await;
    within(next.drain()).await;
    for mut client in clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("it is answered, not reset");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_server_that_leaves_its_socket_goes_on_with_what_it_has_and_takes_nothing_more() {
    let setup = Setup::new(ServerOptions::default());
    let mut kept = setup.connect().await;
    assert_eq!(kept.get("/").await.status, 200);
    let socket = TcpListener::from(setup.handle.share().unwrap().socket);
    // On this single thread nothing is accepted until the test waits.
    let mut clients: Vec<_> = (0..25).map(|_| waiting(tcp(&setup.handle))).collect();
    within(setup.handle.leave()).await;
    within(setup.handle.leave()).await;
    clients.extend((0..25).map(|_| waiting(tcp(&setup.handle))));
    let answer = kept.get("/").await;
    assert_eq!((answer.status, answer.header("connection")), (200, None), "nothing has ended yet");
    assert_eq!(setup.handle.stats().accepted_total, 1);
    assert!(setup.handle.share().is_err(), "it has no socket any more");
    // Its end resets nobody who waits, either.
    setup.handle.announce();
    within(setup.handle.stop_accepting()).await;
    within(setup.handle.drain()).await;
    assert_eq!(setup.handle.stats().accepted_total, 1);
    are_answered_by_the_next(socket, clients).await;
}

#[tokio::test]
async fn what_waits_at_a_socket_of_a_service_manager_is_left_to_the_next_start() {
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = held.local_addr().unwrap();
    let ours = Listener::from_fd(held.try_clone().unwrap().into()).unwrap().managed();
    let server = Server::on(ours, ServerOptions::default()).unwrap();
    let handle = server.serve("first", routes(&Arc::new(Semaphore::new(0))), Tracker::default());
    // On this single thread nothing is accepted until the test waits.
    let clients: Vec<_> = (0..50).map(|_| waiting(address)).collect();
    within(handle.stop_accepting()).await;
    within(handle.drain()).await;
    assert_eq!(handle.stats().accepted_total, 0);
    are_answered_by_the_next(held, clients).await;
}

#[tokio::test]
async fn a_server_that_is_cut_while_it_leaves_is_gone() {
    let setup = Setup::new(ServerOptions::default());
    let _slow = setup.connect_slow().await;
    within(setup.handle.leave()).await;
    setup.handle.abort();
    within(setup.handle.stop_accepting()).await;
    within(setup.handle.drain()).await;
    assert_eq!(setup.handle.open(), 0);
}
