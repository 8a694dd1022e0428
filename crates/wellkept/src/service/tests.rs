//! What a whole service does: its doors, its checks, its clock.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use wellkept_shutdown::Cause;
use wellkept_testkit::{free_address, until_some};

use super::*;

fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(feature = "grpc")]
#[tokio::test(flavor = "multi_thread")]
async fn the_grpc_door_of_a_service_opens_and_closes_with_it() {
    let (application, grpc) = (free_address(), free_address());
    let service = Service::new("orders", "1.4.2").grpc(grpc);
    let shutdown = service.shutdown().clone();
    let served = tokio::spawn(service.serve(Router::new(), application));
    // It speaks HTTP/2 only, and says so.
    let refusal = until_some(Duration::from_secs(20), "the door to open", || ask(grpc, "/").ok());
    assert!(refusal.starts_with("HTTP/1.1 505 "), "{refusal}");
    let metrics = ask(application, "/metrics").unwrap();
    assert!(metrics.contains("wellkept_server_connections_limit{door=\"grpc\"} 2000.0"), "{metrics}");
    assert!(metrics.contains("wellkept_grpc_watches_limit 1000.0"), "{metrics}");
    shutdown.trigger(Cause::requested("test"));
    assert_eq!(served.await.unwrap().unwrap().exit_code(), 0);
    ask(grpc, "/").unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_for_haproxy_of_a_service_opens_and_closes_with_it() {
    let (application, agent) = (free_address(), free_address());
    let service = Service::new("orders", "1.4.2").haproxy(agent, AgentOptions::default());
    let shutdown = service.shutdown().clone();
    let served = tokio::spawn(service.serve(Router::new(), application));
    let says = || {
        let mut line = String::new();
        TcpStream::connect(agent).ok()?.read_to_string(&mut line).ok()?;
        (line == "ready up 100%\n").then_some(())
    };
    until_some(Duration::from_secs(20), "the agent to say that the service is ready", says);
    let metrics = ask(application, "/metrics").unwrap();
    assert!(metrics.contains("wellkept_haproxy_connections_limit 64.0"), "{metrics}");
    assert!(!metrics.contains("wellkept_haproxy_checks_total{fate=\"answered\"} 0.0"), "{metrics}");
    shutdown.trigger(Cause::requested("test"));
    assert_eq!(served.await.unwrap().unwrap().exit_code(), 0);
    TcpStream::connect(agent).unwrap_err();
}
