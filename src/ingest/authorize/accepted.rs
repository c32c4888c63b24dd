//! What becomes of an accepted message: the row of its type. And which messages of one connection
//! are deliveries of an earlier one.
//!
//! It decides nothing about the sender.

use uuid::Uuid;

use super::Authorizer;
use crate::domain::batch::Batch;
use crate::domain::message::{CommandAck, Delivery, Reading, ShadowReport, Site};
use crate::domain::ports::Directory;
use crate::ingest::grants::Grant;
use crate::ingest::parse::parsed::{Parsed, ParsedBody};

// === impl Authorizer ===

impl<D: Directory> Authorizer<D> {
    pub(super) fn accept(
        &mut self,
        batch: &mut Batch,
        origin: usize,
        delivery: &Delivery,
        parsed: Parsed,
        (grant, certificate): (&Grant, Option<Uuid>),
    ) {
        let device = grant.device.clone();
        let (time, received_at) = (parsed.time, delivery.received_at);
        let is_telemetry = matches!(parsed.body, ParsedBody::Telemetry { .. });
        self.sightings.record(&device, &grant.ticket, received_at, is_telemetry);
        match parsed.body {
            ParsedBody::Telemetry { seq, metrics, extra } => {
                let message_id = delivery.message_id();
                if parsed.time.is_none() && self.is_redelivery(delivery, message_id) {
                    batch.known_duplicates += 1;
                    return;
                }
                batch.readings.push(Reading {
                    origin,
                    device,
                    time: parsed.time.unwrap_or(received_at),
                    received_at,
                    site: grant.site().or(parsed.site.map(Site::Reported)),
                    msg_type: parsed.msg_type,
                    seq,
                    metrics,
                    extra,
                    message_id,
                    link: delivery.link().cloned(),
                    certificate,
                });
            }
            ParsedBody::Shadow { reported, version } => {
                let report = ShadowReport { origin, device, reported, version, time, received_at };
                batch.shadows.push(report);
            }
            ParsedBody::CommandAck { command_id, verdict, details } => {
                let ack =
                    CommandAck { origin, device, command_id, verdict, details, time, received_at };
                batch.command_acks.push(ack);
            }
        }
    }

    /// Whether this message is already in a batch; records it if not. Only for messages without a
    /// key in the unique index: refused ones, and those without a `ts`.
    pub(super) fn is_redelivery(&mut self, delivery: &Delivery, message_id: Uuid) -> bool {
        let Some(ack) = &delivery.ack else { return false };
        let packet = (ack.connection.link(), ack.packet_id);
        if delivery.redelivered && self.recent.contains(packet, message_id) {
            return true;
        }
        self.recent.insert(packet, message_id);
        false
    }
}
