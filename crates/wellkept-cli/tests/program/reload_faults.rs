//! The configuration changed under load and at bad moments: by swaps of Kubernetes, storms of signals, during the start
//! and the shutdown, and with the process killed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;
use wellkept_testkit::http::Connection;
use wellkept_testkit::{Program, Signal, free_address, until};

use crate::served::{PATIENCE, Served, listening, wellkept};

/// A configuration with a check of this name.
fn with_check(name: &str) -> String {
    format!(
        "
checks:
  - name: stays
    disk: {{ path: /, degraded_below: 0%, unhealthy_below: 0% }}
  - name: {name}
    disk: {{ path: /, degraded_below: 0%, unhealthy_below: 0% }}
"
    )
}

/// Serves `wellkept.yaml` of this folder, and reloads it when it changes.
fn watching(folder: tempfile::TempDir) -> Served {
    let mut command = wellkept(folder.path());
    let command = command.env_remove("WELLKEPT_RELOAD__WATCH").args(["serve", "--listen", "127.0.0.1:0"]);
    let program = Program::spawn(command);
    let http = listening(&program, "probes and metrics");
    Served { program, http, folder }
}

/// Writes a file in one step.
fn replace(folder: &Path, text: &str) {
    fs::write(folder.join("next"), text).unwrap();
    fs::rename(folder.join("next"), folder.join("wellkept.yaml")).unwrap();
}

fn has(served: &Served, name: &str) -> bool {
    served.detailed()["components"].get(name).is_some()
}

/// Probes and requests without a pause, each on a connection of its own that is kept.
struct Load {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(served: &Served) -> Self {
        let (ends, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = |path: &'static str| {
            let (http, ends, answered) = (served.http, Arc::clone(&ends), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut connection = Connection::open(http).unwrap();
                while !ends.load(Ordering::Relaxed) {
                    let answer = connection.get(path).unwrap_or_else(|error| panic!("{path} fails: {error}"));
                    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = ["/livez", "/readyz", "/health", "/health/detailed", "/metrics"].map(thread).into();
        Self { ends, answered, threads }
    }

    /// How many were answered, all of them well.
    fn end(self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no answer fails");
        }
        self.answered.load(Ordering::Relaxed)
    }
}

#[test]
fn a_config_map_that_is_swapped_is_taken_up_by_itself_and_no_probe_fails() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_owned();
    let fill = |number: u32| {
        let stamped = format!("..2026_11_22_18_00_{number:02}");
        fs::create_dir(place.join(&stamped)).unwrap();
        fs::write(place.join(&stamped).join("wellkept.yaml"), with_check(&format!("round-{number}"))).unwrap();
        stamped
    };
    let mut before = fill(0);
    symlink(&before, place.join("..data")).unwrap();
    symlink("..data/wellkept.yaml", place.join("wellkept.yaml")).unwrap();
    let mut served = watching(folder);
    served.until_ready(true);
    let load = Load::on(&served);
    for number in 1..=5 {
        let next = fill(number);
        symlink(&next, place.join("..data_tmp")).unwrap();
        fs::rename(place.join("..data_tmp"), place.join("..data")).unwrap();
        fs::remove_dir_all(place.join(std::mem::replace(&mut before, next))).unwrap();
        until(PATIENCE, "the swap", || has(&served, &format!("round-{number}")));
        assert!(!has(&served, &format!("round-{}", number - 1)));
    }
    assert!(load.end() > 0);
    let told = served.wait_for(|line| line["outcome"] == "applied" && line["target"] == "wellkept::config");
    assert_eq!(told["trigger"], "watch", "{told}");
    let code = served.stop();
    assert_eq!(code, Some(0), "{}", served.program.output());
}

#[test]
fn a_watched_file_that_is_broken_gone_and_repaired_is_told_and_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wellkept.yaml"), with_check("first")).unwrap();
    let served = watching(folder);
    served.until_ready(true);
    let place = served.folder.path();
    fs::write(served.file(), with_check("second").replace("disk", "dsk")).unwrap();
    served.wait_for(|line| line["outcome"] == "rejected");
    assert!(has(&served, "first"));
    fs::remove_file(served.file()).unwrap();
    replace(place, &with_check("third"));
    until(PATIENCE, "the repair", || has(&served, "third"));
    fs::create_dir(place.join("wellkept.d")).unwrap();
    let more = "checks: [{ name: more, disk: { path: /, degraded_below: 0%, unhealthy_below: 0% } }]";
    fs::write(place.join("wellkept.d/10-more.yaml"), more).unwrap();
    until(PATIENCE, "the file of the folder", || has(&served, "more") && has(&served, "third"));
    fs::remove_file(place.join("wellkept.d/10-more.yaml")).unwrap();
    until(PATIENCE, "its end", || !has(&served, "more"));
}

#[test]
fn a_storm_of_a_thousand_signals_fails_no_probe_and_ends_with_what_the_file_says() {
    let mut served = Served::with(&with_check("round-0"));
    served.until_ready(true);
    let load = Load::on(&served);
    for number in 1..=1000 {
        if number % 50 == 0 {
            replace(served.folder.path(), &with_check(&format!("round-{number}")));
        }
        served.program.signal(Signal::HUP);
    }
    until(PATIENCE, "the last one", || has(&served, "round-1000"));
    assert!(load.end() > 0);
    let components = served.detailed()["components"].clone();
    let rounds = components.as_object().unwrap().keys().filter(|name| name.starts_with("round-")).count();
    assert_eq!(rounds, 1, "{components}");
    assert_eq!(served.stop(), Some(0));
}

/// Descriptors, threads and resident memory in KiB.
fn footprint(program: &Program) -> (BTreeSet<String>, usize, u64) {
    let process = Path::new("/proc").join(program.pid().to_string());
    let descriptors = fs::read_dir(process.join("fd")).unwrap().flatten();
    let kinds = descriptors.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?.display().to_string();
        Some(format!("{} {target}", entry.file_name().display()))
    });
    let kinds = kinds.collect();
    let threads = fs::read_dir(process.join("task")).unwrap().count();
    let status = fs::read_to_string(process.join("status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (kinds, threads, resident.trim().trim_end_matches(" kB").parse().unwrap())
}

#[test]
fn a_hundred_reloads_under_load_fail_nothing_and_leave_nothing_behind() {
    // Of twenty checks half are others each time; one reaches out.
    let closed = free_address();
    let text = |round: usize| {
        let check = |number: usize| {
            let name =
                if number.is_multiple_of(2) { format!("check-{number}") } else { format!("check-{number}-{round}") };
            format!("  - name: {name}\n    tcp: {{ address: '{closed}' }}\n    required: false\n    interval: 1h\n")
        };
        let checks: String = (0..20).map(check).collect();
        format!("{}{checks}", with_check(&format!("round-{round}")))
    };
    let mut served = Served::with(&text(0));
    served.until_ready(true);
    let mut reload = |served: &mut Served, round: usize| {
        replace(served.folder.path(), &text(round));
        served.program.signal(Signal::HUP);
        until(PATIENCE, "the round", || has(served, &format!("round-{round}")));
    };
    let under_load =
        |served: &mut Served, rounds: std::ops::Range<usize>, reload: &mut dyn FnMut(&mut Served, usize)| {
            let load = Load::on(served);
            for round in rounds {
                reload(served, round);
            }
            load.end()
        };
    // What is made once, such as pools of threads and the arenas of the allocator.
    under_load(&mut served, 1..30, &mut reload);
    let settled = |served: &Served, fits: &dyn Fn(usize, usize) -> bool| {
        until(PATIENCE, "the load's connections to be gone", || {
            let (descriptors, threads, _) = footprint(&served.program);
            fits(descriptors.len(), threads)
        });
        footprint(&served.program)
    };
    let quiet = footprint(&served.program);
    let (before, threads, resident) = settled(&served, &|descriptors, _| descriptors <= quiet.0.len());
    assert!(under_load(&mut served, 30..130, &mut reload) > 100);
    let most = before.len();
    let (after, threads_after, resident_after) =
        settled(&served, &|descriptors, now| descriptors <= most && now <= threads);
    // Before, some of the load's connections may not have been let go of yet: fewer is no leak.
    assert!(after.len() <= before.len(), "{after:#?}\n{before:#?}");
    assert!(threads_after <= threads, "{threads_after} {threads}");
    assert!(resident_after < resident + (6 << 10), "{resident} KiB before, {resident_after} KiB after");
    let page = served.get("/metrics").text();
    assert!(page.contains("wellkept_config_reloads_total{outcome=\"rejected\"} 0"), "{page}");
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn a_reload_during_the_start_is_taken_up_and_one_during_the_shutdown_is_refused() {
    // Takes connections and never answers: a start that waits for this check's first result is not over.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = format!(
        "shutdown: {{ delay: 2s }}\nchecks:\n  - name: silent\n    http: {{ url: 'http://{}/' }}\n    timeout: 30s\n    interval: 60s\n",
        silent.local_addr().unwrap()
    );
    let mut served = Served::with(&hanging);
    assert_eq!(served.get("/health/startup").status, 503);
    replace(served.folder.path(), &format!("shutdown: {{ delay: 2s }}\n{}", with_check("quick")));
    served.program.signal(Signal::HUP);
    served.until_ready(true);
    assert!(has(&served, "quick") && !has(&served, "silent"));

    served.program.signal(Signal::TERM);
    served.until_ready(false);
    replace(served.folder.path(), &with_check("late"));
    served.program.signal(Signal::HUP);
    let refused = |line: &Value| line["outcome"] == "rejected" && line["code"] == "config.shutting_down";
    served.wait_for(refused);
    assert!(!has(&served, "late"));
    assert_eq!(served.program.wait(PATIENCE).code(), Some(0));
}

#[test]
fn reloads_asked_for_all_at_once_come_to_one_state_and_each_has_an_answer() {
    let served = Served::with(&with_check("round-0"));
    served.until_ready(true);
    replace(served.folder.path(), &with_check("round-1"));
    let http = served.http;
    let ask = || {
        std::thread::spawn(move || {
            let mut connection = Connection::open(http).unwrap();
            connection.send("POST", "/api/v1/config/reload", &[], b"").unwrap();
            let answer = connection.read_response(PATIENCE).unwrap();
            (answer.status, answer.json()["outcome"].as_str().unwrap_or_default().to_owned())
        })
    };
    let asked: Vec<_> = std::iter::repeat_with(ask).take(20).collect();
    let answers: Vec<_> = asked.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    let applied = answers.iter().filter(|(_, outcome)| outcome == "applied").count();
    assert!(applied >= 1 && answers.iter().all(|(_, outcome)| outcome == "applied" || outcome == "unchanged"));
    assert!(has(&served, "round-1"));
    let page = served.get("/metrics").text();
    assert!(page.contains("wellkept_config_reloads_total{outcome=\"applied\"} 1"), "applied once: {page}");
}

#[test]
fn a_program_killed_while_it_reloads_runs_again_with_what_the_file_says_and_with_its_versions() {
    let mut served = Served::with(&with_check("round-0"));
    for round in 1..=6_u64 {
        let name = format!("round-{round}");
        replace(served.folder.path(), &with_check(&name));
        served.program.signal(Signal::HUP);
        // Each round a little later: with the signal, in the reload, behind it.
        for _ in 0..round - 1 {
            served.get("/livez");
        }
        served.program.signal(Signal::KILL);
        served.program.wait(PATIENCE);
        served = Served::again(served.folder);
        until(PATIENCE, "what the file says", || has(&served, &name));
        let kept = served.get("/api/v1/config/versions").json();
        let ids: Vec<u64> = kept["versions"].as_array().unwrap().iter().filter_map(|one| one["id"].as_u64()).collect();
        assert!(ids.first() == kept["running"].as_u64().as_ref() && ids.last() == Some(&1), "{kept}");
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1] + 1), "none is missing: {kept}");
    }
}
