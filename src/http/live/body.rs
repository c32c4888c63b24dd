//! The body of a response that is a stream of events (Server-Sent Events): each chunk is sent when it
//! is made, and the next one is made when the last one was taken.
//!
//! It makes no event.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::STREAM_LIFETIME;
use super::stream::LiveStream;
use crate::http::api::route::Answer;
use crate::http::listener::limits::EventStreamLifetime;

/// Asks nginx and its like to pass each event on at once.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// Makes the next chunk, and gives the stream back; no chunk: the stream has ended.
type Making = Pin<Box<dyn Future<Output = (LiveStream, Option<Bytes>)> + Send>>;

/// A response that is a stream of events.
pub(crate) struct EventStream(pub LiveStream);

struct EventBody {
    making: Option<Making>,
}

// === impl EventStream ===

impl Answer for EventStream {
    const STATUS: axum::http::StatusCode = axum::http::StatusCode::OK;
    const MEDIA_TYPE: &'static str = "text/event-stream";

    fn schema(_: &mut SchemaGenerator) -> Option<Schema> {
        Some(json_schema!({
            "type": "string",
            "description": "Server-Sent Events. `decision`: a LiveDecision. `sampling`: of how many decisions in the last second \
                a line was made. `dropped`: lines that were lost because the reader was too slow. `troubles`: components that do \
                not work. `heartbeat`: every 15 seconds. `end`: why the stream ends.",
        }))
    }
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        let body = Body::new(EventBody { making: Some(make(self.0)) });
        let headers = [(CONTENT_TYPE, Self::MEDIA_TYPE), (CACHE_CONTROL, "no-store"), UNBUFFERED];
        let mut response = (headers, body).into_response();
        response.extensions_mut().insert(EventStreamLifetime(STREAM_LIFETIME));
        response
    }
}

// === impl EventBody ===

impl hyper::body::Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(making) = &mut self.making else { return Poll::Ready(None) };
        let (stream, chunk) = ready!(making.as_mut().poll(context));
        self.making = chunk.is_some().then(|| make(stream));
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

// === private helpers ===

fn make(mut stream: LiveStream) -> Making {
    Box::pin(async move {
        let chunk = stream.next_chunk().await;
        (stream, chunk)
    })
}
