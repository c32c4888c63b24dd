//! The loop of one connection of a lane, from CONNACK to its end: messages to the other broker, its
//! answers, turns at the outbox, and for lane 0 what comes in.
//!
//! It never connects. Nothing is sent before a turn at the outbox was answered on this connection:
//! that shows that this replica still has the lock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::answers;
use super::endings::{LastPacket, QUICK};
use super::lane::Lane;
use super::publishing::{self, Blocked};
use super::serving::{LaneConnection, ServedEnd};
use super::turn::TurnAnswer;
use crate::broker::error::BrokerError;
use crate::broker::remote::connection::RemoteConnection;
use crate::broker::remote::event::RemoteEvent;
use crate::domain::message::AckToken;
use crate::domain::time::Timestamp;

/// How long the messages in flight may take at the stop.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Something that happened.
enum Happening {
    Timer,
    Bell,
    HandedOver,
    Acks(Vec<AckToken>),
    /// `None`: the turn failed.
    Turn(Option<TurnAnswer>),
    Event(Box<Result<RemoteEvent, BrokerError>>),
}

// === impl LaneConnection ===

impl LaneConnection<'_> {
    /// Serves until the connection ends, or `stop`.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> ServedEnd {
        if let Err(error) = self.begin() {
            return self.failed(error);
        }
        loop {
            self.show_state();
            let paced = match self.work() {
                Ok(paced) => paced,
                Err(end) => return end,
            };
            if self.is_retired() {
                return ServedEnd::Retired;
            }
            let timer = self.next_timer(paced);
            let happened = tokio::select! {
                biased;
                () = stop.cancelled() => return ServedEnd::Stopped,
                happened = happening(self.lane, &mut self.connection, &mut self.turn) => happened,
                () = sleep_until(timer) => Happening::Timer,
            };
            if let Err(end) = self.take(happened) {
                return end;
            }
        }
    }

    fn take(&mut self, happened: Happening) -> Result<(), ServedEnd> {
        match happened {
            Happening::Timer => {
                let now = Instant::now();
                if now >= self.connected_at + QUICK {
                    self.note_works();
                }
                let Some(receiving) = &mut self.lane.receiving else { return Ok(()) };
                receiving
                    .run_timers(&mut self.connection, &self.context.settings, now)
                    .map_err(|error| self.failed(error))
            }
            Happening::Bell => {
                self.bell_rang();
                Ok(())
            }
            Happening::HandedOver => Ok(()),
            Happening::Acks(tokens) => {
                self.acknowledge(tokens);
                Ok(())
            }
            Happening::Turn(None) => Err(ServedEnd::OutboxGone),
            Happening::Turn(Some(answer)) => {
                self.turn = None;
                self.take_rows(answer);
                Ok(())
            }
            Happening::Event(event) => match *event {
                Ok(event) => {
                    self.take_event(event);
                    Ok(())
                }
                Err(error) => Err(self.failed(error)),
            },
        }
    }

    /// Subscribes, if the lane receives.
    fn begin(&mut self) -> Result<(), BrokerError> {
        let (settings, metrics) = (&self.context.settings, &self.context.metrics);
        if let Some(receiving) = &mut self.lane.receiving {
            receiving.connected(&mut self.connection, settings, metrics)?;
            self.last = LastPacket::Subscribe;
        }
        Ok(())
    }

    /// Sends what may be sent, and begins a turn if one is due. Returns when the pace allows the next
    /// message.
    fn work(&mut self) -> Result<Option<Instant>, ServedEnd> {
        let now = Instant::now();
        let mut paced = None;
        if self.may_send && !self.is_retiring(now) {
            match publishing::publish_ready(self, now) {
                Blocked::Paced(at) => paced = Some(at),
                Blocked::Window | Blocked::Empty | Blocked::Refused => {}
            }
        }
        let late = self.lane.refused.take_late((self.context.clock)());
        answers::refuse_late(self, late);
        self.begin_turn_if_due(now)?;
        Ok(paced)
    }

    fn take_event(&mut self, event: RemoteEvent) {
        match event {
            RemoteEvent::Answered { packet_id, code, reason } => {
                answers::take(self, packet_id, code, reason.as_deref());
            }
            RemoteEvent::Granted { packet_id, codes } => self.take_suback(packet_id, &codes),
            RemoteEvent::Unsubscribed { packet_id, codes } => {
                if let Some(receiving) = &mut self.lane.receiving {
                    receiving.unsubscribed(packet_id, &codes, &self.context.settings);
                }
            }
            RemoteEvent::Message(message) => {
                if let Some(receiving) = &mut self.lane.receiving {
                    receiving.receiver.take(message);
                }
            }
            RemoteEvent::Renewed => {
                let expires = self.context.login.token_expires(&self.context.settings);
                let seconds = expires.map_or(0.0, |at| at.seconds_since(Timestamp::default()));
                let link = self.context.settings.name.as_str();
                self.context.metrics.token_expires.with_label_values(&[link]).set(seconds);
                tracing::debug!(%link, "the other broker accepted the newer login token");
            }
        }
    }

    fn take_suback(&mut self, packet_id: u16, codes: &[u8]) {
        let (settings, metrics) = (&self.context.settings, &self.context.metrics);
        let Some(receiving) = &mut self.lane.receiving else { return };
        match receiving.granted(packet_id, codes, settings, metrics) {
            Some(explained) => receiving.warn_of_refusal(&explained, settings),
            None if receiving.is_complete() => self.note_works(),
            None => {}
        }
    }

    fn acknowledge(&mut self, tokens: Vec<AckToken>) {
        let Some(receiving) = &mut self.lane.receiving else { return };
        receiving.acknowledge(&mut self.connection, tokens);
        while let Ok(tokens) = receiving.acks.try_recv() {
            receiving.acknowledge(&mut self.connection, tokens);
        }
    }

    fn is_retired(&self) -> bool {
        self.is_retiring(Instant::now()) && self.lane.queue.in_flight().0 == 0
    }

    /// At the stop: waits for the answers to what is in flight, for a bounded time, and disconnects.
    pub(super) async fn wind_down(mut self) {
        let answered = async {
            while self.lane.queue.in_flight().0 > 0 {
                match self.connection.next().await {
                    Ok(RemoteEvent::Answered { packet_id, code, reason }) => {
                        answers::take(&mut self, packet_id, code, reason.as_deref());
                    }
                    Ok(_) => {}
                    Err(error) => {
                        return tracing::debug!(%error, "the link ended before its last message");
                    }
                }
            }
        };
        let _rest_is_sent_after_the_start = timeout(STOP_PATIENCE, answered).await;
        self.connection.close().await;
    }
}

/// Waits for what can happen besides timers. Cancel safe.
async fn happening(
    lane: &mut Lane,
    connection: &mut RemoteConnection,
    turn: &mut Option<oneshot::Receiver<TurnAnswer>>,
) -> Happening {
    let bell = Arc::clone(&lane.bell);
    let answered = async {
        match turn {
            Some(turn) => turn.await,
            None => std::future::pending().await,
        }
    };
    let Some(receiving) = &mut lane.receiving else {
        return tokio::select! {
            biased;
            answer = answered => Happening::Turn(answer.ok()),
            event = connection.next() => Happening::Event(Box::new(event)),
            () = bell.notified() => Happening::Bell,
        };
    };
    let may_read = receiving.receiver.has_room();
    let (receiver, acks) = (&mut receiving.receiver, &mut receiving.acks);
    let event = async {
        if may_read { connection.next().await } else { Err(connection.keep_alive().await) }
    };
    tokio::select! {
        biased;
        answer = answered => Happening::Turn(answer.ok()),
        Some(tokens) = acks.recv() => Happening::Acks(tokens),
        event = event => Happening::Event(Box::new(event)),
        // A closed spine means that the daemon stops.
        Ok(()) = receiver.hand_over() => Happening::HandedOver,
        () = bell.notified() => Happening::Bell,
    }
}
