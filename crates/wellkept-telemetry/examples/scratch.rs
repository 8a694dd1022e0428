//! Scratch.
use std::time::{Duration, Instant};
use wellkept_telemetry::logging::*;
struct Null;
impl std::io::Write for Null {
    fn write(&mut self, b: &[u8]) -> std::io::Result<usize> {
        Ok(b.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
fn events(n: u32, flush: impl Fn()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..30 {
        let t = Instant::now();
        for i in 0..n {
            tracing::info!(
                a = i,
                b = "two words",
                c = 3.5,
                d = true,
                user = "alice@example",
                path = "/orders/17",
                method = "GET",
                status = 200_u64,
                took = 12_i64,
                agent = "curl/8.1",
                "request done"
            );
        }
        best = best.min(t.elapsed().as_nanos() as f64 / f64::from(n));
        flush();
    }
    best
}
fn main() {
    let (s, l) = subscriber(Options { output: Output::Writer(Box::new(Null)), ..Options::default() }).unwrap();
    tracing::subscriber::with_default(s, || {
        eprintln!(
            "ours {:.0} ns",
            events(4000, || {
                l.flush(Duration::from_secs(5));
            })
        )
    });
    eprintln!("{:?}", l.stats());
    let s = tracing_subscriber::fmt().json().with_writer(|| Null).finish();
    tracing::subscriber::with_default(s, || eprintln!("fmt json {:.0} ns", events(4000, || {})));
}
