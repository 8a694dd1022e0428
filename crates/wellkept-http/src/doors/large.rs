//! Answers whose work and size grow with the number of components. With few components they are written on the spot;
//! with many, aside, a few at a time, and one writing serves all who ask within a moment.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wellkept_health::wire::{Sight, Subject};
use wellkept_health::{Checker, Lifecycle, Origins, Readiness, Status};

use super::aside::aside;
use super::asked::Asked;
use super::formats::Format;
use super::room::{Held, Room};
use super::{Doors, TEXT, answer, so_or_503};
use crate::error::ApiError;
use crate::server::Arrival;

/// With so many components an answer is written in some tens of microseconds.
const FEW: usize = if cfg!(test) { 2 } else { 256 };
/// How long an answer to the public is used again. What it says of the service as a whole is never older than now.
const REUSED_FOR: Duration = Duration::from_millis(100);
/// How many different answers are used again at the same time.
const REUSED: usize = 16;
/// How many are written at the same time.
const WRITERS: usize = 2;
/// How long a request waits for those before it, and then for its own answer. Together less than a probe waits:
/// Kubernetes' do for 1 s by default.
const PATIENCE: Duration = Duration::from_millis(300);
/// How much room there is in memory, in MiB: for answers to the public, for those to operators, for pages of metrics.
const FOR_THE_PUBLIC: u32 = 32;
const FOR_OPERATORS: u32 = 64;
const FOR_PAGES: u32 = 64;

/// The large answers of one [`Doors`]: those to be used again, and room for them.
#[derive(Debug)]
pub(super) struct LargeAnswers {
    reused: [ArcSwapOption<Written>; REUSED],
    writers: Arc<Semaphore>,
    for_the_public: Room,
    for_operators: Room,
    for_pages: Room,
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
    body: Held,
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

impl LargeAnswers {
    pub(super) fn new() -> Self {
        Self {
            reused: Default::default(),
            writers: Arc::new(Semaphore::new(WRITERS)),
            for_the_public: Room::of_mebibytes(FOR_THE_PUBLIC),
            for_operators: Room::of_mebibytes(FOR_OPERATORS),
            for_pages: Room::of_mebibytes(FOR_PAGES),
        }
    }
}

impl LargeAnswers {
    /// Room for a page of metrics, if there is any.
    pub(super) fn hold_page(&self, body: Bytes) -> Option<Held> {
        self.for_pages.hold(body)
    }

    /// Such a page, for one of its readers.
    pub(super) fn page_for(&self, page: &Held, arrival: Option<&Arrival>) -> Bytes {
        self.for_pages.body_for(page, arrival)
    }
}

impl Doors {
    /// An answer on a subject. When too many want large ones it shows no component, and says where it comes from to
    /// nobody: a probe's code must not tell of how busy the doors are.
    pub(super) async fn on_subject(
        &self,
        asked: Asked,
        subject: Subject,
        write: impl FnOnce(&Self, &Asked, &Subject) -> Response + Clone + Send + 'static,
    ) -> Response {
        let (whole, of_whole) = (write.clone(), subject.clone());
        let whole = move |doors: &Self, asked: &Asked| {
            let answer = whole(doors, asked, &of_whole);
            doors.tell(asked, &of_whole, answer)
        };
        match (self.large(&asked, whole).await, subject) {
            (Ok(answer), _) => answer,
            // To add up a group is what takes long.
            (Err(_), Subject::Named(group)) => {
                let checker = &self.inner.checker;
                let status = self.inner.groups.recent(checker).groups.get(group.as_str()).copied();
                let status = status.unwrap_or(Status::Unknown);
                let good = status.is_ready() && checker.lifecycle() != Lifecycle::Draining;
                answer(so_or_503(good), TEXT, status.as_str())
            }
            (Err(_), subject) => write(self, &asked.in_brief(), &subject),
        }
    }

    /// An answer that may be large. Fails as [`ApiError::Busy`] when too many want one, and when it takes too long.
    pub(super) async fn large(
        &self,
        asked: &Asked,
        write: impl FnOnce(&Self, &Asked) -> Response + Send + 'static,
    ) -> Result<Response, ApiError> {
        if self.has_few_components() {
            return Ok(write(self, asked));
        }
        let question = Question::of(asked);
        if let Some(written) = self.written(&question, asked) {
            return Ok(written);
        }
        let writers = Arc::clone(&self.inner.large.writers);
        let writer =
            timeout(PATIENCE, writers.acquire_owned()).await.ok().and_then(Result::ok).ok_or(ApiError::Busy)?;
        // Whoever was first may have asked the same.
        if let Some(written) = self.written(&question, asked) {
            return Ok(written);
        }
        let (doors, asked) = (self.clone(), asked.clone());
        let answered = aside(move || {
            let before = Verdict::of(&doors.inner.checker);
            let answer = doors.keep(write(&doors, &asked), question, before, &asked);
            // Kept until here also when nobody waits any more: what goes on is what counts.
            drop(writer);
            answer
        });
        timeout(PATIENCE, answered).await.unwrap_or(Err(ApiError::Busy))?
    }

    /// Whether answers are written on the spot.
    pub(super) fn has_few_components(&self) -> bool {
        self.inner.checker.snapshot().components().len() <= FEW
    }

    /// Gives an answer its room, and keeps it for others if it still holds.
    fn keep(&self, answer: Response, question: Question, before: Verdict, asked: &Asked) -> Result<Response, ApiError> {
        let LargeAnswers { for_the_public, for_operators, .. } = &self.inner.large;
        let arrival = asked.request.extensions.get();
        let (parts, body) = answer.into_parts();
        let body = now(to_bytes(body, usize::MAX)).and_then(Result::ok).ok_or(ApiError::Internal)?;
        // Operators ask seldom, and what they read is larger.
        if asked.sight == Sight::Details {
            let body = for_operators.hold(body).ok_or(ApiError::Busy)?;
            return Ok(Response::from_parts(parts, for_operators.body_for(&body, arrival).into()));
        }
        let body = for_the_public.hold(body).ok_or_else(|| {
            self.inner.large.forget();
            ApiError::Busy
        })?;
        let (at, verdict) = (self.inner.checker.clock().boot(), Verdict::of(&self.inner.checker));
        if verdict == before {
            let (status, headers, body) = (parts.status, parts.headers.clone(), body.clone());
            let slot = self.inner.large.slot(&question);
            slot.store(Some(Arc::new(Written { question, verdict, at, status, headers, body })));
        }
        Ok(Response::from_parts(parts, for_the_public.body_for(&body, arrival).into()))
    }

    /// What was written for this question a moment ago, if it still holds.
    fn written(&self, question: &Question, asked: &Asked) -> Option<Response> {
        let checker = &self.inner.checker;
        let written = self.inner.large.slot(question).load_full()?;
        let age = checker.clock().boot().saturating_sub(written.at);
        if written.question != *question || age >= REUSED_FOR || written.verdict != Verdict::of(checker) {
            return None;
        }
        let body = self.inner.large.for_the_public.body_for(&written.body, asked.request.extensions.get());
        let mut response = Response::new(Body::from(body));
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

    /// Makes room: what is kept here is read by nobody, most likely.
    fn forget(&self) {
        self.reused.iter().for_each(|slot| slot.store(None));
    }
}

impl Question {
    fn of(asked: &Asked) -> Self {
        Self {
            uri: asked.request.uri.clone(),
            format: asked.format().ok(),
            sight: asked.sight,
            asker: asked.request.headers.get(Origins::ASKER).cloned(),
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

/// What is ready at once.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests;
