//! The body of a response, to whose end its request is measured.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tracing::Span;
use wellkept_telemetry::correlation::Correlation;

use super::timing::Timing;

pin_project! {
    /// The body of a response, made within its request's correlation and span and measured to its end.
    #[derive(Debug)]
    pub struct MeasuredBody<B> {
        #[pin]
        body: B,
        correlation: Option<Correlation>,
        span: Span,
        timing: Option<Timing>,
        // How much is still to come, where the response says how long it is: who has that asks for no end.
        left: Option<u64>,
    }
}

impl<B: Body> MeasuredBody<B> {
    /// An answer to `HEAD` has no body, whatever the service has made.
    pub(super) fn new(
        body: B,
        correlation: Option<Correlation>,
        span: Span,
        timing: Option<Timing>,
        is_head: bool,
    ) -> Self {
        let left = body.size_hint().exact();
        let mut measured = Self { body, correlation, span, timing, left };
        if is_head || left == Some(0) || measured.body.is_end_stream() {
            finish(&mut measured.timing, &mut measured.span);
        }
        measured
    }
}

/// Counts the request, and closes its span.
fn finish(timing: &mut Option<Timing>, span: &mut Span) {
    if let Some(mut timing) = timing.take() {
        timing.finish();
        *span = Span::none();
    }
}

impl<B: Body> Body for MeasuredBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let entered = this.span.enter();
        let polled = match this.correlation {
            Some(correlation) => correlation.clone().in_scope(|| this.body.as_mut().poll_frame(context)),
            None => this.body.as_mut().poll_frame(context),
        };
        drop(entered);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                if let Some(timing) = this.timing {
                    timing.sent(bytes);
                }
                if let Some(left) = this.left {
                    *left = left.saturating_sub(bytes as u64);
                }
                if *this.left == Some(0) || this.body.is_end_stream() {
                    finish(this.timing, this.span);
                }
            }
            Poll::Ready(None) => finish(this.timing, this.span),
            // What breaks off has no end: it is dropped with the request.
            Poll::Pending | Poll::Ready(Some(Err(_))) => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
