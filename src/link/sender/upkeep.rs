//! The upkeep of an outbox: what waits is measured, what is too old becomes a dead letter, and a gap is
//! refilled when there is room.
//!
//! Each run is short, so that the turns of the lanes go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::board::LinkBoard;
use super::context::SenderContext;
use super::line_budget::{LineBudget, warn_within};
use super::wiring::LinkWires;
use crate::domain::forwarding::LinkRoutes;
use crate::domain::link::LinkName;
use crate::domain::outbox::DeadLetterCause;
use crate::domain::ports::Outage;
use crate::domain::time::Clock;
use crate::link::settings::LinkSettings;
use crate::store::links::backlog::Backlog;
use crate::store::links::gap::RefillStep;
use crate::store::links::outbox::LinkOutbox;
use crate::telemetry::links::LinkMetrics;

/// Time between two measurements.
const PERIOD: Duration = Duration::from_secs(1);

/// Time between two looks for old messages.
const EXPIRY_PERIOD: Duration = Duration::from_secs(10);

/// Time between two tries of a refill whose smallest step takes too long.
const SLOW_REFILL_PAUSE: Duration = Duration::from_secs(2);

/// Time between two steps of a refill: the lanes have their turns, and batches commit.
const REFILL_PAUSE: Duration = Duration::from_millis(20);

/// The upkeep of one link.
pub(super) struct Upkeep {
    link: LinkName,
    lanes: u16,
    max_age: Duration,
    max_bytes: u64,
    metrics: LinkMetrics,
    board: Arc<LinkBoard>,
    wires: LinkWires,
    clock: Clock,
    due: Instant,
    measure_at: Instant,
    expire_at: Instant,
    refill_at: Instant,
    backlog: Backlog,
    is_refilling: bool,
    /// Whether the log has that a refill takes too long.
    is_slow: bool,
    /// Messages of gaps that were lost before the last measurement.
    lost: Option<u64>,
    lines: LineBudget,
}

// === impl Upkeep ===

impl Upkeep {
    pub(super) fn new(
        settings: &LinkSettings,
        context: &SenderContext,
        board: &Arc<LinkBoard>,
    ) -> Self {
        let now = Instant::now();
        Self {
            link: settings.name.clone(),
            lanes: settings.lanes.max(1),
            max_age: settings.backlog_max_age,
            max_bytes: settings.backlog_max_bytes,
            metrics: context.metrics.clone(),
            board: Arc::clone(board),
            wires: context.wires.clone(),
            clock: context.clock,
            due: now,
            measure_at: now,
            expire_at: now,
            refill_at: now,
            backlog: Backlog::default(),
            is_refilling: false,
            is_slow: false,
            lost: None,
            lines: LineBudget::default(),
        }
    }

    /// When it is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Runs; returns lane and id of the messages that are too old.
    pub(super) async fn run(
        &mut self,
        outbox: &mut LinkOutbox,
        routes: &LinkRoutes,
    ) -> Result<Vec<(i16, i64)>, Outage> {
        let now = Instant::now();
        if now >= self.measure_at {
            self.measure_at = now + PERIOD;
            self.backlog = outbox.backlog(self.lanes).await?;
            self.show();
        }
        let mut expired = Vec::new();
        if now >= self.expire_at {
            self.expire_at = now + EXPIRY_PERIOD;
            expired = self.expire(outbox).await?;
            self.adopt(outbox, routes).await?;
        }
        self.refill(outbox, routes).await?;
        self.due = if self.is_refilling {
            Instant::now() + REFILL_PAUSE
        } else {
            self.measure_at.min(self.expire_at)
        };
        Ok(expired)
    }

    async fn expire(&mut self, outbox: &mut LinkOutbox) -> Result<Vec<(i16, i64)>, Outage> {
        let age = i64::try_from(self.max_age.as_secs()).unwrap_or(i64::MAX);
        let older_than = (self.clock)().plus_seconds(-age);
        let expired = outbox.expire(older_than, self.lanes).await?;
        if !expired.is_empty() {
            let link = self.link.as_str();
            let labels = [link, DeadLetterCause::Expired.label()];
            let number = u64::try_from(expired.len()).unwrap_or(u64::MAX);
            self.metrics.dead_lettered.with_label_values(&labels).inc_by(number);
            let text = format!(
                "{number} messages of the link {link} waited longer than backlog_max_age; Sluice moves them \
                 to the dead letters"
            );
            warn_within(&mut self.lines, &self.link, &text, "messages are too old");
            // There may be more.
            self.expire_at = Instant::now();
        }
        Ok(expired)
    }

    /// A batch that another replica prepared with fewer or more lanes may have used one that there is
    /// not: its messages move to the lanes of their devices.
    async fn adopt(&mut self, outbox: &mut LinkOutbox, routes: &LinkRoutes) -> Result<(), Outage> {
        if outbox.adopt_lanes(routes).await? > 0 {
            self.wires.ring_all(&self.link);
        }
        Ok(())
    }

    /// Reads back one step of a gap, while the backlog is below half of its bound.
    async fn refill(&mut self, outbox: &mut LinkOutbox, routes: &LinkRoutes) -> Result<(), Outage> {
        let Some(since) = self.backlog.gap_since else {
            self.is_refilling = false;
            return Ok(());
        };
        if self.backlog.bytes >= self.max_bytes / 2 || Instant::now() < self.refill_at {
            self.is_refilling = false;
            return Ok(());
        }
        let link = self.link.as_str();
        match outbox.refill(routes).await? {
            RefillStep::Queued(_) => {
                self.is_slow = false;
                if !std::mem::replace(&mut self.is_refilling, true) {
                    tracing::info!(
                        link,
                        %since,
                        "the backlog of the link {link} has room again; Sluice reads the messages of the gap \
                         from telemetry"
                    );
                }
                self.backlog = outbox.backlog(self.lanes).await?;
                self.wires.ring_all(&self.link);
            }
            RefillStep::Closed { queued, lost } => {
                self.is_refilling = false;
                self.backlog.gap_since = None;
                tracing::info!(link, queued, lost, "the gap of the link {link} has ended");
                self.wires.ring_all(&self.link);
            }
            RefillStep::Busy => self.is_refilling = true,
            RefillStep::TooSlow => self.wait_for_index(),
            RefillStep::NoGap | RefillStep::NoRoom => self.is_refilling = false,
        }
        Ok(())
    }

    /// Batches would wait too long for a step.
    fn wait_for_index(&mut self) {
        self.is_refilling = false;
        self.refill_at = Instant::now() + SLOW_REFILL_PAUSE;
        if !std::mem::replace(&mut self.is_slow, true) {
            let link = self.link.as_str();
            tracing::warn!(
                link,
                "reading the gap of the link {link} takes longer than ingest may wait: Postgres is slow, or a \
                 partition of telemetry has no index by received_at; retrying every 2 s; `sluice migrate` \
                 completes the indexes"
            );
        }
    }

    fn show(&mut self) {
        let (link, now) = (self.link.as_str(), (self.clock)());
        let Backlog { messages, bytes, oldest, gap_since, lost, .. } = self.backlog;
        let shown = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.backlog_messages.with_label_values(&[link]).set(shown(messages));
        self.metrics.backlog_bytes.with_label_values(&[link]).set(shown(bytes));
        let oldest = oldest.map_or(0.0, |oldest| now.seconds_since(oldest).max(0.0));
        self.metrics.oldest_seconds.with_label_values(&[link]).set(oldest);
        self.board.set_oldest(oldest);
        let gap = gap_since.map_or(0.0, |since| now.seconds_since(since).max(0.0));
        self.metrics.gap_seconds.with_label_values(&[link]).set(gap);
        // The table counts over all senders; the metric counts what this one has seen.
        let newly = lost.saturating_sub(self.lost.unwrap_or(lost));
        self.metrics.lost.with_label_values(&[link]).inc_by(newly);
        self.lost = Some(lost);
    }
}
