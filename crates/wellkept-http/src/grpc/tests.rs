//! Claims about the calls, made on the router with paused time; what a real client sees is shown on the program.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use http_body_util::BodyExt as _;
use prost::Message;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;
use wellkept_health::{
    AnyCheck, Checker, Component, End, Group, NewMaintenance, Outcome, Reason, Scope, Settings, TokioClock,
};
use wellkept_shutdown::{Cause, Sequence, Shutdown};
use wellkept_telemetry::metrics::Metrics;

use super::messages::{CheckRequest, CheckResponse, ListRequest, ListResponse};
use super::services::ServingStatus;
use super::*;
use crate::access::Access;
use crate::doors::groups::Groups;

const MAX_WATCHES: usize = 5;

/// A service whose one required component, in readiness and in the group `orders`, says what the test says.
struct Setup {
    checker: Checker,
    shutdown: Shutdown,
    sequence: Option<Sequence>,
    doors: Doors,
    engine: JoinHandle<()>,
    says: Arc<Mutex<Outcome>>,
}

impl Setup {
    async fn new() -> Self {
        Self::with(Names::Shown).await
    }

    async fn with(names: Names) -> Self {
        let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
        let says = Arc::new(Mutex::new(Outcome::pass()));
        let heard = Arc::clone(&says);
        let check = AnyCheck::from_fn(move || {
            let outcome = heard.lock().unwrap().clone();
            async { outcome }
        });
        let groups = [Group::Ready, Group::from("orders")];
        checker.register(quick("db", check).groups(groups)).unwrap();
        let engine = tokio::spawn(engine.run(std::future::pending()));
        let (shutdown, sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
        let draining = checker.clone();
        shutdown.on_phase(move |_| draining.begin_draining());
        let access = Access::loopback_only();
        let doors = Doors::new(checker.clone(), shutdown.clone(), access, names, Metrics::new());
        let setup = Self { checker, shutdown, sequence: Some(sequence), doors, engine, says };
        setup.pass_time().await;
        setup
    }

    /// Long enough for a run and its consequences.
    async fn pass_time(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await; // pace: on paused time
    }

    async fn say(&self, outcome: Outcome) {
        *self.says.lock().unwrap() = outcome;
        self.pass_time().await;
    }

    async fn call(&self, method: &str, message: &impl Message) -> Answer {
        self.send(call(method, Body::from(call::encode(message)))).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.doors.grpc(MAX_WATCHES).oneshot(request).await.unwrap();
        Answer { status: response.status().as_u16(), headers: response.headers().clone(), body: response.into_body() }
    }

    async fn check(&self, service: &str) -> Result<&'static str, String> {
        let answer = self.call("Check", &CheckRequest { service: service.to_owned() }).await;
        answer.only::<CheckResponse>().await.map(|response| word(response.status))
    }

    async fn checks(&self, services: [&str; 5]) -> [Result<&'static str, String>; 5] {
        let mut checks = services.map(|_| Ok(""));
        for (check, service) in checks.iter_mut().zip(services) {
            *check = self.check(service).await;
        }
        checks
    }

    async fn watch(&self, service: &str) -> Answer {
        self.call("Watch", &CheckRequest { service: service.to_owned() }).await
    }
}

fn quick(name: &str, check: AnyCheck) -> Component {
    let thresholds = wellkept_health::Thresholds::new(1, 1);
    Component::new(name, check).interval(Duration::from_millis(100)).thresholds(thresholds)
}

fn passing(name: &str, group: &str) -> Component {
    quick(name, AnyCheck::from_fn(async || ())).groups([Group::from(group)])
}

fn call(method: &str, body: Body) -> Request<Body> {
    let request = Request::post(format!("http://test/grpc.health.v1.Health/{method}")).version(Version::HTTP_2);
    request.header("content-type", "application/grpc").body(body).unwrap()
}

fn with(mut request: Request<Body>, name: &'static str, value: &'static str) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn word(status: i32) -> &'static str {
    ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"][usize::try_from(status).unwrap()]
}

fn fail() -> Outcome {
    Outcome::fail(Reason::Refused, "connection refused")
}

/// What came back, frame by frame.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Body,
}

#[derive(Debug, PartialEq)]
enum Said {
    Status(&'static str),
    End(&'static str),
    Nothing,
}

impl Answer {
    /// The `grpc-status` and `grpc-message` of an answer without a body.
    fn failure(&self) -> String {
        let text = |name| self.headers.get(name).map_or("", |value| value.to_str().unwrap());
        format!("{} {}", text("grpc-status"), text("grpc-message"))
    }

    /// The one message of a unary call, or how it failed.
    async fn only<M: Message + Default>(self) -> Result<M, String> {
        if self.headers.contains_key("grpc-status") {
            return Err(self.failure());
        }
        let collected = self.body.collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        Ok(message(&collected.to_bytes()))
    }

    /// What a watcher is told next; nothing when it is told nothing for a minute.
    async fn next(&mut self) -> Said {
        let Ok(frame) = tokio::time::timeout(Duration::from_secs(60), self.body.frame()).await else {
            return Said::Nothing;
        };
        match frame.map(|frame| frame.unwrap().into_data()) {
            None => Said::End("without trailers"),
            Some(Ok(data)) => Said::Status(word(message::<CheckResponse>(&data).status)),
            Some(Err(frame)) => {
                let status = frame.trailers_ref().unwrap()["grpc-status"].to_str().unwrap().to_owned();
                Said::End(if status == "14" {
                    "UNAVAILABLE"
                } else if status == "4" {
                    "DEADLINE_EXCEEDED"
                } else {
                    "another status"
                })
            }
        }
    }
}

fn message<M: Message + Default>(bytes: &Bytes) -> M {
    let (prefix, message) = bytes.split_at(5);
    assert_eq!(prefix, [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes()].concat());
    M::decode(message).unwrap()
}

const SERVICES: [&str; 5] = ["", "readiness", "liveness", "startup", "orders"];
const SERVING: Result<&str, String> = Ok("SERVING");
const NOT_SERVING: Result<&str, String> = Ok("NOT_SERVING");

#[tokio::test(start_paused = true)]
async fn check_says_of_each_status_what_its_table_says() {
    let setup = Setup::new().await;
    assert_eq!(setup.checks(SERVICES).await, [SERVING; 5], "healthy");
    setup.say(Outcome::warn(Reason::Slow, "slow")).await;
    assert_eq!(setup.checks(SERVICES).await, [SERVING; 5], "degraded");
    setup.say(fail()).await;
    let unready = [NOT_SERVING, NOT_SERVING, SERVING, SERVING, NOT_SERVING];
    assert_eq!(setup.checks(SERVICES).await, unready, "unhealthy");
    setup.say(Outcome::pass()).await;
    setup.engine.abort();
    setup.pass_time().await;
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(setup.checks(SERVICES).await, unready, "unknown");
}

#[tokio::test(start_paused = true)]
async fn check_says_of_a_draining_service_that_only_liveness_and_startup_hold() {
    let setup = Setup::new().await;
    setup.shutdown.trigger(Cause::requested("test"));
    assert_eq!(setup.checks(SERVICES).await, [NOT_SERVING, NOT_SERVING, SERVING, SERVING, NOT_SERVING]);
}

#[tokio::test(start_paused = true)]
async fn in_maintenance_only_liveness_and_startup_hold_and_watchers_hear_of_it() {
    let setup = Setup::new().await;
    let mut watcher = setup.watch("orders").await;
    assert_eq!(watcher.next().await, Said::Status("SERVING"));
    let wanted = NewMaintenance::of_the_service(End::Open, "new disks");
    let begun = setup.checker.begin_maintenance(wanted).unwrap();
    assert_eq!(watcher.next().await, Said::Status("NOT_SERVING"));
    assert_eq!(setup.checks(SERVICES).await, [NOT_SERVING, NOT_SERVING, SERVING, SERVING, NOT_SERVING]);
    setup.checker.end_maintenance(&begun[0].id, "").unwrap();
    assert_eq!(watcher.next().await, Said::Status("SERVING"));
    assert_eq!(setup.checks(SERVICES).await, [SERVING; 5]);
}

#[tokio::test(start_paused = true)]
async fn before_the_start_is_complete_only_liveness_serves() {
    let (checker, _engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
    let said = ["", "readiness", "liveness", "startup"]
        .map(|service| ServingStatus::of(&checker, &Groups::default(), service));
    assert_eq!(
        said,
        [ServingStatus::NotServing, ServingStatus::NotServing, ServingStatus::Serving, ServingStatus::NotServing]
            .map(Some)
    );
}

#[tokio::test(start_paused = true)]
async fn liveness_fails_by_a_component_of_this_process() {
    let setup = Setup::new().await;
    let stuck = quick("loop", AnyCheck::from_fn(async || fail())).scope(Scope::Process).groups([Group::Live]);
    let mut watcher = setup.watch("liveness").await;
    assert_eq!(watcher.next().await, Said::Status("SERVING"));
    setup.checker.register(stuck).unwrap();
    assert_eq!(watcher.next().await, Said::Status("NOT_SERVING"));
    assert_eq!(setup.check("liveness").await, NOT_SERVING);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_service_is_not_found_by_check_and_waited_for_by_watch() {
    let setup = Setup::new().await;
    // The built-in groups have names of their own here, and there are no wildcards.
    for service in ["ready", "live", "db", "Orders", "orders ", "*", "orders*"] {
        assert_eq!(setup.check(service).await, Err("5 unknown service".to_owned()), "{service}");
    }
    let mut watcher = setup.watch("payments").await;
    assert_eq!(watcher.next().await, Said::Status("SERVICE_UNKNOWN"));
    assert_eq!(watcher.next().await, Said::Nothing);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_comes_or_goes_is_told_to_its_watchers() {
    let setup = Setup::new().await;
    let mut watcher = setup.watch("payments").await;
    assert_eq!(watcher.next().await, Said::Status("SERVICE_UNKNOWN"));
    let slow = AnyCheck::from_fn(async || tokio::time::sleep(Duration::from_millis(50)).await); // pace: on paused time
    setup.checker.register(quick("psp", slow).groups([Group::from("payments")])).unwrap();
    // It does not serve before its first result.
    assert_eq!(watcher.next().await, Said::Status("NOT_SERVING"));
    assert_eq!(watcher.next().await, Said::Status("SERVING"));
    setup.checker.unregister("psp");
    assert_eq!(watcher.next().await, Said::Status("SERVICE_UNKNOWN"));
    assert_eq!(watcher.next().await, Said::Nothing);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_hears_its_status_at_once_and_then_each_change_and_no_more() {
    let setup = Setup::new().await;
    let mut watcher = setup.watch("").await;
    let began = tokio::time::Instant::now();
    assert_eq!(watcher.next().await, Said::Status("SERVING"));
    assert_eq!(began.elapsed(), Duration::ZERO);
    // Another word of the checker's, and the same one of gRPC's.
    setup.say(Outcome::warn(Reason::Slow, "slow")).await;
    setup.checker.register(passing("other", "other")).unwrap();
    assert_eq!(watcher.next().await, Said::Nothing);
    *setup.says.lock().unwrap() = fail();
    let began = tokio::time::Instant::now();
    assert_eq!(watcher.next().await, Said::Status("NOT_SERVING"));
    assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
    setup.say(Outcome::pass()).await;
    assert_eq!(watcher.next().await, Said::Status("SERVING"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_hears_the_latest_status_only() {
    let setup = Setup::new().await;
    let mut watcher = setup.watch("").await;
    assert_eq!(watcher.next().await, Said::Status("SERVING"));
    for _ in 0..20 {
        setup.say(fail()).await;
        setup.say(Outcome::pass()).await;
    }
    setup.say(fail()).await;
    assert_eq!(watcher.next().await, Said::Status("NOT_SERVING"));
    assert_eq!(watcher.next().await, Said::Nothing);
}

#[tokio::test(start_paused = true)]
async fn results_that_nobody_renews_are_told_to_watchers_too() {
    let setup = Setup::new().await;
    let mut watcher = setup.watch("orders").await;
    assert_eq!(watcher.next().await, Said::Status("SERVING"));
    setup.engine.abort();
    let began = tokio::time::Instant::now();
    assert_eq!(watcher.next().await, Said::Status("NOT_SERVING"));
    // Three intervals and a timeout, and at most one look later.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn at_the_shutdown_watchers_are_told_before_their_streams_end() {
    let mut setup = Setup::new().await;
    let [mut all, mut group] = [setup.watch("").await, setup.watch("orders").await];
    let [mut live, mut start] = [setup.watch("liveness").await, setup.watch("startup").await];
    for watcher in [&mut all, &mut group, &mut live, &mut start] {
        assert_eq!(watcher.next().await, Said::Status("SERVING"));
    }
    // There is nothing to drain or to close: all phases pass at once.
    let sequence = tokio::spawn(setup.sequence.take().unwrap().run());
    let began = tokio::time::Instant::now();
    setup.shutdown.trigger(Cause::requested("test"));
    assert_eq!(all.next().await, Said::Status("NOT_SERVING"));
    assert_eq!(group.next().await, Said::Status("NOT_SERVING"));
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    for watcher in [&mut all, &mut group, &mut live, &mut start] {
        assert_eq!(watcher.next().await, Said::End("UNAVAILABLE"));
        assert_eq!(watcher.next().await, Said::End("without trailers"));
    }
    sequence.await.unwrap();
    // Whoever comes now is told the state, and that it is over.
    let mut late = setup.watch("").await;
    assert_eq!(late.next().await, Said::Status("NOT_SERVING"));
    assert_eq!(late.next().await, Said::End("UNAVAILABLE"));
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_reads_only_when_all_is_over_is_told_too() {
    let mut setup = Setup::new().await;
    let mut watcher = setup.watch("").await;
    assert_eq!(watcher.next().await, Said::Status("SERVING"));
    setup.shutdown.trigger(Cause::requested("test"));
    setup.sequence.take().unwrap().run().await;
    assert_eq!(watcher.next().await, Said::Status("NOT_SERVING"));
    assert_eq!(watcher.next().await, Said::End("UNAVAILABLE"));
}

#[tokio::test(start_paused = true)]
async fn list_names_every_service_and_refuses_more_than_a_hundred() {
    let setup = Setup::new().await;
    let list = async || -> Result<Vec<String>, String> {
        let answer = setup.call("List", &ListRequest {}).await.only::<ListResponse>().await?;
        Ok(answer.statuses.into_iter().map(|(name, said)| format!("{name}={}", word(said.status))).collect())
    };
    let all = ["=SERVING", "liveness=SERVING", "orders=SERVING", "readiness=SERVING", "startup=SERVING"];
    assert_eq!(list().await.unwrap(), all);
    setup.say(fail()).await;
    assert_eq!(list().await.unwrap()[2..4], ["orders=NOT_SERVING", "readiness=NOT_SERVING"]);
    for number in 0..95 {
        setup.checker.register(passing(&format!("c{number}"), &format!("g{number}"))).unwrap();
    }
    setup.pass_time().await;
    assert_eq!(list().await.unwrap().len(), 100);
    setup.checker.register(passing("last", "last")).unwrap();
    setup.pass_time().await;
    let refusal = list().await.unwrap_err();
    assert_eq!(refusal, "8 there are more than 100 services: check each by its name");
}

#[tokio::test(start_paused = true)]
async fn hidden_names_are_not_listed_and_still_answered_to_who_knows_them() {
    let setup = Setup::with(Names::Hidden).await;
    let listed = setup.call("List", &ListRequest {}).await.only::<ListResponse>().await.unwrap();
    assert_eq!(listed.statuses.keys().collect::<Vec<_>>(), ["", "liveness", "readiness", "startup"]);
    assert_eq!(setup.check("orders").await, SERVING);
}

#[tokio::test(start_paused = true)]
async fn watchers_beyond_the_limit_are_refused_until_a_place_is_free() {
    let setup = Setup::new().await;
    let mut watchers = Vec::new();
    for service in ["", "", "", "orders", "nobody"] {
        watchers.push(setup.watch(service).await);
    }
    assert_eq!(setup.watch("").await.failure(), "8 too many watch already");
    for watcher in &mut watchers {
        watcher.next().await;
    }
    watchers.pop();
    let mut watcher = setup.watch("").await;
    assert_eq!(watcher.next().await, Said::Status("SERVING"));
    assert_eq!(setup.doors.watches().counts(), (MAX_WATCHES, 1));
}

#[tokio::test(start_paused = true)]
async fn the_statuses_are_looked_at_only_while_somebody_watches() {
    let setup = Setup::new().await;
    assert!(!setup.doors.watches().is_followed());
    for _ in 0..3 {
        let mut watcher = setup.watch("").await;
        assert_eq!(watcher.next().await, Said::Status("SERVING"));
        tokio::time::timeout(Duration::from_millis(5), watcher.next()).await.unwrap_err();
        assert!(setup.doors.watches().is_followed());
        drop(watcher);
        setup.pass_time().await;
        assert!(!setup.doors.watches().is_followed());
    }
    // What was told last is not what the next one is told.
    setup.say(fail()).await;
    assert_eq!(setup.watch("").await.next().await, Said::Status("NOT_SERVING"));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_call_that_waits() {
    let setup = Setup::new().await;
    let began = tokio::time::Instant::now();
    let endless = || Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    for method in ["Check", "List", "Watch"] {
        let answer = setup.send(with(call(method, endless()), "grpc-timeout", "100m")).await;
        assert_eq!(answer.failure(), "4 the deadline has passed", "{method}");
    }
    assert_eq!(began.elapsed(), Duration::from_millis(300));
    let answer = setup.send(call("Check", endless())).await;
    assert_eq!(answer.failure(), "4 the message did not come in time");
    assert_eq!(began.elapsed(), Duration::from_millis(2300));
    let body = || Body::from(call::encode(&CheckRequest::default()));
    let mut watcher = setup.send(with(call("Watch", body()), "grpc-timeout", "1S")).await;
    assert_eq!(watcher.next().await, Said::Status("SERVING"));
    assert_eq!(watcher.next().await, Said::End("DEADLINE_EXCEEDED"));
    let answer = setup.send(with(call("Check", body()), "grpc-timeout", "soon")).await;
    assert_eq!(answer.failure(), "13 grpc-timeout can't be read");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_call_or_no_message_is_refused() {
    let setup = Setup::new().await;
    let body = || Body::from(call::encode(&CheckRequest::default()));
    let mut old = call("Check", body());
    *old.version_mut() = Version::HTTP_11;
    assert_eq!(setup.send(old).await.status, 505);
    let mut read = call("Check", body());
    *read.method_mut() = http::Method::GET;
    assert_eq!(setup.send(read).await.status, 405);
    assert_eq!(setup.send(with(call("Check", body()), "content-type", "application/json")).await.status, 415);

    for (method, body, failure) in [
        ("Checks", body(), "12 there is only grpc.health.v1.Health: Check, List, Watch"),
        ("Check", Body::empty(), "12 this method takes exactly one message"),
        ("Watch", Body::from("\0\0\0\0\u{5}abcde"), "13 the message can't be read"),
        ("Check", Body::from("x".repeat(100_000)), "8 the message is larger than 1024 bytes"),
    ] {
        let answer = setup.send(call(method, body)).await;
        assert_eq!((answer.status, answer.failure().as_str()), (200, failure));
    }
    let compressed = setup.send(with(call("Check", body()), "grpc-encoding", "gzip")).await;
    assert_eq!(compressed.failure(), "12 messages are taken uncompressed only");
    assert_eq!(compressed.headers["grpc-accept-encoding"], "identity");
    assert_eq!(setup.check("").await, SERVING);
}
