//! The example as a real process, on a file that an operator changes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use wellkept_testkit::{Program, Signal, free_address, http, until};

const PATIENCE: Duration = Duration::from_secs(20);
const PDF: &[u8] = b"%PDF-1.7 /Type /Page /Type /Page";
const JSON: (&str, &str) = ("content-type", "application/json");

/// Tells those who go on until then that it is over.
struct Stopping<'s>(&'s AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The example, and the folder with its file.
struct Ingestion {
    program: Program,
    folder: tempfile::TempDir,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Ingestion {
    fn start(text: &str) -> Self {
        let (folder, listen, admin) = (tempfile::tempdir().unwrap(), free_address(), free_address());
        std::fs::write(folder.path().join("ingestion.yaml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingestion"));
        command.env("INGESTION_CONFIG", folder.path().join("ingestion.yaml"));
        command.env("INGESTION_LISTEN", listen.to_string()).env("INGESTION_ADMIN", admin.to_string());
        let program = Program::spawn(&mut command);
        until(PATIENCE, "the service to answer", || std::net::TcpStream::connect(listen).is_ok());
        Self { program, folder, listen, admin }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ingestion.yaml")
    }

    /// As editors and orchestrators do it.
    fn write(&self, text: &str) {
        let beside = self.folder.path().join("ingestion.yaml~");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.file()).unwrap();
    }

    fn post(&self, path: &str, document: &[u8]) -> (u16, Value) {
        let answer = http::request(self.listen, "POST", path, &[], document).unwrap();
        (answer.status, serde_json::from_str(&answer.text()).unwrap())
    }

    fn act(&self, path: &str, body: &str) -> (u16, Value) {
        let answer = http::request(self.admin, "POST", path, &[JSON], body.as_bytes()).unwrap();
        (answer.status, serde_json::from_str(&answer.text()).unwrap())
    }

    fn reload(&self) -> (u16, Value) {
        self.act("/api/v1/config/reload", "")
    }

    fn shown(&self, path: &str) -> Value {
        serde_json::from_str(&http::get(self.admin, path).text()).unwrap()
    }

    fn version(&self) -> u64 {
        self.shown("/api/v1/config")["version"].as_u64().unwrap()
    }
}

#[test]
fn a_section_of_the_applications_own_reloads_refuses_and_rolls_back_while_it_serves() {
    let ingestion = Ingestion::start("adapters: { pdf: { max_pages: 500 } }");
    let (failed, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let answer = http::request(ingestion.listen, "POST", "/tenant-a/pdf", &[], b"%PDF-1.7 /Type /Page");
                failed.fetch_add(usize::from(!answer.is_ok_and(|answer| answer.status == 200)), Ordering::Relaxed);
            }
        });
        // However it ends: the scope waits for the others.
        let _stopping = Stopping(&stop);
        changes(&ingestion);
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0, "{}", ingestion.program.output());
    let mut program = ingestion.program;
    program.signal(Signal::TERM);
    assert_eq!(program.wait(PATIENCE).code(), Some(0), "{}", program.output());
}

fn changes(ingestion: &Ingestion) {
    let document = || ingestion.post("/tenant-a/pdf", PDF);
    assert_eq!((document().0, ingestion.version()), (200, 1));
    assert_eq!(ingestion.post("/tenant-a/csv", b"1,2").0, 404, "it is off");

    // Applied by itself: the file is watched.
    ingestion.write("adapters: { pdf: { max_pages: 1 }, csv: { delimiter: semicolon } }");
    until(PATIENCE, "the file's change to be applied", || ingestion.post("/tenant-a/csv", b"a;b\n1;2").0 == 200);
    let (status, answer) = document();
    assert_eq!((status, answer["error"].as_str().unwrap()), (422, "2 pages, at most 1"));
    assert_eq!(ingestion.version(), 2);

    // Refused, each mistake with its line; what ran runs on.
    ingestion.write("adapters:\n  pdf: { max_pages: none }\n  cvs: {}\nflags: { summaries: 120% }\n");
    let (status, answer) = ingestion.reload();
    let message = answer["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!((status, answer["error"]["code"].as_str().unwrap()), (422, "config.rejected"));
    let lines: Vec<_> = message.lines().filter_map(|line| line.split_once("ingestion.yaml:")).collect();
    let lines: Vec<_> = lines.iter().map(|(_, line)| line.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["2", "3", "4"], "{message}");
    assert!(message.contains("did you mean `csv`?"), "{message}");
    assert_eq!(ingestion.post("/tenant-a/csv", b"a;b\n1;2").0, 200);

    // Refused by the one that needs it, and all of it: the PDF's limit is not taken either.
    let nobody = free_address();
    ingestion.write(&format!("adapters: {{ pdf: {{ max_pages: 9 }}, rest: {{ address: \"{nobody}\" }} }}"));
    let (status, answer) = ingestion.reload();
    assert_eq!((status, answer["error"]["code"].as_str().unwrap()), (409, "config.refused"), "{answer}");
    assert_eq!((document().0, ingestion.post("/tenant-a/csv", b"a;b\n1;2").0), (422, 200));

    // There is a server now: a later attempt with the same text is applied.
    let server = TcpListener::bind(nobody).unwrap();
    let (status, answer) = ingestion.reload();
    assert_eq!((status, answer["outcome"].as_str()), (200, Some("applied")), "{answer}");
    assert!(server.accept().is_ok(), "the source connected");
    assert_eq!((document().0, ingestion.version()), (200, 5));

    // Back to the first: what the file says now is refused until it changes.
    let (status, answer) = ingestion.act("/api/v1/config/rollback", r#"{"to":1,"author":"ann"}"#);
    assert_eq!((status, answer["outcome"].as_str()), (200, Some("rolled_back")), "{answer}");
    assert_eq!((document().0, ingestion.post("/tenant-a/csv", b"1,2").0), (200, 404));
    let (status, answer) = ingestion.reload();
    assert_eq!((status, answer["error"]["code"].as_str()), (409, Some("config.pinned")), "{answer}");
    let page = http::get(ingestion.listen, "/metrics").text();
    for line in ["wellkept_config_pinned 1.0", "wellkept_config_reloads_total{outcome=\"rolled_back\"} 1"] {
        assert!(page.contains(line), "{line} is missing: {page}");
    }
    let newest = &ingestion.shown("/api/v1/config/versions")["versions"][0];
    let author = newest["author"].as_str().unwrap();
    assert!(author.starts_with("ann (loopback from 127.0.0.1:") && newest["returned_to"] == 1, "{newest}");
}

#[test]
fn a_rollout_grows_by_reload_and_keeps_whom_it_has() {
    let csv = |flags: &str| format!("adapters: {{ csv: {{}} }}\nflags: {{ {flags} }}");
    let mut ingestion = Ingestion::start(&csv("summaries: 10%, tables: { variants: { cells: 50% } }"));
    // A signal has the file read again, and ends nobody: nothing differs yet.
    ingestion.program.signal(Signal::HUP);
    let unchanged =
        || http::get(ingestion.listen, "/metrics").text().contains("reloads_total{outcome=\"unchanged\"} 1");
    until(PATIENCE, "the signal's reload", unchanged);
    let tenants = || -> Vec<_> {
        let has = |tenant: &usize| ingestion.post(&format!("/tenant-{tenant}/csv"), b"1,2").1["summary"] == true;
        (0..100).filter(has).collect()
    };
    let few = tenants();
    ingestion.write(&csv("summaries: 60%, tables: cells"));
    let (_, answer) = ingestion.reload();
    assert!(matches!(answer["outcome"].as_str(), Some("applied" | "unchanged")), "{answer}");
    let many = tenants();
    assert!(!few.is_empty() && few.len() < many.len() && few.iter().all(|tenant| many.contains(tenant)));
    assert_eq!(ingestion.post("/tenant-x/csv", b"1,2").1["tables"], "cells");
    let flags = &ingestion.shown("/health/detailed")["flags"];
    assert_eq!(flags["summaries"]["variants"]["true"]["ratio"], 0.6);
    let page = http::get(ingestion.listen, "/metrics").text();
    let counted = page.lines().find_map(|line| {
        line.strip_prefix("wellkept_feature_flag_evaluations_total{flag=\"summaries\",variant=\"true\"} ")
    });
    // Those of both rounds, and perhaps the one whose table was looked at.
    let asked = few.len() + many.len();
    assert!(counted.is_some_and(|counted| [asked, asked + 1].iter().any(|count| counted == format!("{count}.0"))));
}

#[test]
fn the_file_beside_the_example_is_one_that_it_starts_with() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("ingestion.yaml");
    let ingestion = Ingestion::start(&std::fs::read_to_string(file).unwrap());
    assert_eq!(ingestion.post("/tenant-a/csv", b"id,name\n1,Ann").1["rows"], 1);
    assert_eq!(ingestion.post("/tenant-a/csv", b"1,2").1["tables"], "cells", "the tenant has an entry");
    let shown = ingestion.shown("/api/v1/config")["values"].to_string();
    assert!(shown.contains("limits.document") && shown.contains("10MiB"), "{shown}");
}
