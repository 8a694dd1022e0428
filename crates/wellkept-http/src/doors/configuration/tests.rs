//! Claims about what the doors show of a configuration, and how it is changed by them.

use std::sync::Mutex;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use tower::ServiceExt;
use wellkept_config::{ContentHash, Effect, OutcomeKind, ReloadStats, Running, Shown, StoreFault, Version};
use wellkept_health::{Checker, Settings};
use wellkept_shutdown::Shutdown;
use wellkept_telemetry::metrics::Metrics;

use super::*;
use crate::access::{Access, Loopback};
use crate::doors::Names;
use crate::server::Arrival;

mod live;

const RUNNING: ContentHash = ContentHash([0xab; 32]);

/// A configuration of the test's own, which remembers what it was asked for.
#[derive(Debug)]
struct Told {
    outcome: Outcome,
    views: Views,
    asked: Mutex<Vec<(Option<VersionId>, Request)>>,
}

/// How it answers whoever only looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Views {
    Good,
    Wrong,
    Unreadable,
    Hanging,
}

impl Told {
    fn new(outcome: Outcome) -> Arc<Self> {
        Arc::new(Self { outcome, views: Views::Good, asked: Mutex::default() })
    }

    fn showing(views: Views) -> Arc<Self> {
        Arc::new(Self { outcome: Outcome::Unchanged, views, asked: Mutex::default() })
    }

    fn answer(&self, to: Option<VersionId>, request: Request) -> Answer<'_, Report> {
        self.asked.lock().unwrap().push((to, request));
        let names = |names: &[&str]| Effect::Names(names.iter().map(ToString::to_string).collect());
        let report = Report {
            outcome: self.outcome.clone(),
            version: Some(VersionId(4)),
            hash: RUNNING,
            changes: vec!["~ checks.db.interval: 5s -> 10s".to_owned()],
            effects: vec![
                ("added", names(&["db"])),
                ("added", names(&["cache"])),
                ("kept", Effect::Count(2)),
                ("kept", Effect::Count(1)),
                ("levels", names(&["sqlx"])),
            ],
            took: Duration::from_micros(1_500),
        };
        Box::pin(std::future::ready(report))
    }

    fn view<T: Send + 'static>(&self, good: T) -> Answer<'_, Result<T, ViewError>> {
        match self.views {
            Views::Good => Box::pin(std::future::ready(Ok(good))),
            Views::Wrong => Box::pin(std::future::ready(Err(ViewError::Invalid("a.yaml:1:1: wrong".to_owned())))),
            Views::Unreadable => {
                let fault = StoreFault { code: "store.busy", detail: "it is locked".to_owned() };
                Box::pin(std::future::ready(Err(fault.into())))
            }
            Views::Hanging => Box::pin(std::future::pending()),
        }
    }
}

impl Control for Told {
    fn reload(&self, request: Request) -> Answer<'_, Report> {
        self.answer(None, request)
    }

    fn roll_back(&self, to: VersionId, request: Request) -> Answer<'_, Report> {
        self.answer(Some(to), request)
    }

    fn running(&self) -> Running {
        Running {
            version: Some(VersionId(4)),
            hash: RUNNING,
            since: 1_767_225_600_123,
            trigger: Trigger::Api,
            author: "ann".to_owned(),
            files: vec!["wellkept.yaml".to_owned()],
            refuses: None,
            restart_required: vec!["http.listen".to_owned()],
            probation_until: Some(i64::MAX),
            last_rejection: vec![],
        }
    }

    fn stats(&self) -> ReloadStats {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        ReloadStats {
            applied: 3,
            unchanged: 5,
            rejected: 1,
            rolled_back: 0,
            restart_required: 2,
            last: Some((at(1_767_225_700), OutcomeKind::Rejected)),
            last_success: at(1_767_225_600),
            took: Duration::from_millis(250),
            hash: RUNNING,
            version: Some(VersionId(4)),
            pinned: true,
            on_probation: true,
            unwritten: 1,
            lost: 2,
        }
    }

    fn versions(&self) -> Answer<'_, Result<Vec<Version>, ViewError>> {
        let version = |id, outcome| Version {
            id: VersionId(id),
            at: SystemTime::UNIX_EPOCH,
            trigger: Trigger::Signal,
            author: String::new(),
            hash: RUNNING,
            outcome,
            returned_to: None,
            refuses: None,
            summary: vec!["+ checks.db.interval: 5s".to_owned()],
        };
        self.view(vec![version(4, OutcomeKind::Applied), version(3, OutcomeKind::Rejected)])
    }

    fn show(&self, which: Which) -> Answer<'_, Result<Vec<Shown>, ViewError>> {
        if which == Which::Version(VersionId(3)) {
            return Box::pin(std::future::ready(Err(ViewError::UnknownVersion(VersionId(3)))));
        }
        self.view(vec![
            Shown::written("http.listen", "127.0.0.1:8080", "127.0.0.1:8080", "default"),
            Shown::secret("checks.db.postgres.url", "postgres://a:b@c/d", "wellkept.yaml:3:5"),
        ])
    }

    fn diff(&self, from: Which, to: Which) -> Answer<'_, Result<Vec<String>, ViewError>> {
        self.view(if from == to { vec![] } else { vec!["~ a: 1 -> 2".to_owned()] })
    }
}

fn doors() -> Doors {
    let (checker, _engine) = Checker::new(Settings::new("tested"));
    let (shutdown, _sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
    Doors::new(checker, shutdown, Access::loopback_only(), Names::Shown, Metrics::new())
}

fn showing(told: &Arc<Told>) -> Doors {
    let doors = doors();
    doors.show_configuration(Arc::clone(told) as Arc<dyn Control>);
    doors
}

async fn send(router: Router, method: &str, path: &str, headers: &[(&str, &str)], body: &'static str) -> Response {
    let mut request = http::Request::builder().method(method).uri(path).header("host", "localhost:1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.header("content-type", "application/json").body(Body::from(body)).unwrap();
    let here = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    request.extensions_mut().insert(Arrival::new(here(1), here(5)));
    router.oneshot(request).await.unwrap()
}

async fn read(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
    (status, String::from_utf8(body).unwrap())
}

async fn get(doors: &Doors, path: &str) -> (u16, String) {
    read(send(doors.admin(), "GET", path, &[], "").await).await
}

async fn post(doors: &Doors, path: &str, headers: &[(&str, &str)], body: &'static str) -> (u16, String) {
    read(send(doors.operators(), "POST", path, headers, body).await).await
}

#[tokio::test]
async fn what_runs_is_shown_with_each_values_source_and_the_hash_as_its_etag() {
    let doors = showing(&Told::showing(Views::Good));
    let answer = send(doors.admin(), "GET", "/api/v1/config", &[], "").await;
    assert_eq!(answer.headers()["etag"], format!("\"{RUNNING}\""));
    let (status, body) = read(answer).await;
    assert_eq!(status, 200);
    let body = body.replace(&RUNNING.to_string(), "HASH").replace("\"values\"", "\n\"values\"").replace("},", "},\n");
    insta::assert_snapshot!(body, @r#"
    {"version":4,"hash":"HASH","since":"2026-01-01T00:00:00.123Z","trigger":"api","author":"ann","files":["wellkept.yaml"],"refuses":null,"restart_required":["http.listen"],"probation_until":null,"last_rejection":[],"drift":[],
    "values":[{"path":"http.listen","value":"127.0.0.1:8080","secret":false,"origin":"default"},
    {"path":"checks.db.postgres.url","value":null,"secret":true,"origin":"wellkept.yaml:3:5"}]}
    "#);
    let (_, file) = get(&doors, "/api/v1/config/file").await;
    assert!(file.starts_with(r#"{"values":[{"path":"http.listen""#), "{file}");
}

#[tokio::test]
async fn versions_are_listed_shown_and_compared() {
    let doors = showing(&Told::showing(Views::Good));
    let (_, versions) = get(&doors, "/api/v1/config/versions").await;
    insta::assert_snapshot!(versions.replace(&RUNNING.to_string(), "HASH").replace("},", "},\n"), @r#"
    {"running":4,"versions":[{"id":4,"at":"1970-01-01T00:00:00.000Z","trigger":"signal","author":"","hash":"HASH","outcome":"applied","returned_to":null,"refuses":null,"summary":["+ checks.db.interval: 5s"]},
    {"id":3,"at":"1970-01-01T00:00:00.000Z","trigger":"signal","author":"","hash":"HASH","outcome":"rejected","returned_to":null,"refuses":null,"summary":["+ checks.db.interval: 5s"]}]}
    "#);
    let (status, shown) = get(&doors, "/api/v1/config/versions/4").await;
    assert!(status == 200 && shown.contains(r#""id":4"#) && shown.contains(r#""path":"http.listen""#), "{shown}");
    let (status, refused) = get(&doors, "/api/v1/config/versions/3").await;
    assert!(status == 200 && refused.contains(r#""outcome":"rejected""#), "{refused}");
    assert!(refused.ends_with(r#""values":null}"#), "its content is not kept: {refused}");
    for unknown in ["9", "x", "-1", "99999999999999999999"] {
        assert_eq!(get(&doors, &format!("/api/v1/config/versions/{unknown}")).await.0, 404, "{unknown}");
    }

    let usual = get(&doors, "/api/v1/config/diff").await;
    assert_eq!(usual, (200, r#"{"from":"running","to":"file","changes":["~ a: 1 -> 2"]}"#.to_owned()));
    let same = get(&doors, "/api/v1/config/diff?from=3&to=3").await;
    assert_eq!(same, (200, r#"{"from":"3","to":"3","changes":[]}"#.to_owned()));
    for wrong in ["from=then", "to=", "to=%2B3", "from=-1", "since=3"] {
        assert_eq!(get(&doors, &format!("/api/v1/config/diff?{wrong}")).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_reload_hands_over_who_asks_and_answers_what_it_came_to() {
    let told = Told::new(Outcome::RestartRequired { keys: vec!["store".to_owned()] });
    let doors = showing(&told);
    let (status, body) = post(&doors, "/api/v1/config/reload", &[], "").await;
    assert_eq!(status, 200);
    insta::assert_snapshot!(body.replace(&RUNNING.to_string(), "HASH"), @r#"{"outcome":"restart_required","dry_run":false,"version":4,"hash":"HASH","returned_to":null,"added":["db","cache"],"changed":[],"removed":[],"kept":3,"restart_required":["store"],"changes":["~ checks.db.interval: 5s -> 10s"],"effects":{"levels":["sqlx"]},"took_ms":1.5}"#);
    let (_, tried) = post(&doors, "/api/v1/config/reload?dry_run=true", &[], r#"{"author":"ann"}"#).await;
    assert!(tried.contains(r#""dry_run":true"#), "{tried}");
    let asked = told.asked.lock().unwrap().clone();
    let [(None, first), (None, second)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((first.trigger, first.intent, first.expected), (Trigger::Api, Intent::Apply, None));
    assert_eq!(first.author, "loopback from 127.0.0.1:5");
    assert_eq!((second.author.as_str(), second.intent), ("ann (loopback from 127.0.0.1:5)", Intent::DryRun));
}

#[tokio::test]
async fn a_rollback_names_its_version_and_answers_which_runs_again() {
    let told = Told::new(Outcome::RolledBack { to: VersionId(2), restart_required: vec!["store".to_owned()] });
    let doors = showing(&told);
    let (status, body) = post(&doors, "/api/v1/config/rollback", &[], r#"{"to":2,"author":"ann"}"#).await;
    assert_eq!(status, 200);
    assert!(body.starts_with(r#"{"outcome":"rolled_back","dry_run":false,"version":4"#), "{body}");
    assert!(body.contains(r#""returned_to":2,"#) && body.contains(r#""restart_required":["store"]"#), "{body}");
    assert_eq!(told.asked.lock().unwrap()[0].0, Some(VersionId(2)));
    for wrong in ["", r#"{"to":"2"}"#, r#"{"to":-2}"#, r#"{"to":2,"force":true}"#] {
        assert_eq!(post(&doors, "/api/v1/config/rollback", &[], wrong).await.0, 400, "{wrong}");
    }
    assert_eq!(told.asked.lock().unwrap().len(), 1, "what can't be read does nothing");
}

#[tokio::test]
async fn a_change_for_a_configuration_that_no_longer_runs_does_nothing() {
    let told = Told::new(Outcome::Applied);
    let doors = showing(&told);
    let other = format!("\"{}\"", ContentHash([1; 32]));
    for (path, body) in [("/api/v1/config/reload", ""), ("/api/v1/config/rollback", r#"{"to":2}"#)] {
        let (status, lost) = post(&doors, path, &[("if-match", &other)], body).await;
        assert_eq!(status, 412, "{path}");
        assert!(lost.contains(r#""code":"config.stale""#), "{lost}");
        assert_eq!(post(&doors, path, &[("if-match", "4")], body).await.0, 400, "{path}");
    }
    assert!(told.asked.lock().unwrap().is_empty());
    let this = format!("\"{RUNNING}\"");
    assert_eq!(post(&doors, "/api/v1/config/reload", &[("if-match", &this)], "").await.0, 200);
    assert_eq!(told.asked.lock().unwrap()[0].1.expected, Some(RUNNING), "it is compared again in its turn");
}

#[tokio::test]
async fn an_author_is_one_short_line_and_says_nothing_of_where_it_comes_from() {
    let told = Told::new(Outcome::Applied);
    let doors = showing(&told);
    let forged = [r#"{"author":"ann (token from 10.0.0.1:5)"}"#, r#"{"author":"nna\u202e"}"#];
    for wrong in [r#"{"author":"a\nb"}"#, r#"{"author":"\u001b[2J"}"#].into_iter().chain(forged) {
        let (status, body) = post(&doors, "/api/v1/config/reload", &[], wrong).await;
        assert!(status == 422 && body.contains("config.author"), "{wrong}: {body}");
    }
    let long: &'static str = format!(r#"{{"author":"{}"}}"#, "a".repeat(101)).leak();
    assert_eq!(post(&doors, "/api/v1/config/reload", &[], long).await.0, 422);
    assert!(told.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_refusal_has_its_code_and_status() {
    let (who, limit) = ("pool".to_owned(), Duration::from_secs(30));
    let message = "wellkept.yaml:3:1: unknown key".to_owned();
    let mut codes = Vec::new();
    for rejection in [
        Rejection::Invalid { message: message.clone() },
        Rejection::Refused { who: who.clone(), why: "no route".to_owned() },
        Rejection::Panicked { who },
        Rejection::TimedOut { what: "reading".to_owned(), limit },
        Rejection::Pinned,
        Rejection::Stale,
        Rejection::UnknownVersion { id: VersionId(9) },
        Rejection::NoFile,
        Rejection::Busy,
        Rejection::ShuttingDown,
        Rejection::Store { message },
    ] {
        let doors = showing(&Told::new(Outcome::Rejected(rejection)));
        let (status, body) = post(&doors, "/api/v1/config/reload", &[], "").await;
        codes.push(format!("{status} {body}"));
    }
    insta::assert_snapshot!(codes.join("\n"), @r#"
    422 {"error":{"code":"config.rejected","message":"wellkept.yaml:3:1: unknown key"}}
    409 {"error":{"code":"config.refused","message":"pool refuses it: no route"}}
    500 {"error":{"code":"config.panicked","message":"pool panicked over it"}}
    504 {"error":{"code":"config.timed_out","message":"not done within 30s: waited for reading"}}
    409 {"error":{"code":"config.pinned","message":"this content was rolled back from and is refused until the files change"}}
    412 {"error":{"code":"config.stale","message":"another version runs than the one expected"}}
    404 {"error":{"code":"config.unknown_version","message":"version 9 is not kept"}}
    409 {"error":{"code":"config.no_file","message":"there is no configuration file to read again"}}
    409 {"error":{"code":"config.busy","message":"another reload is still running"}}
    409 {"error":{"code":"config.shutting_down","message":"the process is shutting down"}}
    503 {"error":{"code":"config.store","message":"wellkept.yaml:3:1: unknown key"}}
    "#);
}

#[tokio::test]
async fn what_can_not_be_shown_says_why() {
    for (views, wanted) in [
        (Views::Wrong, (422, r#"{"error":{"code":"config.rejected","message":"a.yaml:1:1: wrong"}}"#)),
        (
            Views::Unreadable,
            (503, r#"{"error":{"code":"config.store","message":"the store of versions: it is locked"}}"#),
        ),
    ] {
        let doors = showing(&Told::showing(views));
        for path in ["", "/file", "/versions", "/versions/4", "/diff"] {
            let (status, body) = get(&doors, &format!("/api/v1/config{path}")).await;
            assert_eq!((status, body.as_str()), wanted, "{path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_that_hangs_ends_and_holds_up_no_more_than_a_few() {
    let doors = showing(&Told::showing(Views::Hanging));
    let ask = || {
        let doors = doors.clone();
        tokio::spawn(async move { get(&doors, "/api/v1/config/versions").await.0 })
    };
    let asked: Vec<_> = (0..=VIEWS).map(|_| ask()).collect();
    let mut codes = Vec::new();
    for answer in asked {
        codes.push(answer.await.unwrap());
    }
    codes.sort_unstable();
    assert_eq!(codes, [503, 504, 504]);
}

#[tokio::test]
async fn only_operators_find_it_and_only_where_there_is_one() {
    let paths = [
        ("GET", ""),
        ("GET", "/file"),
        ("GET", "/versions"),
        ("GET", "/versions/4"),
        ("GET", "/diff"),
        ("POST", "/reload"),
    ];
    let (none, told) = (doors(), Told::new(Outcome::Applied));
    let doors = showing(&told);
    for (method, path) in paths {
        let path = format!("/api/v1/config{path}");
        assert_eq!(send(none.admin(), method, &path, &[], "").await.status(), 404, "nobody owns one: {path}");
        assert_eq!(send(doors.public(), method, &path, &[], "").await.status(), 404, "the public door: {path}");
        let forwarded = [("x-forwarded-for", "10.0.0.1")];
        assert_eq!(send(doors.admin(), method, &path, &forwarded, "").await.status(), 401, "{path}");
    }
    assert_eq!(post(&none, "/api/v1/config/rollback", &[], r#"{"to":2}"#).await.0, 404);
    assert!(told.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_reloads_came_to_is_on_the_page_of_metrics_and_the_hash_for_operators_alone() {
    let (checker, _engine) = Checker::new(Settings::new("tested"));
    let (shutdown, _sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
    let doors = Doors::new(checker, shutdown, Access::loopback_only(), Names::Hidden, Metrics::new());
    doors.show_configuration(Told::new(Outcome::Applied));
    let (_, shown) = get(&doors, "/metrics").await;
    let lines: Vec<_> = shown.lines().filter(|line| line.starts_with("wellkept_config_")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    wellkept_config_reloads_total{outcome="applied"} 3.0
    wellkept_config_reloads_total{outcome="unchanged"} 5.0
    wellkept_config_reloads_total{outcome="rejected"} 1.0
    wellkept_config_reloads_total{outcome="rolled_back"} 0.0
    wellkept_config_reloads_total{outcome="restart_required"} 2.0
    wellkept_config_applied_timestamp_seconds 1767225600.123
    wellkept_config_last_reload_successful 0.0
    wellkept_config_last_reload_timestamp_seconds 1767225700.0
    wellkept_config_last_reload_duration_seconds 0.25
    wellkept_config_last_success_timestamp_seconds 1767225600.0
    wellkept_config_version 4.0
    wellkept_config_probation 1.0
    wellkept_config_pinned 1.0
    wellkept_config_versions_unwritten 1.0
    wellkept_config_versions_lost_total 2.0
    wellkept_config_restart_required 1.0
    wellkept_config_info{hash="abababababab"} 1.0
    "#);
    let nobody = doors.with_access(Access::loopback_only().loopback(Loopback::Untrusted));
    let (_, public) = read(send(nobody.public(), "GET", "/metrics", &[], "").await).await;
    assert!(public.contains("wellkept_config_pinned 1.0") && !public.contains("wellkept_config_info"), "{public}");
}
