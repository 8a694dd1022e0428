//! The log as a receiver of GELF that others wrote understands it, and the books beside what it has got.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use wellkept_telemetry::logging::{Compression, GelfOptions, GelfTransport, Logging, Options, SinkOptions, subscriber};
use wellkept_testkit::{Graygelf, until};

const SOON: Duration = Duration::from_secs(20);

fn options(address: SocketAddr, transport: GelfTransport) -> Options {
    let receiver = GelfOptions { host: address.ip().to_string(), port: address.port(), transport };
    Options { host: Some("machine-7".into()), ..Options::to(SinkOptions::gelf(receiver)) }
}

fn logged(options: Options, work: impl FnOnce(&Logging)) -> Logging {
    let (subscriber, logging) = subscriber(options).expect("the log starts");
    tracing::subscriber::with_default(subscriber, || work(&logging));
    logging
}

/// What it has got, without what a log says of itself when it is closed.
fn hellos(receiver: &Graygelf) -> Vec<String> {
    receiver.messages().into_iter().filter(|message| message.contains("\"hello\"")).collect()
}

#[test]
fn a_receiver_that_others_wrote_gets_every_line_plain_compressed_and_in_chunks() {
    let receiver = Graygelf::start();
    let mut expected = BTreeSet::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zlib] {
        let transport = GelfTransport::Udp { compression, datagram: 512 };
        let form = format!("{compression:?}");
        // As many datagrams as fit into the receiver's buffer, however long it takes to read them.
        let logging = logged(options(receiver.address(), transport), |logging| {
            for number in 0..60 {
                let filling: String = (0..number * 50).map(|_| fastrand::alphanumeric()).collect();
                tracing::warn!(form, number, filling, "hello");
                assert!(logging.flush(SOON));
                expected.insert((form.clone(), number));
                until(SOON, "the message to come", || hellos(&receiver).len() == expected.len());
            }
        });
        let books = logging.stats();
        assert_eq!((books.written, books.dropped.total(), books.pending), (60, 0, 0));
    }
    let mut seen = BTreeSet::new();
    for message in hellos(&receiver) {
        let message: Value = serde_json::from_str(&message).unwrap();
        assert_eq!(message["version"], "1.1");
        assert_eq!(message["host"], "machine-7");
        assert_eq!(message["short_message"], "hello");
        assert_eq!(message["level"], 4);
        assert!(message["timestamp"].as_f64().is_some_and(|time| time > 1.7e9), "{message}");
        let number = message["_number"].as_u64().unwrap();
        assert_eq!(message["_filling"].as_str().unwrap().len() as u64, number * 50);
        seen.insert((message["_form"].as_str().unwrap().to_owned(), number));
    }
    assert_eq!(seen, expected);
}

#[test]
fn a_receiver_that_never_reads_delays_no_line_and_no_end_and_the_books_balance() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let logging = logged(options(listener.local_addr().unwrap(), GelfTransport::Tcp), |_| {
        let began = std::time::Instant::now();
        for number in 0..20_000 {
            tracing::info!(number, filling = "x".repeat(1000), "nobody reads this");
        }
        assert!(began.elapsed() < SOON / 2, "{:?}", began.elapsed());
    });
    let began = std::time::Instant::now();
    assert!(!logging.close(Duration::from_millis(200)));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let books = logging.stats();
    assert!(books.balance(), "{books:?}");
    assert!(books.dropped.queue_full > 0 && books.written < 20_000, "{books:?}");
}

#[test]
fn a_receiver_that_dies_in_the_middle_of_a_burst_loses_what_it_had_and_nothing_twice() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let logging = logged(options(address, GelfTransport::Tcp), |logging| {
        let receiver = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            drop(listener);
            let mut bytes = vec![0; 50_000];
            stream.read_exact(&mut bytes).unwrap();
            // What has come since is lost with it: the answer to it is a reset.
            drop(stream);
            let listener = TcpListener::bind(address).unwrap();
            let (mut again, _) = listener.accept().unwrap();
            let mut rest = Vec::new();
            again.read_to_end(&mut rest).unwrap();
            let whole = bytes.iter().rposition(|byte| *byte == 0).unwrap();
            bytes.truncate(whole + 1);
            [numbers(&bytes), numbers(&rest)]
        });
        for number in 0..5000 {
            tracing::warn!(number, "in a burst");
            if number % 1000 == 0 {
                assert!(logging.flush(SOON));
            }
        }
        assert!(logging.close(SOON));
        let [before, after] = receiver.join().unwrap();
        assert!(before.iter().copied().eq(0..before.len() as u64), "in order, and once");
        assert!(after.windows(2).all(|pair| pair[0] + 1 == pair[1]), "in order, and none missing");
        assert!(before.last() < after.first(), "none twice");
        assert_eq!(after.last(), Some(&4999));
        // What it missed was with the kernels when it died, and counts as written.
        let count = (before.len() + after.len()) as u64;
        assert!(logging.stats().written > count);
    });
    let books = logging.stats();
    assert!(books.balance());
    assert_eq!((books.dropped.total(), books.pending), (0, 0));
}

/// The numbers of the lines, in the order of the frames.
fn numbers(bytes: &[u8]) -> Vec<u64> {
    let frames = bytes.split(|byte| *byte == 0).filter(|frame| !frame.is_empty());
    let messages = frames.map(|frame| serde_json::from_slice::<Value>(frame).expect("each frame is whole"));
    messages.filter_map(|message| message["_number"].as_u64()).collect()
}

#[test]
fn a_receiver_that_restarts_on_its_port_gets_what_the_books_say() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let accept = |listener: TcpListener| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            listener.accept().unwrap().0.take(1 << 30).read_to_end(&mut bytes).unwrap();
            bytes.split(|byte| *byte == 0).filter(|frame| !frame.is_empty()).count() as u64
        })
    };
    let mut received = 0;
    let logging = logged(options(address, GelfTransport::Tcp), |logging| {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        for number in 0..500 {
            tracing::info!(number, "before");
        }
        assert!(logging.flush(SOON));
        // It takes what it was sent, and goes.
        let mut bytes = vec![0; 64 << 10];
        while received < 500 {
            let count = stream.read(&mut bytes).unwrap();
            received += bytes[..count].iter().map(|byte| u64::from(*byte == 0)).sum::<u64>();
        }
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        drop(stream);
        for number in 0..500 {
            tracing::info!(number, "meanwhile");
        }
        let listener = TcpListener::bind(address).unwrap();
        let reader = accept(listener);
        assert!(logging.flush(SOON));
        assert!(logging.close(SOON));
        received += reader.join().unwrap();
    });
    let books = logging.stats();
    assert!(books.balance());
    assert_eq!((books.written, books.dropped.total(), books.pending), (received, 0, 0));
    assert!(received >= 1000, "{received}");
}
