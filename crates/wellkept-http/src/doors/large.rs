//! Answers whose work and size grow with the number of components. With few components they are written on the spot;
//! with many, off the thread that answers probes, a few at a time, and one writing serves all who ask within a moment.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::body::to_bytes;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use wellkept_health::wire::{Sight, Subject, View};
use wellkept_health::{Checker, Origins, Readiness, Status};

use super::formats::Format;
use super::{Doors, TEXT, answer, so_or_503};
use crate::error::ApiError;

/// With so many components an answer is written in some tens of microseconds.
const FEW: usize = if cfg!(test) { 2 } else { 256 };
/// How long an answer to the public is used again. What it says of the service as a whole is never older than now.
const REUSED_FOR: Duration = Duration::from_millis(100);
/// How many different answers are used again at the same time.
const REUSED: usize = 16;
/// How many are written at the same time.
const WRITERS: usize = 2;
/// How many are there at the same time: to be used again, or on their way to readers, of whom some take their time.
const FOR_THE_PUBLIC: usize = REUSED + 32;
const FOR_OPERATORS: usize = 16;
/// How many pages of metrics are on their way at the same time, of those that are longer than this, in bytes.
const PAGES: usize = 128;
const SHORT_PAGE: usize = 64 * 1024;
/// How long a request waits for those before it. Less than a probe waits: Kubernetes' do for 1 s by default.
const PATIENCE: Duration = Duration::from_millis(300);

/// The large answers of one [`Doors`]: those to be used again, and how many there are.
#[derive(Debug)]
pub(super) struct LargeAnswers {
    reused: [ArcSwapOption<Written>; REUSED],
    writers: Semaphore,
    for_the_public: Arc<Semaphore>,
    for_operators: Arc<Semaphore>,
    pages: Arc<Semaphore>,
}

/// An answer, and to whom it may be given.
#[derive(Debug)]
struct Written {
    question: Question,
    verdict: Verdict,
    /// The boot clock then.
    at: Duration,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// All of a request that an answer depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    uri: Uri,
    format: Option<Format>,
    sight: Sight,
    asker: Option<HeaderValue>,
}

/// What is known of the service without looking at its components: an answer that was written under another is not used
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    status: Status,
    readiness: Readiness,
    alive: bool,
    started: bool,
}

/// A body that holds its place until nobody has it any more.
struct Placed {
    body: Bytes,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl LargeAnswers {
    pub(super) fn new() -> Self {
        Self {
            reused: Default::default(),
            writers: Semaphore::new(WRITERS),
            for_the_public: Arc::new(Semaphore::new(FOR_THE_PUBLIC)),
            for_operators: Arc::new(Semaphore::new(FOR_OPERATORS)),
            pages: Arc::new(Semaphore::new(PAGES)),
        }
    }
}

impl Doors {
    /// An answer on a subject. When there is no room for another large one it is the subject's status in a word: a
    /// probe's code must not tell of how busy the doors are.
    pub(super) async fn on_subject(
        &self,
        request: Parts,
        subject: Subject,
        write: impl FnOnce(&Self, &Parts, &Subject) -> Response + Send + 'static,
    ) -> Response {
        let asked = subject.clone();
        match self.large(request, move |doors, request| write(doors, request, &asked)).await {
            Err(ApiError::Busy) => {
                let view = View::of(&self.inner.checker, subject, Sight::Status);
                answer(so_or_503(view.is_good()), TEXT, view.word())
            }
            other => other.into_response(),
        }
    }

    /// An answer that may be large.
    pub(super) async fn large(
        &self,
        request: Parts,
        write: impl FnOnce(&Self, &Parts) -> Response + Send + 'static,
    ) -> Result<Response, ApiError> {
        let LargeAnswers { writers, for_the_public, for_operators, .. } = &self.inner.large;
        if self.inner.checker.snapshot().components().len() <= FEW {
            return Ok(write(self, &request));
        }
        let question = Question::of(self, &request);
        if let Some(written) = self.written(&question) {
            return Ok(written);
        }
        let writer = timeout(PATIENCE, writers.acquire()).await.ok().and_then(Result::ok).ok_or(ApiError::Busy)?;
        // Whoever was first may have asked the same.
        if let Some(written) = self.written(&question) {
            return Ok(written);
        }
        let places = if question.sight == Sight::Details { for_operators } else { for_the_public };
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| ApiError::Busy)?;
        let (at, verdict) = (self.inner.checker.clock().boot(), Verdict::of(&self.inner.checker));
        let doors = self.clone();
        let response = tokio::task::spawn_blocking(move || write(&doors, &request)).await;
        drop(writer);
        let (parts, body) = response.map_err(|_| ApiError::Internal)?.into_parts();
        let body = to_bytes(body, usize::MAX).await.map_err(|_| ApiError::Internal)?;
        let body = Bytes::from_owner(Placed { body, _place: place });
        // Operators ask seldom, and what they read is larger.
        if question.sight < Sight::Details {
            let (status, headers, body) = (parts.status, parts.headers.clone(), body.clone());
            let slot = self.inner.large.slot(&question);
            slot.store(Some(Arc::new(Written { question, verdict, at, status, headers, body })));
        }
        Ok(Response::from_parts(parts, body.into()))
    }

    /// A page of metrics, if there is room for it.
    pub(super) fn placed_page(&self, body: Bytes) -> Option<Bytes> {
        if body.len() <= SHORT_PAGE {
            return Some(body);
        }
        let place = Arc::clone(&self.inner.large.pages).try_acquire_owned().ok()?;
        Some(Bytes::from_owner(Placed { body, _place: place }))
    }

    /// What was written for this question a moment ago, if it still holds.
    fn written(&self, question: &Question) -> Option<Response> {
        let checker = &self.inner.checker;
        let written = self.inner.large.slot(question).load_full()?;
        let age = checker.clock().boot().saturating_sub(written.at);
        if written.question != *question || age >= REUSED_FOR || written.verdict != Verdict::of(checker) {
            return None;
        }
        let mut response = Response::new(written.body.clone().into());
        *response.status_mut() = written.status;
        response.headers_mut().clone_from(&written.headers);
        Some(response)
    }
}

impl LargeAnswers {
    fn slot(&self, question: &Question) -> &ArcSwapOption<Written> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(question);
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let number = hash as usize % REUSED;
        &self.reused[number]
    }
}

impl Question {
    fn of(doors: &Doors, request: &Parts) -> Self {
        Self {
            uri: request.uri.clone(),
            format: Format::wished(request).ok(),
            sight: doors.sight(request),
            asker: request.headers.get(Origins::ASKER).cloned(),
        }
    }
}

impl Verdict {
    fn of(checker: &Checker) -> Self {
        Self {
            status: checker.snapshot().overall(),
            readiness: checker.readiness(),
            alive: checker.is_alive(),
            started: checker.is_started(),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use prometheus_client::registry::Registry;
    use tower::ServiceExt;
    use wellkept_health::{AnyCheck, Component, Outcome, Settings, TokioClock};
    use wellkept_shutdown::Shutdown;

    use super::*;
    use crate::access::Access;
    use crate::doors::Names;

    /// Doors on a service with as many components as are many here.
    async fn doors() -> Doors {
        let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
        for number in 0..=FEW {
            let check = AnyCheck::from_fn(async || Outcome::pass());
            checker.register(Component::new(format!("part-{number}"), check)).unwrap();
        }
        tokio::spawn(engine.run(std::future::pending()));
        tokio::time::sleep(Duration::from_secs(3)).await; // pace: on paused time
        let (shutdown, _sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
        Doors::new(checker, shutdown, Access::loopback_only(), Names::Shown, Registry::default())
    }

    async fn ask(doors: &Doors, path: &str) -> Response {
        doors.public().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn get(doors: &Doors, path: &str) -> (u16, String) {
        let response = ask(doors, path).await;
        let code = response.status().as_u16();
        (code, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_used_again_for_a_moment_while_the_verdict_holds() {
        let doors = doors().await;
        let checker = &doors.inner.checker;
        for path in ["/health/ready", "/health?format=spring", "/v1/health", "/health.json", "/readyz?verbose"] {
            let (code, first) = get(&doors, path).await;
            assert_eq!(code, 200, "{path}");
            // Nobody waits for it, so that it comes between two answers that are a moment apart.
            let late = AnyCheck::from_fn(std::future::pending::<Outcome>);
            checker.register(Component::new("late", late).optional()).unwrap();
            tokio::time::sleep(REUSED_FOR / 4).await; // pace: on paused time
            assert_eq!(get(&doors, path).await, (200, first.clone()), "{path}");
            tokio::time::sleep(REUSED_FOR).await; // pace: on paused time
            let (code, then) = get(&doors, path).await;
            assert!(code == 200 && then.contains("late") && !first.contains("late"), "{path}: {then}");
            checker.unregister("late");
            tokio::time::sleep(REUSED_FOR * 2).await; // pace: on paused time
        }
        assert_eq!(get(&doors, "/health/ready").await.0, 200);
        checker.begin_draining();
        let (code, body) = get(&doors, "/health/ready").await;
        assert!(code == 503 && body.contains("draining"), "a verdict is never old: {body}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_room_a_probe_has_its_code_and_a_word_and_everything_else_is_busy() {
        let doors = doors().await;
        let places = Arc::clone(&doors.inner.large.for_the_public);
        let all = places.available_permits();
        let taken = places.acquire_many_owned(u32::try_from(all).unwrap()).await.unwrap();
        for path in ["/health/ready", "/health?format=spring", "/health.json", "/readyz?verbose"] {
            assert_eq!(get(&doors, path).await, (200, "healthy".to_owned()), "{path}");
        }
        assert_eq!(get(&doors, "/readyz").await, (200, "ok".to_owned()));
        drop(taken);
        let operators = Arc::clone(&doors.inner.large.for_operators);
        let _taken = operators.acquire_many_owned(u32::try_from(FOR_OPERATORS).unwrap()).await.unwrap();
        let refused = doors.large(Request::new(()).into_parts().0, |_, _| Response::default()).await;
        assert!(refused.is_ok(), "the public has places of its own");
        let mut request = Request::get("/health/detailed").header("host", "127.0.0.1").body(Body::empty()).unwrap();
        let (bound, peer) = ("127.0.0.1:80".parse().unwrap(), "127.0.0.1:5000".parse().unwrap());
        request.extensions_mut().insert(crate::server::Arrival { bound, peer });
        let refused = doors.admin().oneshot(request).await.unwrap();
        assert_eq!(refused.status(), 503);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_its_place_until_its_reader_has_taken_it() {
        let doors = doors().await;
        let free = || doors.inner.large.for_the_public.available_permits();
        let (before, reader) = (free(), ask(&doors, "/readyz?verbose&exclude=one").await);
        assert_eq!(free(), before - 1);
        drop(reader);
        assert_eq!(free(), before - 1, "kept to be used again");
        doors.inner.large.reused.iter().for_each(|slot| slot.store(None));
        assert_eq!(free(), before);
    }
}
