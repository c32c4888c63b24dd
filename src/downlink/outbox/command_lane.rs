//! Commands: published in the order of each device, recorded after the broker's acceptance.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::{FRESH, publish_in_order};
use super::messages;
use super::refusals::LaneRefusals;
use crate::broker::exchange::Exchange;
use crate::domain::exchange::ExchangeOutcome;
use crate::domain::ports::Outage;
use crate::store::downlink::command_queue::{DueCommand, QueuePlace, SkippedDevices};
use crate::store::downlink::outbox::{CommandLimits, OutboxSession};
use crate::telemetry::downlink::DownlinkMetrics;

/// Acceptances that one statement records.
const CHUNK: usize = 200;

/// The broker's limit of a packet; found before the message is sent.
const TOO_LARGE: u8 = 0x95;
const OVER_LIMIT: &str = "the message is larger than the Maximum Packet Size of the broker";

/// Devices that get nothing more in this turn, and then pause: the broker refused a command with
/// the code, or another transaction has locked one.
type HeldDevices = HashMap<(String, String), Option<u8>>;

/// The state of the lane.
pub(super) struct CommandLane {
    limits: CommandLimits,
    place: QueuePlace,
    /// The same for the commands without an acknowledgement.
    again_from: QueuePlace,
    refusals: LaneRefusals<(String, String)>,
    /// Since when commands that may be published wait for the broker.
    waiting_since: Option<Instant>,
    /// How many of them the last look found.
    waiting: usize,
}

/// What a turn of a lane did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CommandLaneReport {
    /// Whether something was published.
    pub(super) published: bool,
    /// Whether another turn may find more.
    pub(super) has_more: bool,
    /// Whether the connection to the broker was lost, or its answers are missing.
    pub(super) is_cut: bool,
}

// === impl CommandLane ===

impl CommandLane {
    pub(super) fn new(limits: CommandLimits) -> Self {
        Self {
            limits,
            place: QueuePlace::default(),
            again_from: QueuePlace::default(),
            refusals: LaneRefusals::new(Instant::now()),
            waiting_since: None,
            waiting: 0,
        }
    }

    /// The bounds of a command's life.
    pub(super) fn limits(&self) -> &CommandLimits {
        &self.limits
    }

    /// Publishes the next due commands.
    pub(super) async fn publish_due(
        &mut self,
        session: &mut OutboxSession,
        exchange: &Exchange,
        metrics: &DownlinkMetrics,
    ) -> Result<CommandLaneReport, Outage> {
        if self.refusals.is_paused(Instant::now()) {
            return Ok(CommandLaneReport::default());
        }
        let skipped = self.skipped();
        let read_at = Instant::now();
        let due = session.due_commands(&self.limits, &skipped, &mut self.place).await?;
        let has_more = !due.is_empty() || !self.place.is_start();
        let report = self.publish(session, exchange, metrics, &due, read_at).await?;
        Ok(CommandLaneReport { has_more, ..report })
    }

    /// Publishes commands again that have no acknowledgement, to devices that were seen since.
    /// The second value is how long Postgres looked for them.
    pub(super) async fn publish_unanswered(
        &mut self,
        session: &mut OutboxSession,
        exchange: &Exchange,
        metrics: &DownlinkMetrics,
    ) -> Result<(CommandLaneReport, Duration), Outage> {
        let skipped = self.skipped();
        let read_at = Instant::now();
        let again = &mut self.again_from;
        let due = session.unanswered_commands(&self.limits, &skipped, again).await?;
        let took = read_at.elapsed();
        Ok((self.publish(session, exchange, metrics, &due, read_at).await?, took))
    }

    /// Notes that the broker is away while commands may be waiting.
    pub(super) fn note_waiting(&mut self, is_waiting: bool) {
        if is_waiting {
            self.waiting_since.get_or_insert_with(Instant::now);
        } else {
            self.waiting_since = None;
        }
    }

    /// For how many seconds commands that may be published have waited for the broker.
    pub(super) fn waiting_seconds(&self) -> f64 {
        self.waiting_since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }

    /// A sentence if the broker refuses commands.
    pub(super) fn complaint(&self) -> Option<String> {
        let (code, devices) = self.refusals.last()?;
        let waiting = self.waiting.max(devices);
        Some(format!(
            "at least {waiting} commands of {devices} devices wait, because the broker refuses \
             them with code 0x{code:02X}"
        ))
    }

    async fn publish(
        &mut self,
        session: &mut OutboxSession,
        exchange: &Exchange,
        metrics: &DownlinkMetrics,
        due: &[DueCommand],
        read_at: Instant,
    ) -> Result<CommandLaneReport, Outage> {
        let mut report = CommandLaneReport::default();
        let mut unpublished = 0;
        let mut held = HeldDevices::new();
        for chunk in due.chunks(CHUNK) {
            let chunk: Vec<&DueCommand> =
                chunk.iter().filter(|command| !held.contains_key(&key(command))).collect();
            let (commands, outgoing) = publishable(session, &chunk, &mut held).await?;
            let outcomes = publish_in_order(exchange, outgoing, read_at + FRESH).await;
            let mut accepted = Vec::with_capacity(commands.len());
            for (command, outcome) in commands.iter().zip(&outcomes) {
                match outcome {
                    Some(ExchangeOutcome::Accepted) => accepted.push(*command),
                    Some(ExchangeOutcome::Refused(TOO_LARGE)) => {
                        fail(session, command, OVER_LIMIT, &mut held).await?;
                    }
                    Some(ExchangeOutcome::Refused(code)) => {
                        held.insert(key(command), Some(*code));
                    }
                    Some(ExchangeOutcome::Unknown) | None => report.is_cut = true,
                }
            }
            unpublished += commands.len() - accepted.len();
            for command in session.record_published(&accepted).await? {
                held.entry(key(command)).or_insert(None);
            }
            report.published |= !accepted.is_empty();
            for command in accepted {
                if !held.contains_key(&key(command)) {
                    self.refusals.accepted(&key(command));
                }
                observe(metrics, command, read_at);
            }
            if report.is_cut {
                break;
            }
        }
        for (device, code) in held {
            match code {
                Some(code) => self.refusals.refused(device, code, Instant::now()),
                None => self.refusals.pause(device, Instant::now()),
            }
        }
        self.waiting = unpublished;
        let still_waits = report.is_cut || unpublished > 0 || self.refusals.last().is_some();
        self.note_waiting(still_waits);
        Ok(report)
    }

    fn skipped(&mut self) -> SkippedDevices {
        let mut skipped = SkippedDevices::default();
        for (tenant, device) in self.refusals.skipped(Instant::now()) {
            skipped.tenants.push(tenant.clone());
            skipped.devices.push(device.clone());
        }
        skipped
    }
}

// --- private helpers ---

/// The commands that have a message, with it; the others end as failed.
async fn publishable<'a>(
    session: &mut OutboxSession,
    commands: &[&'a DueCommand],
    held: &mut HeldDevices,
) -> Result<(Vec<&'a DueCommand>, Vec<crate::domain::exchange::OutgoingMessage>), Outage> {
    let (mut kept, mut outgoing) = (Vec::new(), Vec::new());
    for &command in commands {
        match messages::of_command(command) {
            Ok(message) => {
                kept.push(command);
                outgoing.push(message);
            }
            Err(why) => fail(session, command, &why.to_string(), held).await?,
        }
    }
    Ok((kept, outgoing))
}

/// Ends a command that can never be published. If another transaction has locked it, its device
/// waits.
async fn fail(
    session: &mut OutboxSession,
    command: &DueCommand,
    why: &str,
    held: &mut HeldDevices,
) -> Result<(), Outage> {
    if !session.record_failed(command, why).await? {
        held.entry(key(command)).or_insert(None);
    }
    Ok(())
}

fn key(command: &DueCommand) -> (String, String) {
    (command.tenant_id.clone(), command.device_id.clone())
}

/// Observes the first publication: Postgres' clock at the read, and the time since.
fn observe(metrics: &DownlinkMetrics, command: &DueCommand, read_at: Instant) {
    if command.attempts == 0 {
        let queued = (command.read_at - command.created_at).as_seconds_f64().max(0.0);
        metrics.command_delivery_seconds.observe(queued + read_at.elapsed().as_secs_f64());
    }
}
