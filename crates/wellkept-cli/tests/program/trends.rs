//! Trends: kept across a kill, within the bytes that were stated, and as long as was asked for.

use std::time::{Duration, Instant};

use serde_json::Value;
use wellkept_testkit::{Authority, Nginx, Signal, until, until_some};

use crate::served::{PATIENCE, Served, run, text};

const FILE: &str = "
store: { url: 'sqlite:history.db' }
history: { retention: 7d }
checks:
  - name: scratch
    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }
    interval: 100ms
";

fn trend(served: &Served) -> Value {
    served.get("/api/v1/components/scratch/trend").json()
}

fn seconds(trend: &Value, span: &str, what: &str) -> f64 {
    trend["windows"][span]["seconds"][what].as_f64().unwrap()
}

#[test]
fn a_killed_process_loses_a_few_seconds_and_the_time_until_the_next_is_a_gap() {
    let mut served = Served::with(FILE);
    let before = until_some(4 * PATIENCE, "twelve seconds of history", || {
        let trend = trend(&served);
        (seconds(&trend, "1h", "healthy") >= 12.0).then_some(trend)
    });
    served.program.signal(Signal::KILL);
    served.program.wait(PATIENCE);
    let killed = Instant::now();
    until(PATIENCE, "three seconds to go by without a process", || killed.elapsed() > Duration::from_secs(3));

    let again = Served::again(served.folder);
    again.until_status("scratch", "healthy");
    let after = until_some(PATIENCE, "a look at the second process", || {
        let trend = trend(&again);
        trend["forecast"].is_object().then_some(trend)
    });
    let lived = killed.elapsed().as_secs_f64() - 3.0;
    for span in ["1h", "24h", "7d", "30d"] {
        let kept = seconds(&after, span, "healthy");
        assert!(kept >= seconds(&before, span, "healthy") - 6.0, "{span}: {kept} s of {before}");
        assert!(
            kept <= seconds(&before, span, "healthy") + 2.0 + lived,
            "{span}: {kept} s, the gap is counted: {after}"
        );
        assert_eq!(after["windows"][span]["availability"], 1.0, "a gap is no time down");
        let runs = |trend: &Value| trend["windows"][span]["runs"]["passed"].as_u64().unwrap();
        assert!(runs(&after) * 2 > runs(&before), "{span}");
    }
    assert!(after["windows"]["1h"]["response_time_ms"]["p95"].as_f64().unwrap() > 0.0);
    assert_eq!(after["changes"][0]["to"], "healthy");
    assert_eq!(after["forecast"]["reading"], "free_bytes");
    assert_eq!(after["forecast"]["outlook"], "too_little_known");
}

#[test]
fn the_past_is_told_in_brief_on_the_page_and_by_the_status_command() {
    let served = Served::with(FILE);
    let brief = until_some(PATIENCE, "the first sum", || {
        let trends = served.get("/api/v1/trends").json();
        trends["components"]["scratch"].is_object().then(|| trends["components"]["scratch"].clone())
    });
    assert_eq!((&brief["availability_24h"], &brief["availability_30d"]), (&1.0.into(), &1.0.into()));
    assert!(brief["p95_ms_24h"].as_f64().unwrap() > 0.0);
    let page = served.get("/").text();
    let observed = brief["observed_s_30d"].as_u64().unwrap();
    assert!((1..60).contains(&observed), "{brief}");
    let past = page.split("up 100.00% of 24 h (").nth(1).unwrap_or_else(|| panic!("no past in {page}"));
    assert!(past.contains("s observed), p95 ") && !past.contains("of 30 d"), "the same is not said twice: {past}");
    let output = run(served.folder.path(), &["status", "--server", &format!("http://{}", served.http)]);
    let shown = text(&output.stdout);
    assert!(shown.contains("UP 24H"), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("scratch") && line.contains("100.00% of 00:00:")), "{shown}");
}

#[test]
fn the_start_says_in_how_many_bytes_history_stays() {
    let served = Served::with(FILE);
    let line = served.wait_for(|line| line["most_bytes"].is_u64());
    assert_eq!((line["retention"].as_str(), line["components"].as_u64()), (Some("7d"), Some(3)));
    let checked = run(served.folder.path(), &["config", "check", "wellkept.yaml", "--json"]);
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(checked["history_bytes"], line["most_bytes"]);
}

#[test]
fn a_budget_that_the_checks_do_not_fit_into_and_a_wrong_retention_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let check = |history: &str| {
        std::fs::write(folder.path().join("app.yaml"), FILE.replace("{ retention: 7d }", history)).unwrap();
        let output = run(folder.path(), &["config", "check", "app.yaml"]);
        (output.status.code(), text(&output.stdout))
    };
    assert_eq!(check("{ retention: 7d, budget: 64MiB }").0, Some(0));
    let (code, said) = check("{ retention: 7d, budget: 8MiB }");
    assert_eq!(code, Some(78));
    assert!(said.starts_with("app.yaml:3:35: the history of 3 components takes up to "), "{said}");
    let (code, said) = check("{ retention: 32d, budgett: 1GiB }");
    assert_eq!(code, Some(78));
    assert!(said.contains("app.yaml:3:23: the retention must be from 1h to 31d"), "{said}");
    assert!(said.contains("did you mean `budget`?"), "{said}");
}

#[test]
fn another_retention_waits_for_a_restart() {
    let mut served = Served::with(FILE);
    served.until_status("scratch", "healthy");
    served.reload(&FILE.replace("7d", "6d"), "restart_required");
    served.wait_for(|line| line["keys"] == "history");
}

#[test]
fn when_a_real_certificate_ends_is_in_the_trend_of_its_check() {
    let authority = Authority::new();
    let issued = authority.issue("127.0.0.1", 10);
    let (certificate, key) = (issued.certificate.display(), issued.key.display());
    let directives = format!("ssl_certificate {certificate}; ssl_certificate_key {key}; location / {{ return 200; }}");
    let nginx = Nginx::with("ssl", &directives);
    let served = Served::with(&format!(
        "
checks:
  - name: page
    http:
      url: 'https://{}/'
      ca_file: '{}'
      certificate: {{ degraded_below: 14d }}
",
        nginx.address(),
        authority.ca_file().display()
    ));
    let page = served.until_status("page", "degraded");
    assert_eq!((&page["reason"], &page["message"]), (&"threshold".into(), &"certificate ends in 10 days".into()));
    let trend = served.get("/api/v1/components/page/trend").json();
    assert_eq!(trend["ends_at"], page["metadata"]["not_after"], "{trend}");
    assert!(trend["ends_at"].is_string(), "{trend}");
}
