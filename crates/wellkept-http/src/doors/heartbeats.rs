//! What jobs report: that they begin and end, and how. For operators, as all that acts.

use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use wellkept_health::{JobEnd, JobReport, JobStanding};

use super::acting::Input;
use super::period::Period;
use super::routes::{Operation, Routes};
use super::{Doors, Segment, json};
use crate::error::Refusal;

pub(super) fn routes() -> Routes {
    let report = Operation::new(Method::POST, "/api/v1/heartbeats/{name}", "Takes a job's report.")
        .segment::<String>("name", "The name of a component of kind `heartbeat`.")
        .takes::<Report>()
        .json::<JobStanding>(&[200])
        .refuses(&[404, 409]);
    Routes::new().route(report, self::report)
}

/// What a job reports. Without a body: that it has ended well.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Report {
    /// What happened. Default `end`.
    event: Event,
    /// The exit code that it ended with; anything but 0 is a failure. Default 0 with `end`, none with `fail`.
    exit_code: Option<i32>,
    /// How long it took. Default: since it reported that it began.
    duration: Option<Period>,
}

/// What can happen to a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Event {
    /// It has begun.
    Start,
    /// It has ended.
    #[default]
    End,
    /// It has ended without having done its work.
    Fail,
}

impl Report {
    fn read(self) -> Result<JobReport, Refusal> {
        let took = self.duration.map(|Period(took)| took);
        let end = match (self.event, self.exit_code) {
            (Event::Start, None) if took.is_none() => return Ok(JobReport::Started),
            (Event::Start, _) => return Err(contradiction("what begins has neither an exit code nor a duration yet")),
            (Event::Fail, Some(0)) => return Err(contradiction("an exit code of 0 is no failure")),
            (Event::End, None | Some(0)) => JobEnd::Well,
            (Event::End | Event::Fail, code) => JobEnd::Failed(code),
        };
        Ok(JobReport::Ended { end, took })
    }
}

fn contradiction(why: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "http.bad_body", format!("the body can't be read: {why}"))
}

/// `POST /api/v1/heartbeats/{name}`
async fn report(
    State(doors): State<Doors>,
    Segment(name): Segment,
    Input(report): Input<Report>,
) -> Result<Response, Refusal> {
    let standing = doors.inner.checker.report_job(&name, report.read()?)?;
    Ok(json(StatusCode::OK, &standing))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tower::ServiceExt;
    use wellkept_health::{AnyCheck, Checker, Component, Job, JobSchedule, JobState, Settings};
    use wellkept_shutdown::Shutdown;
    use wellkept_telemetry::metrics::Metrics;

    use super::*;
    use crate::access::Access;
    use crate::doors::Names;
    use crate::server::Arrival;

    fn service() -> (Job, Doors, Checker) {
        let (checker, _engine) = Checker::new(Settings::new("orders"));
        let job = Job::new(JobSchedule::every(Duration::from_secs(3600)));
        checker.register(Component::new("backup", job.clone())).unwrap();
        checker.register(Component::new("db", AnyCheck::from_fn(async || ()))).unwrap();
        let (shutdown, _sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
        let access = Access::loopback_only();
        let doors = Doors::new(checker.clone(), shutdown, access, Names::Shown, Metrics::new());
        (job, doors, checker)
    }

    /// Asks the admin door, or the public one, as a caller who came to this address.
    async fn send(router: axum::Router, bound: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).header("host", "localhost:1");
        let (request, body) = match body {
            Value::Null => (request, Body::empty()),
            body => (request.header("content-type", "application/json"), Body::from(body.to_string())),
        };
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(Arrival::new(
            bound.parse::<std::net::SocketAddr>().unwrap(),
            "127.0.0.1:5".parse::<std::net::SocketAddr>().unwrap(),
        ));
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    #[tokio::test]
    async fn a_job_reports_its_begin_its_end_and_its_failure() {
        let (_, doors, _) = service();
        for (body, state) in [
            (json!({ "event": "start" }), json!({ "state": "running", "exit_code": null })),
            (
                json!({ "exit_code": 7, "duration": "90s" }),
                json!({ "state": "failed", "exit_code": 7, "last_duration_ms": 90_000.0 }),
            ),
            (Value::Null, json!({ "state": "on_time", "exit_code": null, "last_duration_ms": null })),
            (json!({ "event": "fail" }), json!({ "state": "failed", "exit_code": null })),
        ] {
            let (status, answer) =
                send(doors.admin(), "127.0.0.1:1", "POST", "/api/v1/heartbeats/backup", body.clone()).await;
            assert_eq!(status, 200, "{body}: {answer}");
            for (key, value) in state.as_object().unwrap() {
                assert_eq!(&answer[key], value, "{key} after {body}: {answer}");
            }
        }
        for body in [
            json!({ "event": "start", "exit_code": 0 }),
            json!({ "event": "fail", "exit_code": 0 }),
            json!({ "event": "stop" }),
            json!({ "code": 1 }),
        ] {
            let (status, answer) =
                send(doors.admin(), "127.0.0.1:1", "POST", "/api/v1/heartbeats/backup", body.clone()).await;
            assert_eq!((status, &answer["error"]["code"]), (400, &json!("http.bad_body")), "{body}");
        }
        let (status, answer) = send(doors.admin(), "127.0.0.1:1", "POST", "/api/v1/heartbeats/gone", Value::Null).await;
        assert_eq!((status, &answer["error"]["code"]), (404, &json!("component.unknown")));
        let (status, answer) = send(doors.admin(), "127.0.0.1:1", "POST", "/api/v1/heartbeats/db", Value::Null).await;
        assert_eq!((status, &answer["error"]["code"]), (409, &json!("component.no_job")));
    }

    #[tokio::test]
    async fn nobody_but_an_operator_reports_and_no_get_does() {
        let (job, doors, _) = service();
        let path = "/api/v1/heartbeats/backup";
        for (router, bound, method, expected) in [
            (doors.public(), "127.0.0.1:1", "POST", 404),
            (doors.public(), "127.0.0.1:1", "GET", 404),
            (doors.admin(), "10.0.0.1:1", "POST", 401),
            (doors.admin(), "127.0.0.1:1", "GET", 405),
            (doors.admin(), "127.0.0.1:1", "HEAD", 405),
        ] {
            let (status, _) = send(router, bound, method, path, Value::Null).await;
            assert_eq!(status, expected, "{method} at {bound}");
            assert_eq!(job.standing().state, JobState::Waiting);
        }
    }

    #[tokio::test]
    async fn nothing_that_is_asked_adds_a_component_or_a_command() {
        let (_, doors, checker) = service();
        let body = json!({ "name": "new", "command": { "run": ["/bin/true"] } });
        let paths = ["components", "components/new", "components/db", "checks", "run", "config", "config/reload"];
        for path in paths {
            for method in ["POST", "PUT", "PATCH"] {
                let path = format!("/api/v1/{path}");
                let (status, _) = send(doors.admin(), "127.0.0.1:1", method, &path, body.clone()).await;
                assert!((400..500).contains(&status), "{method} {path}: {status}");
            }
        }
        let snapshot = checker.stats();
        assert_eq!(snapshot.components, 2);
        let (_, description) = send(doors.admin(), "127.0.0.1:1", "GET", "/openapi.json", Value::Null).await;
        assert!(description["paths"].as_object().unwrap().len() > 10);
        assert!(!description.to_string().contains("\"command\""), "a body takes a command");
    }
}
