//! How the program ends.

use std::time::{Duration, Instant};

use wellkept_testkit::{Signal, http, until};

use crate::served::{PATIENCE, Served};

const DELAYED: &str = "
checks: []
shutdown: { delay: 20s, deadline: 60s }
";

#[test]
fn sigterm_and_sigint_end_it_cleanly_and_soon() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut served = Served::with("checks: []\n");
        let began = Instant::now();
        served.program.signal(signal);
        assert_eq!(served.program.wait(PATIENCE).code(), Some(0));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?} with nothing to wait for", began.elapsed());
    }
}

#[test]
fn at_sigterm_readiness_fails_at_once_while_liveness_stays() {
    let mut served = Served::with(DELAYED);
    served.until_ready(true);
    served.program.signal(Signal::TERM);
    served.wait_for(|line| line["phase"] == "delaying");
    let ready = served.get("/health/ready");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["reason"], "draining");
    assert_eq!(served.get("/health/live").status, 200);
    assert_eq!(served.get("/livez").status, 200);
    assert!(served.get("/metrics").text().contains("wellkept_shutdown_phase{phase=\"delaying\"} 1"));
    assert_eq!(served.get("/api/v1/shutdown").json()["phase"], "delaying");
}

#[test]
fn a_second_signal_forces_it_with_its_own_exit_code() {
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut served = Served::with(DELAYED);
        served.program.signal(Signal::TERM);
        served.wait_for(|line| line["phase"] == "delaying");
        // One that comes at once is taken for an echo of the first: repeat it as someone impatient does.
        let began = Instant::now();
        until(PATIENCE, "the second signal to be heard", || {
            served.program.signal(second);
            served.program.output().contains("a further signal forces")
        });
        assert_eq!(served.program.wait(PATIENCE).code(), Some(code));
        assert!(began.elapsed() < Duration::from_secs(10), "forced, and still {:?}", began.elapsed());
    }
}

#[test]
fn a_client_that_sends_nothing_does_not_hold_it() {
    let mut served = Served::with("checks: []\n");
    let _silent: Vec<_> = (0..20).map(|_| http::Connection::open(served.http).unwrap()).collect();
    let mut half = http::Connection::open(served.http).unwrap();
    half.write_raw(b"GET /health HTTP/1.1\r\nHost: ").unwrap();
    served.until_ready(true);
    let began = Instant::now();
    assert_eq!(served.stop(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}
