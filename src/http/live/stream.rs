//! One stream of decisions: its events, in the order in which they are sent.
//!
//! Every heartbeat authenticates the sender again, so a logout, a removed operator and a new role end
//! the stream within seconds. While Postgres does not answer, a stream that was authenticated lately
//! continues.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::extract::connect_info::ConnectInfo;
use axum::http::request::Parts;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::{LiveDesk, STREAM_LIFETIME};
use crate::clock;
use crate::http::api::auth::acting_now;
use crate::http::api::identity::Acting;
use crate::http::api::mask::sees_payloads;
use crate::http::api::problem::{Problem, ProblemKind};
use crate::http::api::state::Api;
use crate::http::listener::limits::Peer;
use crate::http::views::live::{
    DroppedView, EndView, HeartbeatView, LiveLineView, OpenedView, SamplingView, TroublesView,
    trouble_texts,
};
use crate::ingest::live_feed::{LINES_PER_SECOND, LiveCounts, LiveListener};

/// The interval of heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often a stream says what it left out, and what does not work.
const TICK: Duration = Duration::from_secs(1);

/// How long a stream continues after its sender was last authenticated, while Postgres does not
/// answer.
const UNCONFIRMED_MAX: Duration = Duration::from_mins(15);

/// The request that opened a stream, as its transport received it over HTTP.
pub(crate) struct StreamRequest(Parts);

/// A stream of decisions.
pub(crate) struct LiveStream {
    api: Api,
    desk: LiveDesk,
    request: StreamRequest,
    acting: Acting,
    listener: LiveListener,
    opened: Option<OpenedView>,
    is_over: bool,
    ends_at: Instant,
    next_beat: Instant,
    next_tick: Instant,
    confirmed_at: Instant,
    /// What the last tick has counted.
    counted: LiveCounts,
    was_sampled: bool,
    sent: u64,
    troubles: BTreeMap<&'static str, String>,
    _place: OwnedSemaphorePermit,
}

/// What a stream waits for.
enum LiveTurn {
    Stop,
    EndOfLife,
    Beat,
    Tick,
    Lines,
}

// === impl StreamRequest ===

impl FromRequestParts<Api> for StreamRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        if parts.extensions.get::<ConnectInfo<Peer>>().is_some() {
            return Ok(Self(parts.clone()));
        }
        let detail = "a stream of decisions exists over HTTP only: GET /api/v1/live/recent lists the recent ones";
        Err(Problem::new(ProblemKind::BadRequest, detail))
    }
}

// === impl LiveStream ===

impl LiveStream {
    /// A stream of what the listener gets.
    pub(crate) fn new(
        api: Api,
        desk: LiveDesk,
        request: StreamRequest,
        listener: LiveListener,
        place: OwnedSemaphorePermit,
        search: String,
    ) -> Self {
        let (now, acting) = (Instant::now(), api.acting.clone());
        let opened = OpenedView {
            at: clock::now().to_utc(),
            search,
            tenant: acting.tenant.as_ref().map(ToString::to_string),
            moment: "decision",
            lines_per_second: LINES_PER_SECOND,
            payloads: sees_payloads(&api, &acting),
        };
        Self {
            api,
            desk,
            request,
            acting,
            listener,
            opened: Some(opened),
            is_over: false,
            ends_at: now + STREAM_LIFETIME,
            next_beat: now + HEARTBEAT,
            next_tick: now + TICK,
            confirmed_at: now,
            counted: LiveCounts::default(),
            was_sampled: false,
            sent: 0,
            troubles: BTreeMap::new(),
            _place: place,
        }
    }

    /// The next events, once there are some; `None` after the end.
    pub(super) async fn next_chunk(&mut self) -> Option<Bytes> {
        if let Some(opened) = self.opened.take() {
            let mut events = Events::default();
            events.add("open", &opened);
            self.add_troubles(&mut events);
            return Some(events.into());
        }
        while !self.is_over {
            let mut events = Events::default();
            match self.next_turn().await {
                LiveTurn::Stop => self.end(&mut events, "stopping", "the daemon stops"),
                LiveTurn::EndOfLife => {
                    self.end(&mut events, "lifetime", "a stream lasts one hour: open it again");
                }
                LiveTurn::Beat => self.add_heartbeat(&mut events).await,
                LiveTurn::Tick => self.add_tick(&mut events),
                LiveTurn::Lines => self.add_lines(&mut events),
            }
            if !events.0.is_empty() {
                return Some(events.into());
            }
        }
        None
    }

    async fn next_turn(&self) -> LiveTurn {
        tokio::select! {
            biased;
            () = self.desk.stop.cancelled() => LiveTurn::Stop,
            () = sleep_until(self.ends_at) => LiveTurn::EndOfLife,
            () = sleep_until(self.next_beat) => LiveTurn::Beat,
            () = sleep_until(self.next_tick) => LiveTurn::Tick,
            () = self.listener.arrived() => LiveTurn::Lines,
        }
    }

    fn add_lines(&mut self, events: &mut Events) {
        let shows_payload = sees_payloads(&self.api, &self.acting);
        let lines = self.listener.take();
        let count = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        for line in lines {
            events.add("decision", &LiveLineView::of(line, shows_payload));
        }
        self.sent += count;
        self.desk.metrics.sent.inc_by(count);
    }

    /// Says what was left out since the last tick, and what has begun or ceased to work.
    fn add_tick(&mut self, events: &mut Events) {
        self.next_tick = Instant::now() + TICK;
        let (counts, before) = (self.listener.counts(), self.counted);
        let matched = counts.matched - before.matched;
        let shown = counts.shown - before.shown;
        let is_sampled = shown < matched;
        if is_sampled || self.was_sampled {
            events.add("sampling", &SamplingView::of(matched, shown));
        }
        if counts.dropped > before.dropped {
            events.add("dropped", &DroppedView { lines: counts.dropped - before.dropped });
        }
        (self.counted, self.was_sampled) = (counts, is_sampled);
        self.add_troubles(events);
    }

    fn add_troubles(&mut self, events: &mut Events) {
        let troubles = self.api.readiness.troubles();
        if troubles != self.troubles {
            events.add("troubles", &TroublesView { troubles: trouble_texts(&troubles) });
            self.troubles = troubles;
        }
    }

    /// Authenticates the sender again, and says that the stream works.
    async fn add_heartbeat(&mut self, events: &mut Events) {
        match acting_now(&self.api, &self.request.0).await {
            Ok(acting) if acting == self.acting => self.confirmed_at = Instant::now(),
            Ok(_) => {
                let why = "the role or the tenant of the sender has changed: open the stream again";
                return self.end(events, "access", why);
            }
            Err(problem) if problem.kind == ProblemKind::Unavailable => {
                if self.confirmed_at.elapsed() > UNCONFIRMED_MAX {
                    let why = "Postgres does not answer, and the sender cannot be authenticated";
                    return self.end(events, "access", why);
                }
            }
            Err(_) => {
                let why =
                    "the session or the token of the sender is no longer valid: sign in again";
                return self.end(events, "access", why);
            }
        }
        self.next_beat = Instant::now() + HEARTBEAT;
        let LiveCounts { matched, dropped, .. } = self.listener.counts();
        let at = clock::now().to_utc();
        events.add("heartbeat", &HeartbeatView { at, matched, sent: self.sent, dropped });
    }

    fn end(&mut self, events: &mut Events, reason: &str, detail: &str) {
        self.is_over = true;
        events.add("end", &EndView { reason: reason.to_owned(), detail: detail.to_owned() });
    }
}

/// The text of some events.
#[derive(Debug, Default)]
struct Events(Vec<u8>);

// === impl Events ===

impl Events {
    /// JSON has no line break of its own, so its event has one line of data.
    fn add(&mut self, name: &str, data: &impl Serialize) {
        self.0.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
        if let Err(error) = serde_json::to_writer(&mut self.0, data) {
            tracing::error!(%error, name, "encoding an event of the live tail failed; the reader gets an empty event");
        }
        self.0.extend_from_slice(b"\n\n");
    }
}

impl From<Events> for Bytes {
    fn from(events: Events) -> Self {
        events.0.into()
    }
}
