//! What the recorder's thread takes from the books while others look.

use std::sync::atomic::AtomicBool;

use super::*;

/// Notes the minutes that were put aside although they were over.
#[derive(Default)]
struct Watching {
    twice: Arc<AtomicU64>,
    over: Option<i64>,
}

impl HistoryStore for Watching {
    fn append(&mut self, _: &[Record]) -> Result<(), HistoryError> {
        Ok(())
    }

    fn changes(&mut self, _: Option<&str>, _: usize) -> Result<Vec<StatusChange>, HistoryError> {
        Ok(Vec::new())
    }

    fn results(&mut self, _: &str, _: usize) -> Result<Vec<RunResult>, HistoryError> {
        Ok(Vec::new())
    }

    fn keep_time(&mut self, over: &[MinutePart], open: &[MinutePart]) -> Result<(), HistoryError> {
        self.over = over.iter().map(|part| part.minute).max().max(self.over);
        let twice = open.iter().filter(|part| self.over.is_some_and(|over| part.minute <= over)).count();
        self.twice.fetch_add(twice as u64, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_minute_that_ends_while_the_books_are_read_is_not_put_aside_too() {
    const LOOKS: u64 = 100_000;
    let store = Watching::default();
    let (twice, state, ended) = (Arc::clone(&store.twice), Arc::new(State::default()), AtomicBool::new(false));
    let mut writer = Writer::new(Box::new(store), Arc::clone(&state));
    let name: Arc<str> = "db".into();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for look in 1..=LOOKS {
                let passed = Duration::from_secs(look * 4);
                let now = Moment { boot: passed, wall: Timestamp::UNIX_EPOCH + passed };
                let seen = Seen { name: &name, status: Status::Healthy, since: Duration::ZERO, remaining: None };
                state.ledger().look(now, std::iter::once(seen));
            }
            ended.store(true, Ordering::Release);
        });
        while !ended.load(Ordering::Acquire) {
            writer.checkpoint();
        }
    });
    assert_eq!(twice.load(Ordering::Relaxed), 0);
}
