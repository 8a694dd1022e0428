//! GELF as a receiver gets it.

use std::collections::HashMap;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::thread;
use std::time::Instant;

use flate2::read::{GzDecoder, ZlibDecoder};
use serde_json::Value;
use wellkept_testkit::until;

use super::*;
use crate::logging::books::Loss;
use crate::logging::output::Written;

const SOON: Duration = Duration::from_secs(10);

fn line(number: usize, filling: &str) -> String {
    format!("{{\"version\":\"1.1\",\"host\":\"h\",\"short_message\":\"{filling}\",\"_number\":{number}}}\n")
}

fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| line(number, "hello")).collect()
}

/// What hardly can be compressed.
fn noise(bytes: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(bytes).collect()
}

/// Hands lines over as the writer does, until all are taken. Returns how many did not arrive.
fn deliver(destination: &mut dyn Destination, lines: &str) -> u64 {
    let (mut rest, mut failed) = (lines.as_bytes(), 0);
    until(SOON, "all lines to be taken", || {
        let written = destination.write(rest);
        rest = &rest[written.bytes..];
        failed += written.failed;
        rest.is_empty()
    });
    failed
}

/// Puts messages together from datagrams, as the format says.
struct Datagrams {
    socket: UdpSocket,
    chunks: HashMap<Vec<u8>, Vec<Option<Vec<u8>>>>,
    longest: usize,
}

impl Datagrams {
    fn bind() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { socket, chunks: HashMap::new(), longest: 0 }
    }

    fn options(&self, transport: GelfTransport) -> GelfOptions {
        let port = self.socket.local_addr().unwrap().port();
        GelfOptions { host: "127.0.0.1".into(), port, transport }
    }

    /// The next message, and the bytes that it came as.
    fn next(&mut self) -> (Value, Vec<u8>) {
        let mut buffer = [0; 9000];
        loop {
            let length = self.socket.recv(&mut buffer).unwrap();
            self.longest = self.longest.max(length);
            let datagram = &buffer[..length];
            let Some(chunk) = datagram.strip_prefix(&[0x1e, 0x0f]) else { return decode(datagram.to_vec()) };
            let (id, rest) = chunk.split_at(8);
            let (number, count) = (usize::from(rest[0]), usize::from(rest[1]));
            assert!(number < count && count <= 128);
            let parts = self.chunks.entry(id.to_vec()).or_insert_with(|| vec![None; count]);
            assert!(parts[number].replace(rest[2..].to_vec()).is_none(), "each chunk comes once");
            if parts.iter().all(Option::is_some) {
                let message = self.chunks.remove(id).unwrap().into_iter().flatten().flatten().collect();
                return decode(message);
            }
        }
    }
}

fn decode(message: Vec<u8>) -> (Value, Vec<u8>) {
    let mut text = String::new();
    match message.as_slice() {
        [0x1f, 0x8b, ..] => GzDecoder::new(message.as_slice()).read_to_string(&mut text).unwrap(),
        [0x78, ..] => ZlibDecoder::new(message.as_slice()).read_to_string(&mut text).unwrap(),
        [b'{', ..] => message.as_slice().read_to_string(&mut text).unwrap(),
        other => panic!("a message of no known form: {other:?}"),
    };
    (serde_json::from_str(&text).unwrap(), message)
}

#[test]
fn each_line_is_a_message_in_every_compression_and_chunks_hold_what_is_too_long_for_a_datagram() {
    for (compression, begin) in [(Compression::Gzip, 0x1f), (Compression::Zlib, 0x78), (Compression::None, b'{')] {
        for datagram in [512, 1420, 8192] {
            let mut receiver = Datagrams::bind();
            let mut sender = destination(&receiver.options(GelfTransport::Udp { compression, datagram }));
            let long = noise(15_000);
            assert_eq!(
                deliver(&mut *sender, &format!("{}{}{}", line(1, "short"), line(2, &long), line(3, "short"))),
                0
            );
            for (number, filling) in [(1, "short"), (2, long.as_str()), (3, "short")] {
                let (message, bytes) = receiver.next();
                assert_eq!(message["_number"], number);
                assert_eq!(message["short_message"], filling);
                assert_eq!(bytes[0], begin);
            }
            assert!(receiver.chunks.is_empty());
            assert_eq!(receiver.longest, usize::from(datagram), "{compression:?}");
        }
    }
}

#[test]
fn a_message_that_no_chunks_can_hold_is_counted_and_the_next_one_goes_out() {
    let mut receiver = Datagrams::bind();
    let transport = GelfTransport::Udp { compression: Compression::None, datagram: 512 };
    let mut sender = destination(&receiver.options(transport));
    let (long, short) = (line(1, &noise(128 * 500)), line(2, "short"));
    let text = format!("{long}{short}");
    let written = wellkept_testkit::until_some(SOON, "a socket", || {
        let written = sender.write(text.as_bytes());
        written.again.is_none().then_some(written)
    });
    assert_eq!(written, Written { bytes: long.len(), failed: 1, why: Some(Loss::TooLarge), again: None });
    assert_eq!(deliver(&mut *sender, &short), 0);
    assert_eq!(receiver.next().0["_number"], 2);
}

#[test]
fn what_a_closed_port_refuses_is_counted_and_the_rest_waits_until_the_receiver_is_back() {
    let mut receiver = Datagrams::bind();
    let options = receiver.options(GelfTransport::UDP);
    let mut sender = destination(&options);
    deliver(&mut *sender, &line(0, "first"));
    receiver.next();
    drop(receiver);
    let waiting = lines(1..50);
    let written = sender.write(waiting.as_bytes());
    assert_eq!((written.failed, written.why), (1, Some(Loss::OutputFailed)));
    assert_eq!(written.bytes, line(1, "hello").len(), "the others are not thrown after it");
    assert!(written.again.is_some());
    let socket = UdpSocket::bind((options.host.as_str(), options.port)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut receiver = Datagrams { socket, chunks: HashMap::new(), longest: 0 };
    assert_eq!(deliver(&mut *sender, &waiting[written.bytes..]), 0);
    for number in 2..50 {
        assert_eq!(receiver.next().0["_number"], number);
    }
}

#[test]
fn a_name_that_is_not_known_yet_holds_nobody() {
    for transport in [GelfTransport::UDP, GelfTransport::Tcp] {
        // Longer than a name can be: nobody is asked for it.
        let host = "receiver".repeat(40);
        let mut sender = destination(&GelfOptions { host, port: 1, transport });
        let began = Instant::now();
        let written = sender.write(line(1, "waits").as_bytes());
        assert_eq!((written.bytes, written.failed), (0, 0));
        assert!(written.again.is_some());
        sender.close(Instant::now());
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

fn tcp(listener: &TcpListener) -> GelfOptions {
    let port = listener.local_addr().unwrap().port();
    GelfOptions { host: "127.0.0.1".into(), port, transport: GelfTransport::Tcp }
}

/// Reads frames on a thread until the connection ends, and returns the numbers of the whole ones.
fn read_frames(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<Vec<usize>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A connection that was reset has no more to read either.
        let _ = stream.read_to_end(&mut bytes);
        let whole = bytes.iter().rposition(|byte| *byte == 0).map_or(0, |end| end + 1);
        let frames = bytes[..whole].split_inclusive(|byte| *byte == 0);
        let number =
            |frame: &[u8]| serde_json::from_slice::<Value>(&frame[..frame.len() - 1]).unwrap()["_number"].as_u64();
        frames.map(|frame| usize::try_from(number(frame).unwrap()).unwrap()).collect()
    })
}

#[test]
fn frames_end_with_a_zero_byte_and_come_in_order() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut sender = destination(&tcp(&listener));
    let reader = read_frames(listener.accept().unwrap().0);
    assert_eq!(deliver(&mut *sender, &lines(0..20_000)), 0);
    sender.close(Instant::now() + SOON);
    drop(sender);
    assert_eq!(reader.join().unwrap(), (0..20_000).collect::<Vec<_>>());
}

#[test]
fn a_receiver_that_closed_its_end_and_came_back_on_its_port_gets_everything_that_came_meanwhile() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let options = tcp(&listener);
    let mut sender = destination(&options);
    let (stream, _) = listener.accept().unwrap();
    let reader = read_frames(stream.try_clone().unwrap());
    deliver(&mut *sender, &lines(0..100));
    // It has read everything before it goes: nothing is in the kernel then.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    until(SOON, "the sender to notice", || sender.write(line(100, "hello").as_bytes()).bytes == 0);
    assert_eq!(reader.join().unwrap(), (0..100).collect::<Vec<_>>());
    drop((stream, listener));
    for _ in 0..3 {
        assert_eq!(sender.write(lines(100..200).as_bytes()).bytes, 0);
    }
    let listener = TcpListener::bind((options.host.as_str(), options.port)).unwrap();
    let accepting = thread::spawn(move || read_frames(listener.accept().unwrap().0).join().unwrap());
    assert_eq!(deliver(&mut *sender, &lines(100..200)), 0);
    sender.close(Instant::now() + SOON);
    drop(sender);
    assert_eq!(accepting.join().unwrap(), (100..200).collect::<Vec<_>>());
}

#[test]
fn a_receiver_that_never_reads_holds_nobody_and_gets_every_line_whole_once_it_does() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut sender = destination(&tcp(&listener));
    let (stream, _) = listener.accept().unwrap();
    let all: String = (0..2000).map(|number| line(number, &"x".repeat(10_000))).collect();
    let mut rest = all.as_bytes();
    // As much at once as the writer hands over.
    let block = all.split_inclusive('\n').take(6).map(str::len).sum();
    until(SOON, "the receiver's buffers to be full", || {
        let began = Instant::now();
        let written = sender.write(&rest[..block]);
        rest = &rest[written.bytes..];
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        written.again == Some(Duration::from_millis(100)) && written.bytes == 0
    });
    assert!(rest.len() > all.len() / 2, "the kernel keeps little of it");
    let began = Instant::now();
    sender.close(Instant::now());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(stream);
}

#[test]
fn a_line_of_which_a_part_went_out_is_continued_and_goes_whole_to_the_next_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut sender = destination(&tcp(&listener));
    let (first, _) = listener.accept().unwrap();
    let all: String = (0..1000).map(|number| line(number, &"x".repeat(10_000))).collect();
    let mut rest = all.as_bytes();
    let fill = |sender: &mut Box<dyn Destination>, rest: &mut &[u8]| {
        until(SOON, "the receiver's buffers to be full", || {
            let written = sender.write(rest);
            *rest = &rest[written.bytes..];
            written.again.is_some() && written.bytes == 0
        });
    };
    fill(&mut sender, &mut rest);
    // It reads on: the line goes on where it was cut.
    let mut some = vec![0; 100_003];
    (&first).read_exact(&mut some).unwrap();
    fill(&mut sender, &mut rest);
    let mut received = some;
    first.set_nonblocking(true).unwrap();
    let _ = (&first).read_to_end(&mut received);
    assert!(!received.ends_with(&[0]), "a line was cut in the middle");
    for frame in received.split_inclusive(|byte| *byte == 0).filter(|frame| frame.ends_with(&[0])) {
        serde_json::from_slice::<Value>(&frame[..frame.len() - 1]).unwrap();
    }
    drop(first);
    let next = all.lines().count() - std::str::from_utf8(rest).unwrap().lines().count();
    let accepting = thread::spawn(move || read_frames(listener.accept().unwrap().0).join().unwrap());
    deliver(&mut *sender, std::str::from_utf8(rest).unwrap());
    sender.close(Instant::now() + SOON);
    drop(sender);
    assert_eq!(accepting.join().unwrap(), (next..1000).collect::<Vec<_>>());
}

#[test]
fn urls_of_receivers_are_read_and_shown() {
    for (url, shown) in [
        ("udp://graylog:12201", "udp://graylog:12201"),
        ("tcp://10.0.0.7", "tcp://10.0.0.7:12201"),
        ("udp://[::1]:9/", "udp://[::1]:9"),
        ("udp://[::1]", "udp://[::1]:12201"),
    ] {
        assert_eq!(url.parse::<GelfOptions>().unwrap().to_string(), shown);
    }
    let refused = |url: &str| url.parse::<GelfOptions>().unwrap_err().to_string();
    for url in ["graylog", "http://graylog", "udp://", "udp://host:0", "udp://host:70000", "udp://::1:9", "udp://host:"]
    {
        assert!(refused(url).starts_with("expected a URL such as udp://graylog:12201"), "{url}");
    }
    assert!(refused("tls://graylog").ends_with(": TLS is not a part of it"));
    assert!(refused("udp://graylog:1/path").ends_with(": nothing but a host and a port"));
    assert!(refused("udp://me@graylog:1").ends_with(": nothing but a host and a port"));
}
