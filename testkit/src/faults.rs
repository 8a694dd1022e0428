//! A proxy that makes a network's faults: it passes on to one server what is sent to it, and spoils the way back.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// What happens to what the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: all of it is passed on.
    None,
    /// Nothing is passed on, either way, and nobody is told.
    BlackHole,
    /// After so many bytes the connection is reset.
    ResetAfter(usize),
    /// After so many bytes nothing more comes, and the connection stays open.
    SilentAfter(usize),
    /// After so many bytes this side says that it will send no more, and goes on reading.
    HalfCloseAfter(usize),
    /// One byte at a time, with this pause after each.
    Drip(Duration),
    /// All of it, each piece this much later.
    Delay(Duration),
}

/// A proxy of the test's own in front of one server. Dropping it ends it, and what it holds open.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl FaultProxy {
    /// Starts one.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub fn in_front_of(backend: SocketAddr, fault: Fault) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (connections, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&connections), Arc::clone(&ended));
        thread::spawn(move || {
            for client in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                count.fetch_add(1, Ordering::Relaxed);
                let end = Arc::clone(&end);
                // A connection that breaks is what this is for.
                thread::spawn(move || client.and_then(|client| pass_on(&client, backend, fault, &end)).ok());
            }
        });
        Self { address, connections, ended }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}

fn pass_on(client: &TcpStream, backend: SocketAddr, fault: Fault, ended: &AtomicBool) -> io::Result<()> {
    let server = TcpStream::connect(backend)?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
        // How soon a connection notices that the proxy has ended.
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    }
    if fault == Fault::BlackHole {
        return hold(client, ended);
    }
    thread::scope(|scope| {
        scope.spawn(|| forward(client, &server, Fault::None, ended));
        let answered = forward(&server, client, fault, ended);
        server.shutdown(Shutdown::Both).ok();
        answered
    })
}

/// Moves bytes one way until they end, and spoils them.
fn forward(from: &TcpStream, mut to: &TcpStream, fault: Fault, ended: &AtomicBool) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut passed = 0;
    while let Some(length) = read(from, &mut buffer, ended)? {
        let piece = &buffer[..length];
        match fault {
            Fault::ResetAfter(limit) | Fault::SilentAfter(limit) | Fault::HalfCloseAfter(limit) => {
                let left = piece.len().min(limit - passed);
                to.write_all(&piece[..left])?;
                passed += left;
                if passed == limit {
                    return stop(to, fault, ended);
                }
            }
            Fault::Drip(pause) => {
                for byte in piece {
                    to.write_all(&[*byte])?;
                    if ended.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    // pace: the slowness is the fault.
                    thread::sleep(pause);
                }
            }
            Fault::Delay(pause) => {
                // pace: the slowness is the fault.
                thread::sleep(pause);
                to.write_all(piece)?;
            }
            Fault::None | Fault::BlackHole => to.write_all(piece)?,
        }
    }
    to.shutdown(Shutdown::Write)
}

fn stop(client: &TcpStream, fault: Fault, ended: &AtomicBool) -> io::Result<()> {
    match fault {
        Fault::ResetAfter(_) => {
            // Closed without the usual farewell: the other side gets a reset.
            set_socket_linger(client, Some(Duration::ZERO))?;
            client.shutdown(Shutdown::Read)
        }
        Fault::HalfCloseAfter(_) => {
            client.shutdown(Shutdown::Write)?;
            hold(client, ended)
        }
        _ => hold(client, ended),
    }
}

/// Reads what comes, and does nothing with it.
fn hold(stream: &TcpStream, ended: &AtomicBool) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while read(stream, &mut buffer, ended)?.is_some() {}
    Ok(())
}

/// What comes next; nothing at the end of the stream, or of the proxy.
fn read(mut stream: &TcpStream, buffer: &mut [u8], ended: &AtomicBool) -> io::Result<Option<usize>> {
    while !ended.load(Ordering::Relaxed) {
        match stream.read(buffer) {
            Ok(0) => return Ok(None),
            Ok(length) => return Ok(Some(length)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// A server that says ten bytes and closes.
    fn backend() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                client.unwrap().write_all(b"0123456789").unwrap();
            }
        });
        address
    }

    /// What comes through the proxy, and how it ends.
    fn through(fault: Fault) -> (String, Option<io::ErrorKind>) {
        let proxy = FaultProxy::in_front_of(backend(), fault);
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let (mut came, mut byte) = (String::new(), [0]);
        loop {
            match client.read(&mut byte) {
                Ok(0) => return (came, None),
                Ok(_) => came.push(char::from(byte[0])),
                Err(error) => return (came, Some(error.kind())),
            }
        }
    }

    #[test]
    fn each_fault_is_what_its_name_says() {
        use io::ErrorKind::{ConnectionReset, WouldBlock};
        assert_eq!(through(Fault::None), ("0123456789".to_owned(), None));
        assert_eq!(through(Fault::BlackHole), (String::new(), Some(WouldBlock)));
        assert_eq!(through(Fault::ResetAfter(4)), ("0123".to_owned(), Some(ConnectionReset)));
        assert_eq!(through(Fault::SilentAfter(4)), ("0123".to_owned(), Some(WouldBlock)));
        assert_eq!(through(Fault::HalfCloseAfter(4)), ("0123".to_owned(), None));
        let began = Instant::now();
        assert_eq!(through(Fault::Drip(Duration::from_millis(5))), ("0123456789".to_owned(), None));
        assert!(began.elapsed() >= Duration::from_millis(50));
    }
}
