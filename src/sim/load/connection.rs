//! One connection of the simulated fleet: its devices publish in turn, at a rate, each message with
//! its own number.
//!
//! It does not reconnect: after a broken connection the simulation could not say what is missing,
//! so it ends.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::figures::SharedFigures;
use super::requests::DeviceRequests;
use crate::broker::error::BrokerError;
use crate::broker::tools::fast_publisher::{BrokerAnswer, FastPublisher, Packet, PublishOutcome};
use crate::clock;
use crate::domain::refusal::Reason;
use crate::sim::fleet::payload::{PayloadStamp, PayloadTemplate};
use crate::sim::fleet::payload_profile::PayloadRng;

/// Shortest wait between two rounds; timers are no finer.
const TICK: Duration = Duration::from_millis(1);

/// At full rate, PUBACKs are collected for this long and read at once: waking for each would cost
/// more than publishing.
const GATHER: Duration = Duration::from_millis(4);

/// Seconds of late messages that are caught up; older ones are never created.
const CATCH_UP: f64 = 1.0;

/// Messages between two reads of the clock.
const STAMP_EVERY: usize = 16;

/// Upper bound for the PUBACKs after the last message.
const ANSWER_PATIENCE: Duration = Duration::from_mins(1);

/// Upper bound for the responses after the last message.
const RESPONSE_PATIENCE: Duration = Duration::from_secs(5);

/// Most refused numbers kept; more of them mean that the broker's rules refuse the whole fleet.
const REFUSED_MAX: usize = 100_000;

/// The pace of one connection.
#[derive(Clone, Copy, Debug)]
pub struct SendPace {
    /// Messages a second; `None` means as fast as they are answered.
    pub per_second: Option<f64>,
    /// Whether each second's messages go out at once.
    pub burst: bool,
    /// Share of faulty messages, 0 to 1.
    pub bad: f64,
    /// Most messages; `None` means no limit.
    pub messages: Option<u64>,
    /// Longest time to publish.
    pub span: Duration,
}

/// One connection and its devices.
pub struct LoadConnection {
    /// The connection.
    pub publisher: FastPublisher,
    /// Its valid devices; empty only where all messages are faulty.
    pub valid: Vec<PayloadTemplate>,
    /// Its faulty devices.
    pub bad: Vec<(Reason, PayloadTemplate)>,
    /// What its device asks and answers; `None`: it only publishes.
    pub requests: Option<DeviceRequests>,
    /// Its pace.
    pub pace: SendPace,
    /// The number of its first message.
    pub first: i64,
    /// The number of its first faulty message.
    pub first_bad: i64,
    /// Whether it publishes at QoS 1.
    pub at_least_once: bool,
    /// The shared figures it adds to.
    pub figures: SharedFigures,
}

/// What a connection has sent.
#[derive(Clone, Debug, Default)]
pub struct SentNumbers {
    /// The number of its first message.
    pub first: i64,
    /// Number of valid messages.
    pub valid: u64,
    /// Those of them that the broker refused.
    pub refused: Vec<i64>,
    /// Faulty messages that the broker accepted, by reason.
    pub bad: Vec<(Reason, u64)>,
}

/// The send loop of one connection.
struct SendLoop {
    connection: LoadConnection,
    ledger: SentNumbers,
    answers: Vec<BrokerAnswer>,
    rng: PayloadRng,
    stamp: PayloadStamp,
    started: Instant,
    /// Messages sent, and messages dropped because they were too late.
    produced: u64,
    skipped: u64,
    bad_due: f64,
    valid_index: usize,
    bad_index: usize,
    bad_sent: i64,
}

/// Marks the note of a faulty message; the other bits are the index of its reason.
const BAD: u64 = 1 << 63;

/// The note of a request and of an acknowledgement. No number of a message is as large.
const REQUEST: u64 = 1 << 62;

// === impl LoadConnection ===

impl LoadConnection {
    /// Publishes until its limit or `stop`, waits for all PUBACKs, and sends the result to
    /// `ledgers`.
    pub async fn run(
        self,
        stop: CancellationToken,
        ledgers: mpsc::Sender<Result<SentNumbers, BrokerError>>,
    ) {
        let result = SendLoop::new(self).run(&stop).await;
        // The receiver may be gone after another connection failed.
        let _ = ledgers.send(result).await;
    }
}

// === impl SendLoop ===

impl SendLoop {
    fn new(connection: LoadConnection) -> Self {
        let bad = connection.bad.iter().map(|(reason, _)| (*reason, 0)).collect();
        let ledger = SentNumbers { first: connection.first, bad, ..SentNumbers::default() };
        let (answers, rng) = (Vec::new(), PayloadRng::new(connection.first.unsigned_abs()));
        let (stamp, started) = (PayloadStamp::new(clock::now()), Instant::now());
        let (valid_index, bad_index, bad_sent) = (0, 0, 0);
        Self {
            connection,
            ledger,
            answers,
            rng,
            stamp,
            started,
            produced: 0,
            skipped: 0,
            bad_due: 0.0,
            valid_index,
            bad_index,
            bad_sent,
        }
    }

    async fn run(mut self, stop: &CancellationToken) -> Result<SentNumbers, BrokerError> {
        while !stop.is_cancelled() && !self.is_enough() {
            let due = self.due();
            self.send_due(due).await?;
            self.send_request().await?;
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                waited = self.wait() => waited?,
            }
        }
        self.read_remaining_answers().await?;
        let responding = async {
            while self.connection.requests.as_ref().is_some_and(DeviceRequests::is_waiting) {
                self.read_answers().await?;
                self.connection.publisher.flush().await?;
            }
            Ok::<(), BrokerError>(())
        };
        // The summary counts the responses that are missing.
        tokio::time::timeout(RESPONSE_PATIENCE, responding).await.unwrap_or(Ok(()))?;
        self.read_remaining_answers().await?;
        self.connection.publisher.close().await?;
        Ok(self.ledger)
    }

    async fn read_remaining_answers(&mut self) -> Result<(), BrokerError> {
        let answering = async {
            while self.connection.publisher.unanswered() > 0 {
                self.read_answers().await?;
                self.connection.publisher.flush().await?;
            }
            Ok(())
        };
        let late = |_| {
            Err(BrokerError::NoAnswer { packet: "PUBLISH", seconds: ANSWER_PATIENCE.as_secs() })
        };
        tokio::time::timeout(ANSWER_PATIENCE, answering).await.unwrap_or_else(late)
    }

    /// Sends the request that is due.
    async fn send_request(&mut self) -> Result<(), BrokerError> {
        let now = self.micros();
        let Some(requests) = &mut self.connection.requests else { return Ok(()) };
        if self.connection.publisher.room() > 0
            && let Some(packet) = requests.due(now)?
        {
            self.send_now(packet).await?;
        }
        Ok(())
    }

    async fn send_now(&mut self, mut packet: Packet) -> Result<(), BrokerError> {
        let now = self.micros();
        self.connection.publisher.push(&mut packet, [now, REQUEST]);
        self.connection.publisher.flush().await
    }

    fn is_enough(&self) -> bool {
        let all = self.connection.pace.messages.is_some_and(|messages| self.produced >= messages);
        all || self.started.elapsed() >= self.connection.pace.span
    }

    /// Number of messages due now.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    fn due(&mut self) -> usize {
        let room = self.connection.publisher.room() as u64;
        let left =
            self.connection.pace.messages.map_or(u64::MAX, |messages| messages - self.produced);
        let Some(per_second) = self.connection.pace.per_second else {
            return room.min(left) as usize;
        };
        let elapsed = self.started.elapsed().as_secs_f64();
        let elapsed = if self.connection.pace.burst { elapsed.floor() + 1.0 } else { elapsed };
        let scheduled = (elapsed * per_second) as u64;
        let behind = scheduled.saturating_sub(self.produced + self.skipped);
        let allowed = (CATCH_UP * per_second).ceil() as u64;
        self.skipped += behind.saturating_sub(allowed);
        behind.min(allowed).min(room).min(left) as usize
    }

    async fn send_due(&mut self, messages: usize) -> Result<(), BrokerError> {
        for message in 0..messages {
            if message % STAMP_EVERY == 0 {
                self.stamp.set(clock::now());
            }
            self.bad_due += self.connection.pace.bad;
            let bad = self.bad_due >= 1.0 && !self.connection.bad.is_empty();
            let full = if bad { self.push_bad() } else { self.push_valid() };
            if full {
                self.connection.publisher.flush().await?;
            }
        }
        self.produced += messages as u64;
        self.connection.figures.count_sent(messages as u64);
        self.connection.publisher.flush().await
    }

    fn push_valid(&mut self) -> bool {
        self.valid_index = if self.valid_index + 1 < self.connection.valid.len() {
            self.valid_index + 1
        } else {
            0
        };
        let (now, seq) = (self.micros(), self.connection.first + self.ledger.valid.cast_signed());
        self.ledger.valid += 1;
        let packet =
            self.connection.valid[self.valid_index].render(&self.stamp, seq, &mut self.rng);
        self.connection.publisher.push(packet, [now, seq.unsigned_abs()])
    }

    fn push_bad(&mut self) -> bool {
        self.bad_due -= 1.0;
        self.bad_index =
            if self.bad_index + 1 < self.connection.bad.len() { self.bad_index + 1 } else { 0 };
        let (now, seq) = (self.micros(), self.connection.first_bad + self.bad_sent);
        self.bad_sent += 1;
        let (_, template) = &mut self.connection.bad[self.bad_index];
        let packet = template.render(&self.stamp, seq, &mut self.rng);
        if !self.connection.at_least_once {
            self.ledger.bad[self.bad_index].1 += 1;
        }
        self.connection.publisher.push(packet, [now, BAD | self.bad_index as u64])
    }

    /// Microseconds since the start.
    #[expect(clippy::cast_possible_truncation, reason = "far below 2^64")]
    fn micros(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Waits until the next message may be due.
    async fn wait(&mut self) -> Result<(), BrokerError> {
        match self.connection.pace.per_second {
            None if !self.connection.at_least_once => {
                tokio::task::yield_now().await;
                Ok(())
            }
            None => {
                self.read_answers().await?;
                tokio::time::sleep(GATHER).await;
                Ok(())
            }
            Some(per_second) => {
                let apart = Duration::from_secs_f64(1.0 / per_second)
                    .clamp(TICK, Duration::from_millis(100));
                let next = Instant::now() + apart;
                while Instant::now() < next {
                    tokio::select! {
                        biased;
                        read = self.read_answers(), if self.receives() => {
                            read?;
                            self.connection.publisher.flush().await?;
                        }
                        () = tokio::time::sleep_until(next) => {}
                    }
                }
                Ok(())
            }
        }
    }

    /// Whether the broker sends anything on this connection.
    fn receives(&self) -> bool {
        self.connection.at_least_once || self.connection.requests.is_some()
    }

    /// Takes responses and commands that have arrived. The acknowledgements leave with the next
    /// flush.
    fn take_messages(&mut self, now: u64) -> Result<(), BrokerError> {
        let Some(requests) = &mut self.connection.requests else { return Ok(()) };
        for message in self.connection.publisher.take_messages() {
            if let Some(mut packet) = requests.take(&message, now)? {
                self.connection.publisher.push(&mut packet, [now, REQUEST]);
            }
        }
        Ok(())
    }

    /// Reads the available PUBACKs, or waits for one.
    async fn read_answers(&mut self) -> Result<(), BrokerError> {
        self.connection.publisher.receive(&mut self.answers).await?;
        let now = self.micros();
        self.take_messages(now)?;
        let figures = &self.connection.figures;
        let mut latency = figures.latencies();
        let (mut accepted, mut without_subscriber, mut refused) = (0, 0, 0);
        for BrokerAnswer { note: [at, what], outcome } in self.answers.drain(..) {
            if what == REQUEST {
                if let (Some(requests), PublishOutcome::Refused) =
                    (&self.connection.requests, outcome)
                {
                    requests.figures().count_refused();
                }
                continue;
            }
            latency.add(now.saturating_sub(at));
            match outcome {
                PublishOutcome::Refused => refused += 1,
                PublishOutcome::NoSubscriber => {
                    (accepted, without_subscriber) = (accepted + 1, without_subscriber + 1);
                }
                PublishOutcome::Accepted => accepted += 1,
            }
            match (what & BAD != 0, outcome) {
                (true, PublishOutcome::Accepted | PublishOutcome::NoSubscriber) => {
                    let place = usize::try_from(what ^ BAD).unwrap_or(usize::MAX);
                    self.ledger.bad[place].1 += 1;
                }
                (false, PublishOutcome::Refused) if self.ledger.refused.len() < REFUSED_MAX => {
                    self.ledger.refused.push(what.cast_signed());
                }
                _ => {}
            }
        }
        drop(latency);
        figures.count_outcomes(accepted, without_subscriber, refused);
        Ok(())
    }
}
