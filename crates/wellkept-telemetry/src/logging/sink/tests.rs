//! A sink over an output that can be stopped, refused and torn; with a spill on a real disk.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::logging::books::Loss;
use crate::logging::encode::{LineKind, Origin};
use crate::logging::levels::Levels;
use crate::logging::spill::SpillOptions;
use crate::logging::{Format, Level};

const SOON: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(50);

/// What the tests and the writer's thread have in common.
#[derive(Clone, Default)]
struct Output(Arc<(Mutex<Taken>, Condvar)>);

#[derive(Default)]
struct Taken {
    lines: Vec<u8>,
    manner: Manner,
    /// Answers before that.
    first: VecDeque<Written>,
    calls: usize,
    closed: bool,
    reopened: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Manner {
    #[default]
    Takes,
    /// Does not return.
    Hangs,
    /// Is away for an hour.
    IsAway,
}

impl Output {
    fn that(manner: Manner) -> Self {
        let output = Self::default();
        output.set(manner);
        output
    }

    fn set(&self, manner: Manner) {
        self.0.0.lock().unwrap().manner = manner;
        self.0.1.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().lines.clone()).unwrap()
    }

    /// The lines that are not about the log itself.
    fn lines(&self) -> Vec<String> {
        self.text().lines().filter(|line| !line.contains("wellkept::")).map(str::to_owned).collect()
    }
}

impl Destination for Output {
    fn write(&mut self, lines: &[u8]) -> Written {
        let mut taken = self.0.0.lock().unwrap();
        taken.calls += 1;
        self.0.1.notify_all();
        let mut taken = self.0.1.wait_while(taken, |taken| taken.manner == Manner::Hangs).unwrap();
        if let Some(written) = taken.first.pop_front() {
            taken.lines.extend_from_slice(&lines[..written.bytes]);
            return written;
        }
        if taken.manner == Manner::IsAway {
            return Written::later(Duration::from_secs(3600));
        }
        taken.lines.extend_from_slice(lines);
        Written::all(lines)
    }

    fn reopen(&mut self) {
        self.0.0.lock().unwrap().reopened += 1;
        self.0.1.notify_all();
    }

    fn close(&mut self, _deadline: Instant) {
        self.0.0.lock().unwrap().closed = true;
    }
}

fn start(output: &Output, important: Important) -> Sink {
    let encoder = Encoder::new(Format::Text, false, &Origin::new(None, None));
    let upkeep = Arc::new(Upkeep::new(Levels::new(Level::Info, &[]).unwrap(), None));
    Sink::start("test", Box::new(output.clone()), encoder, important, upkeep).unwrap()
}

fn log(sink: &Sink, level: Level, text: &str) {
    sink.push(Line { text: format!("{text}\n").as_bytes(), level, kind: LineKind::Ordinary, is_truncated: false });
}

/// Fills the queue to the last line while the output takes nothing.
fn fill(sink: &Sink) -> u64 {
    let mut filled = 0;
    while sink.books().dropped.total() + sink.books().spilled + in_spill(sink) == 0 {
        log(sink, Level::Error, "filling");
        filled += 1;
    }
    filled - 1
}

fn in_spill(sink: &Sink) -> u64 {
    sink.shared.lock().aside.as_ref().map_or(0, |aside| aside.entered)
}

/// Waits for something that the threads do.
fn until(sink: &Sink, holds: impl Fn(&Books) -> bool) {
    let end = Instant::now() + SOON;
    while !holds(&sink.books()) {
        assert!(Instant::now() < end, "{:?}", sink.books());
        thread::yield_now();
    }
}

fn with_spill(folder: &Path) -> Important {
    Important { spill: Some(SpillOptions::new(folder)), ..Important::default() }
}

fn spilled_text(folder: &Path) -> String {
    fs::read_to_string(folder.join("test.1.spill")).unwrap()
}

#[test]
fn an_important_line_waits_for_room_once_and_then_nobody_waits() {
    let output = Output::that(Manner::Hangs);
    let sink = start(&output, Important { wait: SHORT, spill: None });
    let began = Instant::now();
    let filled = fill(&sink);
    assert!(began.elapsed() >= SHORT, "the line that found no room waited");
    let began = Instant::now();
    for _ in 0..1000 {
        log(&sink, Level::Error, "in vain");
    }
    assert!(began.elapsed() < 500 * SHORT, "the others did not: {:?}", began.elapsed());
    let books = sink.books();
    assert_eq!((books.pending, books.dropped.queue_full, books.balance()), (filled, 1001, true));
    output.set(Manner::Takes);
    assert!(sink.close(Instant::now().checked_add(SOON)));
    assert!(sink.books().balance());
}

#[test]
fn a_line_that_waits_gets_the_room_that_comes() {
    let output = Output::that(Manner::Hangs);
    let sink = Arc::new(start(&output, Important { wait: SOON, spill: None }));
    for _ in 0..crate::logging::MAX_QUEUED_LINES {
        log(&sink, Level::Error, "filling");
    }
    let other = Arc::clone(&sink);
    let waiting = thread::spawn(move || log(&other, Level::Critical, "the last word"));
    until(&sink, |books| books.accepted == crate::logging::MAX_QUEUED_LINES as u64 + 1);
    output.set(Manner::Takes);
    waiting.join().unwrap();
    assert!(sink.flush(SOON));
    assert_eq!(sink.books().dropped.total(), 0);
    assert!(output.text().ends_with("the last word\n"));
}

#[test]
fn debug_and_info_never_wait_and_leave_room_for_errors() {
    let output = Output::that(Manner::Hangs);
    let sink = start(&output, Important { wait: SOON, spill: None });
    let began = Instant::now();
    for _ in 0..2 * crate::logging::MAX_QUEUED_LINES {
        log(&sink, Level::Debug, "chatter");
        log(&sink, Level::Info, "ordinary");
    }
    for _ in 0..1000 {
        log(&sink, Level::Error, "severe");
    }
    assert!(began.elapsed() < SOON / 2, "nobody waited");
    output.set(Manner::Takes);
    assert!(sink.flush(SOON));
    assert_eq!(output.text().matches("severe").count(), 1000);
    assert!(sink.books().dropped.queue_full > 0);
}

#[test]
fn important_lines_are_put_aside_and_written_once_the_output_takes_lines_again() {
    let folder = tempfile::tempdir().unwrap();
    let output = Output::that(Manner::Hangs);
    let sink = start(&output, with_spill(folder.path()));
    fill(&sink);
    for number in 0..100 {
        log(&sink, Level::Warning, &format!("put aside {number}"));
        log(&sink, Level::Info, "let go");
    }
    until(&sink, |books| books.spilled == 101);
    assert!(sink.books().balance());
    assert_eq!(spilled_text(folder.path()).matches("put aside").count(), 100);
    let mode = fs::metadata(folder.path().join("test.1.spill")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    output.set(Manner::Takes);
    assert!(sink.flush(SOON));
    let aside: Vec<String> = output.lines().into_iter().filter(|line| line.contains("aside")).collect();
    assert_eq!(aside, (0..100).map(|number| format!("put aside {number}")).collect::<Vec<_>>());
    assert!(sink.close(Instant::now().checked_add(SOON)));
    let books = sink.books();
    assert_eq!((books.pending, books.dropped.queue_full, books.dropped.total()), (0, 100, 100));
    assert_eq!(books.written, output.text().lines().count() as u64);
    assert_eq!(spilled_text(folder.path()).lines().count(), 1, "the file is empty but for its first line");
}

#[test]
fn what_the_output_never_took_is_written_after_the_next_start_each_line_once() {
    let folder = tempfile::tempdir().unwrap();
    let away = Output::that(Manner::IsAway);
    let sink = start(&away, with_spill(folder.path()));
    for number in 0..50 {
        log(&sink, Level::Error, &format!("kept {number}"));
        log(&sink, Level::Info, "let go");
    }
    assert!(!sink.close(Instant::now().checked_add(8 * SHORT)));
    let books = sink.books();
    assert!(books.balance());
    assert_eq!((books.pending, books.spilled, books.dropped.closing, books.written), (50, 50, 50, 0));
    drop(sink);

    let output = Output::default();
    let sink = start(&output, with_spill(folder.path()));
    until(&sink, |books| books.recovered == 50 && books.pending == 0);
    assert!(sink.close(Instant::now().checked_add(SOON)));
    assert_eq!(output.lines(), (0..50).map(|number| format!("kept {number}")).collect::<Vec<_>>());
    assert_eq!((sink.books().accepted, sink.books().written), (51, 51), "with the line that says goodbye");
    drop(sink);

    let output = Output::default();
    let sink = start(&output, with_spill(folder.path()));
    assert!(sink.close(Instant::now().checked_add(SOON)));
    assert_eq!(output.lines(), Vec::<String>::new());
}

#[test]
fn a_line_that_a_killed_process_left_in_part_is_dropped_and_those_before_it_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.1.spill");
    let head = format!("wellkept-log-spill 1 {:020}\n", 42 + "done with\n".len());
    fs::write(&path, format!("{head}done with\nwhole\nhalf a li")).unwrap();
    let output = Output::default();
    let sink = start(&output, with_spill(folder.path()));
    until(&sink, |books| books.recovered == 1 && books.pending == 0);
    assert_eq!(output.lines(), ["whole"]);
    assert!(sink.close(Instant::now().checked_add(SOON)));
}

#[test]
fn a_file_of_somebody_else_is_left_alone_and_the_log_says_that_nothing_can_be_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.1.spill");
    let foreign = "something else that is quite a bit longer than the first line of ours is\n";
    fs::write(&path, foreign).unwrap();
    let output = Output::that(Manner::Hangs);
    let sink = start(&output, with_spill(folder.path()));
    fill(&sink);
    until(&sink, |books| books.dropped.spill_full > 0);
    output.set(Manner::Takes);
    assert!(sink.close(Instant::now().checked_add(SOON)));
    assert!(output.text().contains("lines can't be put aside on the disk"));
    assert!(sink.books().balance());
    assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
}

#[test]
fn two_processes_share_a_folder_and_what_one_left_behind_the_other_writes() {
    let folder = tempfile::tempdir().unwrap();
    let away = Output::that(Manner::IsAway);
    let first = start(&away, with_spill(folder.path()));
    until_made(&folder.path().join("test.1.spill"));
    let second = start(&away, with_spill(folder.path()));
    until_made(&folder.path().join("test.2.spill"));
    log(&first, Level::Error, "of the first");
    log(&second, Level::Error, "of the second");
    for sink in [second, first] {
        assert!(!sink.close(Instant::now().checked_add(8 * SHORT)));
        assert_eq!(sink.books().spilled, 1);
    }

    let output = Output::default();
    let sink = start(&output, with_spill(folder.path()));
    until(&sink, |books| books.recovered == 2 && books.pending == 0);
    assert_eq!(output.lines(), ["of the first", "of the second"]);
    assert!(sink.close(Instant::now().checked_add(SOON)));
    assert!(!folder.path().join("test.2.spill").exists());
}

/// The first line is written once the file is locked.
fn until_made(path: &Path) {
    let end = Instant::now() + SOON;
    while !fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
        assert!(Instant::now() < end, "{} is not there", path.display());
        thread::yield_now();
    }
}

#[test]
fn what_is_put_aside_is_bounded_on_the_disk_and_what_does_not_fit_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let output = Output::that(Manner::Hangs);
    let spill = SpillOptions { max_bytes: 4096, ..SpillOptions::new(folder.path()) };
    let sink = start(&output, Important { spill: Some(spill), ..Important::default() });
    fill(&sink);
    for _ in 0..1000 {
        log(&sink, Level::Error, "put aside");
    }
    until(&sink, |books| books.spilled + books.dropped.spill_full == 1001);
    assert!(fs::metadata(folder.path().join("test.1.spill")).unwrap().len() <= 4096);
    assert!(sink.books().balance());
    output.set(Manner::Takes);
    assert!(sink.flush(SOON));
    assert_eq!(sink.books().pending, 0);
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_and_takes_no_more_memory_than_is_set() {
    // Nobody takes what is put aside: that is what a disk that hangs looks like from here.
    let shared = Arc::new(Shared::new("test", Duration::ZERO, Some(Aside::default())));
    let sink = Sink { shared };
    let began = Instant::now();
    let line = "x".repeat(1000);
    for _ in 0..20_000 {
        log(&sink, Level::Error, &line);
    }
    assert!(began.elapsed() < SOON / 2);
    let books = sink.books();
    assert!(books.balance());
    assert_eq!(books.dropped.spill_full, 20_000 - books.pending);
    assert!(in_spill(&sink) > 1000 && in_spill(&sink) * 1001 <= 1 << 20);
}

#[test]
fn a_flush_and_an_end_do_not_wait_for_an_output_that_is_left_alone_to_be_tried_again() {
    let output = Output::that(Manner::IsAway);
    let sink = start(&output, Important::default());
    log(&sink, Level::Info, "late");
    until_called(&output);
    assert!(!sink.flush(SHORT), "it is still away");
    output.set(Manner::Takes);
    assert!(sink.flush(SOON), "not an hour later");
    assert_eq!(output.lines(), ["late"]);

    output.set(Manner::IsAway);
    let calls = output.0.0.lock().unwrap().calls;
    log(&sink, Level::Info, "at the end");
    until(&sink, |_| output.0.0.lock().unwrap().calls > calls);
    output.set(Manner::Takes);
    assert!(sink.close(Instant::now().checked_add(SOON)));
    assert_eq!(output.lines(), ["late", "at the end"]);
    assert!(output.0.0.lock().unwrap().closed);
}

fn until_called(output: &Output) {
    let taken = output.0.0.lock().unwrap();
    drop(output.0.1.wait_while(taken, |taken| taken.calls == 0).unwrap());
}

#[test]
fn an_end_that_the_output_hangs_through_comes_in_time_and_its_books_still_balance() {
    let output = Output::that(Manner::Hangs);
    let sink = start(&output, Important::default());
    for _ in 0..1000 {
        log(&sink, Level::Info, "line");
    }
    until_called(&output);
    let in_hand = sink.books().pending;
    let began = Instant::now();
    assert!(!sink.close(began.checked_add(8 * SHORT)));
    assert!(began.elapsed() < SOON);
    let books = sink.books();
    assert!(books.balance());
    assert_eq!(books.dropped.closing + books.pending, in_hand);
    log(&sink, Level::Error, "too late");
    assert_eq!(sink.books().dropped.closing, books.dropped.closing + 1);
    output.set(Manner::Takes);
}

#[test]
fn parts_of_lines_and_losses_are_entered_as_the_output_tells_them() {
    let output = Output::default();
    let too_large = Written { bytes: 4, failed: 1, why: Some(Loss::TooLarge), again: None };
    output.0.0.lock().unwrap().first = [
        Written { bytes: 2, again: Some(Duration::ZERO), ..Written::default() },
        Written { bytes: 3, ..Written::default() },
        too_large,
    ]
    .into();
    output.set(Manner::Hangs);
    let sink = start(&output, Important::default());
    for line in ["one", "two", "six"] {
        log(&sink, Level::Info, line);
    }
    output.set(Manner::Takes);
    assert!(sink.flush(SOON));
    let books = sink.books();
    assert!(books.balance());
    assert_eq!(books.dropped.too_large, 1);
    assert_eq!(output.lines(), ["one", "two", "six"]);
}

#[test]
fn a_sink_is_told_to_open_anew_what_it_writes_to() {
    let output = Output::default();
    let sink = start(&output, Important::default());
    sink.reopen();
    let taken = output.0.0.lock().unwrap();
    drop(output.0.1.wait_while(taken, |taken| taken.reopened == 0).unwrap());
    assert!(sink.close(Instant::now().checked_add(SOON)));
}

#[test]
fn the_books_balance_whenever_they_are_read_while_many_threads_log() {
    let sink = Arc::new(start(&Output::default(), Important::default()));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let sink = Arc::clone(&sink);
            thread::spawn(move || (0..20_000).for_each(|_| log(&sink, Level::Debug, "line")))
        })
        .collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        assert!(sink.books().balance());
    }
    assert!(sink.flush(SOON));
    let books = sink.books();
    assert!(books.balance() && books.accepted >= 80_000);
}

/// A program's own output with a defect.
struct Panics;

impl io::Write for Panics {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        // Says nothing on standard error.
        std::panic::resume_unwind(Box::new("on purpose"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_panics_ends_its_sink_and_holds_nobody_and_its_lines_are_counted_as_failed() {
    let folder = tempfile::tempdir().unwrap();
    for important in [Important::default(), with_spill(folder.path())] {
        let encoder = Encoder::new(Format::Text, false, &Origin::new(None, None));
        let upkeep = Arc::new(Upkeep::new(Levels::new(Level::Info, &[]).unwrap(), None));
        let output = Box::new(crate::logging::output::Stream::writer(Box::new(Panics)));
        let sink = Sink::start("test", output, encoder, important, upkeep).unwrap();
        for _ in 0..100 {
            log(&sink, Level::Info, "lost");
        }
        let began = Instant::now();
        sink.flush(SOON);
        log(&sink, Level::Info, "too late");
        assert!(!sink.close(began.checked_add(SOON)), "not everything was written");
        assert!(began.elapsed() < SOON / 2, "{:?}", began.elapsed());
        let books = sink.books();
        assert!(books.balance());
        assert_eq!((books.accepted, books.dropped.output_failed, books.pending), (101, 101, 0));
    }
}
