//! The incoming half of lane 0: subscriptions of a connection, messages to the receiver, and
//! acknowledgements after the commit.
//!
//! It judges no message: the receiver makes deliveries of them, and the spine checks those.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::former_filters::FormerFilters;
use super::line_budget::{LineBudget, warn_within};
use crate::broker::error::BrokerError;
use crate::broker::remote::connection::RemoteConnection;
use crate::domain::message::AckToken;
use crate::lifecycle::outage_log::OutageLog;
use crate::link::explain::codes::of_code;
use crate::link::explain::{CodePacket, LinkExplanation};
use crate::link::receiver::LinkReceiver;
use crate::link::settings::LinkSettings;
use crate::telemetry::links::LinkMetrics;

/// Messages are received at QoS 1: they are acknowledged after the commit.
const QOS: u8 = 1;

/// Codes from this one on refuse a filter.
const REFUSED: u8 = 0x80;

/// Refused filters are subscribed to again after this time.
const RETRY: std::time::Duration = std::time::Duration::from_mins(1);

/// The same refusal is logged again after this time.
const REMINDER: std::time::Duration = std::time::Duration::from_hours(1);

/// Time between two updates of the receiver.
const UPDATE: std::time::Duration = std::time::Duration::from_secs(2);

/// What lane 0 needs to receive.
#[derive(Debug)]
pub(super) struct LaneReceiving {
    pub(super) receiver: LinkReceiver,
    /// Tokens of committed messages.
    pub(super) acks: mpsc::Receiver<Vec<AckToken>>,
    /// Whether a connection of this process has had a session.
    had_session: bool,
    /// SUBSCRIBE packets without an answer: identifier and filters.
    open: Vec<(u16, Vec<String>)>,
    /// Filters of earlier settings, which a kept session still has.
    former: Arc<FormerFilters>,
    /// UNSUBSCRIBE packets without an answer.
    unsubscribing: Vec<u16>,
    /// Filters that the other broker has refused.
    refused: Vec<(String, u8)>,
    retry_at: Option<Instant>,
    update_at: Instant,
    /// Lines about sessions.
    lines: LineBudget,
    /// Refused filters: they are subscribed to again every minute.
    refusals: OutageLog,
}

// === impl LaneReceiving ===

impl LaneReceiving {
    pub(super) fn new(
        receiver: LinkReceiver,
        acks: mpsc::Receiver<Vec<AckToken>>,
        former: Arc<FormerFilters>,
    ) -> Self {
        Self {
            receiver,
            acks,
            former,
            unsubscribing: Vec::new(),
            had_session: false,
            open: Vec::new(),
            refused: Vec::new(),
            retry_at: None,
            update_at: Instant::now(),
            lines: LineBudget::default(),
            refusals: OutageLog::reminding_every(REMINDER),
        }
    }

    /// Begins a connection: subscribes to all filters, and unsubscribes from those of earlier settings.
    pub(super) fn connected(
        &mut self,
        connection: &mut RemoteConnection,
        settings: &LinkSettings,
        metrics: &LinkMetrics,
    ) -> Result<(), BrokerError> {
        let is_kept = connection.granted().session_present;
        if std::mem::replace(&mut self.had_session, true) && !is_kept {
            let link = &settings.name;
            metrics.sessions_lost.with_label_values(&[link.as_str()]).inc();
            let text = format!(
                "the other broker has lost the session of the link {link}: messages of it may be lost; \
                 Sluice subscribes again; check how long and how many messages it keeps"
            );
            warn_within(&mut self.lines, link, &text, "a session is lost");
        }
        self.receiver.connected(is_kept);
        self.refused.clear();
        self.open.clear();
        if is_kept {
            self.unsubscribe(connection, settings)?;
        } else {
            self.former.unsubscribed();
        }
        let filters = self.receiver.filters();
        self.subscribe(connection, settings, &filters)
    }

    /// Subscribes again to what was refused, if that is due, and updates the receiver.
    pub(super) fn run_timers(
        &mut self,
        connection: &mut RemoteConnection,
        settings: &LinkSettings,
        now: Instant,
    ) -> Result<(), BrokerError> {
        if self.update_at <= now {
            self.update_at = now + UPDATE;
            self.receiver.update();
        }
        if self.retry_at.is_none_or(|at| now < at) {
            return Ok(());
        }
        self.retry_at = None;
        let filters: Vec<String> = self.refused.drain(..).map(|(filter, _)| filter).collect();
        self.subscribe(connection, settings, &filters)
    }

    /// When a timer is due.
    pub(super) fn next_timer(&self) -> Instant {
        self.retry_at.map_or(self.update_at, |at| at.min(self.update_at))
    }

    /// Records a SUBACK. Returns the explanation of the first refusal in it.
    pub(super) fn granted(
        &mut self,
        packet_id: u16,
        codes: &[u8],
        settings: &LinkSettings,
        metrics: &LinkMetrics,
    ) -> Option<LinkExplanation> {
        let place = self.open.iter().position(|(open, _)| *open == packet_id)?;
        let (_, filters) = self.open.swap_remove(place);
        let mut first = None;
        for (filter, code) in filters.into_iter().zip(codes).filter(|(_, code)| **code >= REFUSED) {
            let shown = format!("0x{code:02X}");
            let labels = [settings.name.as_str(), CodePacket::SubAck.label(), &shown];
            metrics.refusals.with_label_values(&labels).inc();
            first
                .get_or_insert_with(|| of_code(settings, CodePacket::SubAck, *code, Some(&filter)));
            self.refused.push((filter, *code));
            self.retry_at = Some(Instant::now() + RETRY);
        }
        if self.is_complete() {
            // A later refusal is a new one.
            let _nothing_to_log = self.refusals.worked(Instant::now().into_std());
        }
        first
    }

    /// Warns of refused filters: once for each reason, and every hour.
    pub(super) fn warn_of_refusal(&mut self, explained: &LinkExplanation, settings: &LinkSettings) {
        let now = Instant::now().into_std();
        if let Some(suppressed) = self.refusals.failed(&explained.to_string(), now) {
            tracing::warn!(
                link = %settings.name,
                suppressed,
                "{explained}; Sluice subscribes again in a minute; {}",
                explained.advice
            );
        }
    }

    /// Records an UNSUBACK.
    pub(super) fn unsubscribed(&mut self, packet_id: u16, codes: &[u8], settings: &LinkSettings) {
        let link = &settings.name;
        if let Some(code) = codes.iter().find(|code| **code >= REFUSED) {
            let text = format!(
                "the other broker does not end a subscription that the links file no longer has (code \
                 0x{code:02X}): its messages are quarantined; Sluice unsubscribes again at the next \
                 connection; allow it there, or change link.{link}.client_id"
            );
            return warn_within(&mut self.lines, link, &text, "UNSUBSCRIBE is refused");
        }
        self.unsubscribing.retain(|open| *open != packet_id);
        if self.unsubscribing.is_empty() {
            self.former.unsubscribed();
        }
    }

    /// The explanation of a refused filter, while there is one.
    pub(super) fn refusal(&self, settings: &LinkSettings) -> Option<LinkExplanation> {
        let (filter, code) = self.refused.first()?;
        Some(of_code(settings, CodePacket::SubAck, *code, Some(filter)))
    }

    /// Whether a SUBSCRIBE has no answer.
    pub(super) fn is_subscribing(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether every filter is answered and granted.
    pub(super) fn is_complete(&self) -> bool {
        self.open.is_empty() && self.refused.is_empty()
    }

    /// Buffers acknowledgements of committed messages.
    pub(super) fn acknowledge(
        &mut self,
        connection: &mut RemoteConnection,
        mut tokens: Vec<AckToken>,
    ) {
        tokens.retain(|token| connection.acknowledge(token));
        self.receiver.acknowledged(&tokens);
    }

    fn unsubscribe(
        &mut self,
        connection: &mut RemoteConnection,
        settings: &LinkSettings,
    ) -> Result<(), BrokerError> {
        self.unsubscribing.clear();
        let filters = self.former.left();
        for filters in filters.chunks(settings.limits.filters_per_subscribe.max(1)) {
            tracing::info!(
                link = %settings.name,
                ?filters,
                "the link {} unsubscribes from filters that the links file no longer has",
                settings.name
            );
            self.unsubscribing.push(connection.unsubscribe(filters)?);
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        connection: &mut RemoteConnection,
        settings: &LinkSettings,
        filters: &[String],
    ) -> Result<(), BrokerError> {
        for filters in filters.chunks(settings.limits.filters_per_subscribe.max(1)) {
            let wanted: Vec<(&str, u8)> =
                filters.iter().map(|filter| (filter.as_str(), QOS)).collect();
            let packet_id = connection.subscribe(&wanted)?;
            self.open.push((packet_id, filters.to_vec()));
        }
        Ok(())
    }
}
