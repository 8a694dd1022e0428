//! Logging installed for a whole process: a program of its own, because there is only one global subscriber.

use std::fmt;
use std::io::{Result, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::{debug, info, info_span};
use wellkept_telemetry::logging::{Format, Level, LoggingError, Options, SinkOptions, init};

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.lock().expect("nobody panics while writing").write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Logs an event while it is shown.
struct Chatty;

impl fmt::Debug for Chatty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        info!("inside");
        formatter.write_str("chatty")
    }
}

#[test]
fn one_subscriber_serves_all_threads_and_values_that_log_themselves() {
    let memory = Memory::default();
    let logging = init(Options::to(SinkOptions::writer(Format::Json, memory.clone()))).unwrap();
    assert!(matches!(init(Options::default()), Err(LoggingError::AlreadySet)));

    let span = info_span!("work", value = ?Chatty, later = tracing::field::Empty);
    {
        let _entered = span.enter();
        span.record("later", tracing::field::debug(Chatty));
        info!(value = ?Chatty, "outside");
    }
    debug!("not yet");
    logging.set_level(Level::Debug);
    let threads: Vec<_> = (0..8_u32)
        .map(|thread| std::thread::spawn(move || (0..100_u32).for_each(|number| debug!(thread, number, "counted"))))
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }

    assert!(logging.flush(Duration::from_secs(10)));
    let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let with_message = |message: &str| lines.iter().filter(|line| line["message"] == message).count();
    assert_eq!(with_message("inside"), 3);
    assert_eq!(with_message("counted"), 800);
    assert_eq!(with_message("not yet"), 0);
    let outside = lines.iter().find(|line| line["message"] == "outside").unwrap();
    assert_eq!((&outside["value"], &outside["later"]), (&"chatty".into(), &"chatty".into()));
    assert_eq!(logging.stats().written, 804);
    assert_eq!(logging.stats().dropped.total(), 0);
}
