//! What must not bring the answers down: floods of half connections, a process stopped as a whole, a hostile name.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wellkept_testkit::{Signal, http, until};

use crate::served::{PATIENCE, Served};

/// What Kubernetes gives a probe ("Configure Probes").
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

#[test]
fn ten_thousand_half_open_connections_fail_no_probe() {
    let count = 10_000;
    raise_descriptors(count);
    let served = Served::with("checks: []");
    served.until_ready(true);
    let mut half_open = Vec::with_capacity(count);
    let (mut asked, mut late) = (0, 0);
    for number in 0..count {
        let mut connection = TcpStream::connect(served.http).unwrap();
        // The server may have closed it already: there are others before it in its own queue.
        connection.write_all(b"GET /livez HTTP/1.1\r\nHost: a").ok();
        half_open.push(connection);
        if number % 500 == 499 {
            let began = Instant::now();
            let path = if asked % 2 == 0 { "/livez" } else { "/readyz" };
            let answer = http::request(served.http, "GET", path, &[], b"");
            let answer = answer.unwrap_or_else(|error| panic!("{path} with {} half-open: {error}", half_open.len()));
            assert_eq!(answer.status, 200, "{path} with {} half-open", half_open.len());
            late += usize::from(began.elapsed() >= PROBE_TIMEOUT);
            asked += 1;
        }
    }
    assert_eq!(asked, count / 500);
    assert!(late <= 1, "{late} of {asked} probes came late; one may, as machines pause");
    let page = served.get("/metrics").text();
    let evicted = page.lines().find_map(|line| line.strip_prefix("wellkept_server_evicted_total{door=\"http\"} "));
    let evicted: f64 = evicted.unwrap().parse().unwrap();
    assert!(evicted + 2000.0 > count as f64, "only {evicted} of {count} made room");
}

/// Lets this process open that many connections and some files more.
fn raise_descriptors(connections: usize) {
    let (limit, wanted) = (getrlimit(Resource::Nofile), connections as u64 + 500);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    raised.unwrap_or_else(|error| panic!("this test needs `ulimit -Hn` of {wanted} at least: {error}"));
}

#[test]
fn after_a_stop_of_the_whole_process_what_is_past_its_age_is_stale_and_the_rest_holds() {
    const MAX_AGE: Duration = Duration::from_millis(1500);
    // Longer than what the engine takes for a stop.
    const STOP: Duration = Duration::from_secs(6);
    let peer = Peer::start();
    let configuration = format!(
        "
checks:
  - name: payments-api
    http: {{ url: 'http://127.0.0.1:{}/' }}
    interval: 200ms
    timeout: 5s
    max_age: {}ms
  - name: billing-api
    http: {{ url: 'http://127.0.0.1:{0}/' }}
    interval: 200ms
    timeout: 5s
    max_age: 1h
  - name: data-disk
    disk: {{ path: /, degraded_below: 0%, unhealthy_below: 0% }}
    interval: 1h
",
        peer.port,
        MAX_AGE.as_millis()
    );
    let mut served = Served::with(&configuration);
    served.until_ready(true);

    // From here on the peer takes requests and answers none: a run after the pause can't make it healthy again.
    peer.silent.store(true, Ordering::Release);
    let before = served.until_status("data-disk", "healthy")["timestamp"].clone();
    served.program.signal(Signal::STOP);
    // pace: the process sleeps; its results grow old meanwhile.
    std::thread::sleep(STOP);
    served.program.signal(Signal::CONT);
    let first = served.get("/health/ready");
    assert_eq!(first.status, 503, "{}", first.text());
    assert_eq!(first.json()["dependencies"]["payments-api"], "unknown");
    assert_eq!(first.json()["dependencies"]["billing-api"], "healthy", "its result may be an hour old");
    assert_eq!(served.component("payments-api")["reason"], "stale");
    assert_eq!(served.get("/livez").status, 200, "a process that was stopped is not a stalled one");
    until(PATIENCE, "a new result of what runs once an hour", || served.component("data-disk")["timestamp"] != before);

    peer.silent.store(false, Ordering::Release);
    served.until_ready(true);
}

#[test]
fn a_name_with_every_kind_of_quote_comes_out_whole_everywhere() {
    let name = r#"orders "db" 'main' <b>&\ {x}`"#;
    let quoted = serde_json::to_string(name).unwrap();
    let configuration = format!(
        "checks: [{{ name: {quoted}, disk: {{ path: /, degraded_below: 0%, unhealthy_below: 0% }}, groups: [ready] }}]"
    );
    let served = Served::with(&configuration);
    served.until_ready(true);
    assert_eq!(served.component(name)["status"], "healthy");
    assert_eq!(served.get("/health/ready").json()["dependencies"][name], "healthy");
    let label = name.replace('\\', r"\\").replace('"', "\\\"");
    let metrics = served.get("/metrics").text();
    assert!(metrics.contains(&format!("component=\"{label}\"")), "{metrics}");
    let page = served.get("/").text();
    assert!(page.contains("orders &quot;db&quot; 'main' &lt;b&gt;&amp;\\ {x}`"), "{page}");
    assert!(!page.contains("<b>&"), "{page}");
}

/// An HTTP server that can fall silent: it then reads requests and answers none.
struct Peer {
    port: u16,
    silent: Arc<AtomicBool>,
}

impl Peer {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = Arc::new(AtomicBool::new(false));
        let hushed = Arc::clone(&silent);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let hushed = Arc::clone(&hushed);
                std::thread::spawn(move || answer(connection, &hushed));
            }
        });
        Self { port, silent }
    }
}

fn answer(mut connection: TcpStream, silent: &AtomicBool) {
    let mut head = [0; 1024];
    while connection.read(&mut head).is_ok_and(|read| read > 0) {
        until(PATIENCE, "the peer to speak again", || !silent.load(Ordering::Acquire));
        if connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}
