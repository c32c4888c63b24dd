//! One connection of the simulated fleet: its devices in turn, at a pace, each message with a number of its own.
//!
//! It does not connect again: a connection that breaks ends the simulation, which could no longer say what is missing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::histogram::Histogram;
use crate::broker::error::BrokerError;
use crate::broker::tools::fast_publisher::{BrokerAnswer, FastPublisher, PublishOutcome};
use crate::clock;
use crate::domain::refusal::Reason;
use crate::sim::fleet::payload::{PayloadRng, PayloadStamp, PayloadTemplate};

/// Messages are sent this far apart at the least: timers are no finer.
const TICK: Duration = Duration::from_millis(1);

/// At full rate, answers are gathered for so long and then dealt with at once: they come one by one, and waking up for each
/// would cost the publisher more than its messages do.
const GATHER: Duration = Duration::from_millis(4);

/// What could not be sent in time is sent later, up to this much; beyond it, it is never made.
const CATCH_UP: f64 = 1.0;

/// Messages between two looks at the clock.
const STAMP_EVERY: usize = 16;

/// How long answers may take after the last message.
const ANSWER_PATIENCE: Duration = Duration::from_mins(1);

/// Refused numbers that are remembered; more of them are a broker's rules, not a test of them.
const REFUSED_MAX: usize = 100_000;

/// The common figures, while it runs.
#[derive(Clone, Debug, Default)]
pub struct SharedFigures(Arc<SendFigures>);

#[derive(Debug, Default)]
struct SendFigures {
    sent: AtomicU64,
    answered: AtomicU64,
    unheard: AtomicU64,
    refused: AtomicU64,
    latency: Mutex<Histogram>,
}

/// How a connection publishes.
#[derive(Clone, Copy, Debug)]
pub struct SendPace {
    /// Messages a second; none: as fast as they are answered.
    pub per_second: Option<f64>,
    /// Each second's messages at once.
    pub burst: bool,
    /// One message in so many misbehaves.
    pub bad: f64,
    /// So many messages, ...
    pub messages: Option<u64>,
    /// ... and no longer than this.
    pub span: Duration,
}

/// One connection and its devices.
pub struct LoadConnection {
    /// The connection.
    pub volley: FastPublisher,
    /// Its devices that behave; none only where all of its messages misbehave.
    pub good: Vec<PayloadTemplate>,
    /// The devices that misbehave.
    pub bad: Vec<(Reason, PayloadTemplate)>,
    /// How it publishes.
    pub pace: SendPace,
    /// The number of its first message.
    pub first: i64,
    /// The number of its first message that misbehaves.
    pub first_bad: i64,
    /// Whether its messages are answered.
    pub at_least_once: bool,
    /// Where its figures go.
    pub board: SharedFigures,
}

/// What a connection has sent.
#[derive(Clone, Debug, Default)]
pub struct SentNumbers {
    /// The number of its first message.
    pub first: i64,
    /// How many messages that behave.
    pub good: u64,
    /// Those of them that the broker refused.
    pub refused: Vec<i64>,
    /// Messages that misbehave and that the broker took, by reason.
    pub bad: Vec<(Reason, u64)>,
}

/// A connection at work.
struct Work {
    crew: LoadConnection,
    ledger: SentNumbers,
    answers: Vec<BrokerAnswer>,
    dice: PayloadRng,
    stamp: PayloadStamp,
    started: Instant,
    /// Messages so far, and those that could not be sent in time.
    produced: u64,
    skipped: u64,
    owed: f64,
    turn: usize,
    bad_turn: usize,
    bad_said: i64,
}

/// Marks the note of a message that misbehaves; what is left is the place of its reason.
const BAD: u64 = 1 << 63;

// === impl Board ===

impl SharedFigures {
    /// Messages sent.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Messages the broker took.
    pub fn acknowledged(&self) -> u64 {
        self.0.answered.load(Ordering::Relaxed)
    }

    /// Those of them that nobody had subscribed to.
    pub fn unheard(&self) -> u64 {
        self.0.unheard.load(Ordering::Relaxed)
    }

    /// Messages the broker refused.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// From sending a message to its PUBACK.
    pub fn latency(&self) -> Histogram {
        self.0.latency.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl Crew ===

impl LoadConnection {
    /// Publishes until it is enough or `stop` is cancelled; then everything is answered. The ledger goes to `ledgers`.
    pub async fn work(self, stop: CancellationToken, ledgers: mpsc::Sender<Result<SentNumbers, BrokerError>>) {
        let worked = Work::new(self).run(&stop).await;
        // Whoever asked for it may have gone.
        let _ = ledgers.send(worked).await;
    }
}

// === impl Work ===

impl Work {
    fn new(crew: LoadConnection) -> Self {
        let bad = crew.bad.iter().map(|(reason, _)| (*reason, 0)).collect();
        let ledger = SentNumbers { first: crew.first, bad, ..SentNumbers::default() };
        let (answers, dice) = (Vec::new(), PayloadRng::new(crew.first.unsigned_abs()));
        let (stamp, started) = (PayloadStamp::new(clock::now()), Instant::now());
        let (turn, bad_turn, bad_said) = (0, 0, 0);
        Self {
            crew,
            ledger,
            answers,
            dice,
            stamp,
            started,
            produced: 0,
            skipped: 0,
            owed: 0.0,
            turn,
            bad_turn,
            bad_said,
        }
    }

    async fn run(mut self, stop: &CancellationToken) -> Result<SentNumbers, BrokerError> {
        while !stop.is_cancelled() && !self.is_enough() {
            let due = self.due();
            self.speak(due).await?;
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                waited = self.wait() => waited?,
            }
        }
        let answering = async {
            while self.crew.volley.unanswered() > 0 {
                self.hear().await?;
            }
            Ok(())
        };
        let late = |_| Err(BrokerError::NoAnswer { packet: "PUBLISH", seconds: ANSWER_PATIENCE.as_secs() });
        tokio::time::timeout(ANSWER_PATIENCE, answering).await.unwrap_or_else(late)?;
        self.crew.volley.close().await?;
        Ok(self.ledger)
    }

    fn is_enough(&self) -> bool {
        let all = self.crew.pace.messages.is_some_and(|messages| self.produced >= messages);
        all || self.started.elapsed() >= self.crew.pace.span
    }

    /// How many messages may go now.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    fn due(&mut self) -> usize {
        let room = self.crew.volley.room() as u64;
        let left = self.crew.pace.messages.map_or(u64::MAX, |messages| messages - self.produced);
        let Some(per_second) = self.crew.pace.per_second else { return room.min(left) as usize };
        let elapsed = self.started.elapsed().as_secs_f64();
        let elapsed = if self.crew.pace.burst { elapsed.floor() + 1.0 } else { elapsed };
        let scheduled = (elapsed * per_second) as u64;
        let behind = scheduled.saturating_sub(self.produced + self.skipped);
        let bearable = (CATCH_UP * per_second).ceil() as u64;
        self.skipped += behind.saturating_sub(bearable);
        behind.min(bearable).min(room).min(left) as usize
    }

    async fn speak(&mut self, messages: usize) -> Result<(), BrokerError> {
        for message in 0..messages {
            if message % STAMP_EVERY == 0 {
                self.stamp.set(clock::now());
            }
            self.owed += self.crew.pace.bad;
            let bad = self.owed >= 1.0 && !self.crew.bad.is_empty();
            let full = if bad { self.push_bad() } else { self.push_good() };
            if full {
                self.crew.volley.flush().await?;
            }
        }
        self.produced += messages as u64;
        self.crew.board.0.sent.fetch_add(messages as u64, Ordering::Relaxed);
        self.crew.volley.flush().await
    }

    fn push_good(&mut self) -> bool {
        self.turn = if self.turn + 1 < self.crew.good.len() { self.turn + 1 } else { 0 };
        let (now, seq) = (self.micros(), self.crew.first + self.ledger.good.cast_signed());
        self.ledger.good += 1;
        let packet = self.crew.good[self.turn].say(&self.stamp, seq, &mut self.dice);
        self.crew.volley.push(packet, [now, seq.unsigned_abs()])
    }

    fn push_bad(&mut self) -> bool {
        self.owed -= 1.0;
        self.bad_turn = if self.bad_turn + 1 < self.crew.bad.len() { self.bad_turn + 1 } else { 0 };
        let (now, seq) = (self.micros(), self.crew.first_bad + self.bad_said);
        self.bad_said += 1;
        let (_, speech) = &mut self.crew.bad[self.bad_turn];
        let packet = speech.say(&self.stamp, seq, &mut self.dice);
        if !self.crew.at_least_once {
            self.ledger.bad[self.bad_turn].1 += 1;
        }
        self.crew.volley.push(packet, [now, BAD | self.bad_turn as u64])
    }

    /// Microseconds since it began.
    #[expect(clippy::cast_possible_truncation, reason = "far below 2^64")]
    fn micros(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Until there may be something to send again.
    async fn wait(&mut self) -> Result<(), BrokerError> {
        match self.crew.pace.per_second {
            None if !self.crew.at_least_once => {
                tokio::task::yield_now().await;
                Ok(())
            }
            None => {
                self.hear().await?;
                tokio::time::sleep(GATHER).await;
                Ok(())
            }
            Some(per_second) => {
                let apart = Duration::from_secs_f64(1.0 / per_second).clamp(TICK, Duration::from_millis(100));
                let next = Instant::now() + apart;
                while Instant::now() < next {
                    tokio::select! {
                        biased;
                        heard = self.hear(), if self.crew.at_least_once => heard?,
                        () = tokio::time::sleep_until(next) => {}
                    }
                }
                Ok(())
            }
        }
    }

    /// Takes the answers that are there, or waits for one.
    async fn hear(&mut self) -> Result<(), BrokerError> {
        self.crew.volley.hear(&mut self.answers).await?;
        let now = self.micros();
        let figures = &self.crew.board.0;
        let mut latency = figures.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut taken, mut unheard, mut refused) = (0, 0, 0);
        for BrokerAnswer { note: [at, what], fate } in self.answers.drain(..) {
            latency.add(now.saturating_sub(at));
            match fate {
                PublishOutcome::Refused => refused += 1,
                PublishOutcome::Unheard => (taken, unheard) = (taken + 1, unheard + 1),
                PublishOutcome::Taken => taken += 1,
            }
            match (what & BAD != 0, fate) {
                (true, PublishOutcome::Taken | PublishOutcome::Unheard) => {
                    let place = usize::try_from(what ^ BAD).unwrap_or(usize::MAX);
                    self.ledger.bad[place].1 += 1;
                }
                (false, PublishOutcome::Refused) if self.ledger.refused.len() < REFUSED_MAX => {
                    self.ledger.refused.push(what.cast_signed());
                }
                _ => {}
            }
        }
        figures.answered.fetch_add(taken, Ordering::Relaxed);
        figures.unheard.fetch_add(unheard, Ordering::Relaxed);
        figures.refused.fetch_add(refused, Ordering::Relaxed);
        Ok(())
    }
}
