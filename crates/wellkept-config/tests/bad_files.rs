//! Every file in `tests/bad`, and what is made here because it is too large to keep, gives a clear error: none a panic,
//! none takes long or much memory. `tests/bad/expected` says for each which error comes first.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use url::Url;
use wellkept_config::{ByteSize, FromNode, LoadError, MAX_FILE_BYTES, Ratio, Section, Sources, one_of};

/// Set in the process that reads them all, whose memory is looked at.
const CHILD: &str = "WELLKEPT_BAD_FILES";

/// What one file may take, on the processor, in a build that is not optimized and counts every overflow.
const MOST_TIME: Duration = Duration::from_secs(1);

/// What the whole process may take for all of them, the program's own text among it.
const MOST_MEMORY_KIB: u64 = 64 << 10;

#[test]
fn each_bad_file_gives_a_clear_error_in_little_time_and_memory() {
    if env::var_os(CHILD).is_some() {
        return read_all();
    }
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "each_bad_file_gives_a_clear_error_in_little_time_and_memory", "--nocapture"])
        .env(CHILD, "1")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("started");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let found: String =
        said.lines().filter_map(|line| line.strip_prefix("bad: ")).flat_map(|line| [line, "\n"]).collect();
    let expected = fs::read_to_string(bad().join("expected")).expect("the table");
    let differ = |of: &str, other: &str| {
        let more = of.lines().filter(|line| !other.lines().any(|known| known == *line));
        more.take(20).collect::<Vec<_>>().join("\n")
    };
    assert!(
        found == expected,
        "not expected:\n{}\nnot found:\n{}\nthe whole table is in {}",
        differ(&found, &expected),
        differ(&expected, &found),
        keep(&found).display()
    );
    assert!(found.lines().count() >= 300, "the corpus is to be large");
}

/// Only a whole file is a configuration: its last key is one that it needs.
#[test]
fn a_file_that_is_cut_off_anywhere_is_refused() {
    let whole = "# Written by hand.\nservice: { name: \"orders\\n\", tags: [a, 'b'] }\nhttp:\n  listen: 127.0.0.1:8080\n  \
                 timeout: 10s\nadapters:\n- name: &n pdf\n  kind: pdf\n  url: \"https://a/${SET}\"\n  headers:\n    \
                 note: |\n      größer\n- { name: word, kind: word, password: hunter2 }\nlimits:\n  ratio: 1.5\n  \
                 requests: 100\n";
    let whole = whole.replace(", tags: [a, 'b']", "");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let outcome = |bytes: &[u8]| {
        fs::write(file.path(), bytes).expect("written");
        read(&Sources::new().file(file.path()))
    };
    assert_eq!(outcome(whole.as_bytes()), Ok(()));
    // A cut number is a number: what is behind it is not noticed.
    let last = whole.len() - "00\n".len();
    for end in 0..last {
        let wrong = outcome(&whole.as_bytes()[..end]).expect_err("it is not whole");
        assert!(!wrong.contains("hunter2"), "after {end} bytes: {wrong}");
    }
}

fn bad() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad")
}

/// Says one line for each, with its name and its first error.
fn read_all() {
    let mut said = String::new();
    let mut files: Vec<PathBuf> = fs::read_dir(bad())
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    for file in &files {
        let name = file.file_stem().expect("a name").to_str().expect("plain letters");
        let wrong =
            timed(name, || read(&Sources::new().file(Path::new("tests/bad").join(file.file_name().expect("a name")))));
        writeln!(said, "bad: {name}: {wrong}").expect("to memory");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, make) in MADE {
        let path = folder.path().join(name);
        make(&mut fs::File::create(&path).expect("created"));
        let wrong = timed(name, || read(&Sources::new().file(&path)));
        let wrong = wrong.replace(&path.display().to_string(), name);
        writeln!(said, "bad: {name}: {wrong}").expect("to memory");
    }
    std::io::stdout().write_all(said.as_bytes()).expect("written");
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the most memory there was");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    assert!(peak < MOST_MEMORY_KIB, "{peak} KiB");
}

/// The error, which comes in time.
fn timed(name: &str, read: impl FnOnce() -> Result<(), String>) -> String {
    let before = on_the_processor();
    let wrong = read();
    let took = on_the_processor().saturating_sub(before);
    assert!(took < MOST_TIME, "{name} took {took:?}");
    let wrong = wrong.expect_err(name);
    assert!(!wrong.contains("hunter2") && !wrong.contains(char::is_control), "{name}: {wrong:?}");
    wrong
}

fn on_the_processor() -> Duration {
    let figures = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(figures.split(' ').next().and_then(|figure| figure.parse().ok()).expect("nanoseconds"))
}

/// Writes a file.
type Make = fn(&mut fs::File);

/// Files that are too large to keep.
const MADE: [(&str, Make); 9] = [
    ("hundred-megabytes-of-nul", |file| file.set_len(100 << 20).expect("sparse")),
    ("hundred-megabytes-of-text", |file| {
        // What is behind is not read, so that it need not be there.
        filled(file, "- { name: orders, kind: pdf }\n", 2 * MAX_FILE_BYTES);
        file.set_len(100 << 20).expect("sparse");
    }),
    ("one-byte-too-many", |file| filled(file, "# ", MAX_FILE_BYTES + 1)),
    ("a-mebibyte-of-brackets", |file| filled(file, "[", MAX_FILE_BYTES)),
    ("a-mebibyte-of-dashes", |file| filled(file, "- ", MAX_FILE_BYTES)),
    ("a-mebibyte-of-unknown-keys", |file| numbered(file, |number| format!("k{number}: 1\n"))),
    ("a-mebibyte-of-variables", |file| {
        file.write_all(b"service: { name: \"").expect("written");
        filled(file, "${LONG}", MAX_FILE_BYTES - 100);
        file.write_all(b"\" }\n").expect("written");
    }),
    ("a-mebibyte-of-items", |file| {
        file.write_all(b"adapters:\n").expect("written");
        numbered(file, |number| format!("- {{ name: a{number}, kind: pdff, workers: -1 }}\n"));
    }),
    ("a-mebibyte-of-quoted-text", |file| {
        file.write_all(b"service: { name: \"").expect("written");
        filled(file, "\\x41", MAX_FILE_BYTES - 100);
    }),
];

fn filled(file: &mut fs::File, with: &str, bytes: usize) {
    let text = with.repeat(bytes / with.len() + 1);
    file.write_all(&text.as_bytes()[..bytes]).expect("written");
}

fn numbered(file: &mut fs::File, line: impl Fn(usize) -> String) {
    let mut text = String::new();
    for number in 0.. {
        let line = line(number);
        if text.len() + line.len() > MAX_FILE_BYTES - 20 {
            break;
        }
        text.push_str(&line);
    }
    file.write_all(text.as_bytes()).expect("written");
}

/// The first error with its place and its code, and how many more there are.
fn read(sources: &Sources) -> Result<(), String> {
    let long = "x".repeat(10_000);
    let sources = sources.clone().variables(move |name| match name {
        "SET" => Some("set".to_owned()),
        "EMPTY" => Some(String::new()),
        "SECRET" => Some("hunter2".to_owned()),
        "STRUCTURE" => Some("\n- a: {b: [".to_owned()),
        "CONTROL" => Some("\u{1b}[31m\n\0".to_owned()),
        "REFERENCE" => Some("${SECRET}".to_owned()),
        "LONG" => Some(long.clone()),
        _ => None,
    });
    let outcome = sources.content().and_then(|content| Ok(sources.document(&content)?.read(settings)?));
    let wrong = match outcome {
        Ok(()) => return Ok(()),
        Err(LoadError::Rejected(wrong)) => wrong,
        Err(error) => return Err(format!("{}: {error}", error.code())),
    };
    // What operators see besides: it must hold no secret and end as well.
    let excerpts = wrong.with_excerpts().to_string();
    assert!(!excerpts.lines().any(|line| line.contains(" | ") && line.contains("hunter2")), "{excerpts}");
    let first = wrong.iter().next().expect("never empty");
    let line = wrong.to_string().lines().next().unwrap_or_default().to_owned();
    let more = if wrong.total() > 1 { format!(" (and {} more)", wrong.total() - 1) } else { String::new() };
    let place = first.position;
    Err(format!(
        "{place} {}: {}{more}",
        first.code,
        line.split_once(&format!(":{place}: ")).map_or("", |(_, words)| words)
    ))
}

/// The settings of a service that takes in documents.
fn settings(root: &mut Section<'_>) -> Option<()> {
    let service = root.section("service", |service| {
        let name = service.required::<String>("name");
        service.complete();
        name
    });
    if !root.has("service") {
        root.report(root.position(), "config.missing_key", "missing key `service`");
    }
    root.section("http", |http| {
        http.optional::<SocketAddr>("listen");
        http.optional::<Duration>("timeout");
        http.optional::<ByteSize>("max_body");
        http.optional::<bool>("show_names");
        http.optional::<Vec<String>>("tags");
        http.optional::<PathBuf>("root");
        http.complete();
        Some(())
    });
    root.list("adapters", |adapter| {
        let (name, kind) = (adapter.required::<String>("name"), adapter.required::<Kind>("kind"));
        adapter.optional::<usize>("workers");
        adapter.optional::<Url>("url");
        adapter.optional::<Duration>("interval");
        adapter.optional::<Ratio>("share");
        for (_, _, value) in adapter.entries("headers").unwrap_or_default() {
            adapter.value::<String>(value);
        }
        adapter.secret("password");
        adapter.complete();
        Some((name?, kind?))
    });
    let limits = root.section("limits", |limits| {
        let requests = limits.required::<u64>("requests");
        limits.optional::<f64>("ratio");
        limits.complete();
        requests
    });
    if !root.has("limits") {
        root.report(root.position(), "config.missing_key", "missing key `limits`");
    }
    root.complete();
    service.and(limits).map(|_| ())
}

#[derive(Clone, Copy)]
struct Kind;

impl FromNode for Kind {
    const EXPECTED: &'static str = "pdf, word, json, csv, excel, rest or html";

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &["pdf", "word", "json", "csv", "excel", "rest", "html"].map(|word| (word, Self)))
    }
}

/// Where the table is left for whoever changes it.
fn keep(table: &str) -> PathBuf {
    let path = env::temp_dir().join("wellkept-bad-files");
    fs::write(&path, table).expect("written");
    path
}
