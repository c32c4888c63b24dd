//! One connection of a plugin, from its hello to its end.
//!
//! A plugin that sends no hello in time, that sends what is no frame, or that does not read is
//! disconnected. It then connects again, and keeps its last registry meanwhile.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluice_shared::frames::codec::{FrameBuffer, FrameError, encode};
use sluice_shared::frames::from_daemon::{DaemonHello, FromDaemon, Verdict};
use sluice_shared::frames::from_plugin::{FromPlugin, PluginHello, Question};
use sluice_shared::frames::secret::SecretText;
use sluice_shared::frames::{PING_SECONDS, PROTOCOL};
use sluice_shared::proof::{Boot, ProofKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::control::ORDERS_QUEUE;
use super::feed::Feed;
use super::peers::PluginPeer;
use super::sources::Link;

/// How long a plugin may take to say hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// How long a plugin may take to read one frame.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Frames of the registry that wait. Each has at most a part of the snapshot.
const FEED_QUEUE: usize = 2;

/// Answers that wait: they overtake the frames of the registry.
const ANSWERS_QUEUE: usize = 128;

/// Questions of one plugin that are answered at a time.
const QUESTIONS_MAX: usize = 64;

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// No hello.
    #[error("it sent no hello within {} s", HELLO_PATIENCE.as_secs())]
    NoHello,
    /// The first frame is no hello, or a later one is.
    #[error("it sent a frame that is not allowed at this place")]
    OutOfPlace,
    /// Another version of the frames.
    #[error("it has protocol {0} and Sluice has {PROTOCOL}: install the same version of both")]
    Protocol(u32),
    /// The number of its start is malformed.
    #[error("its boot is not a number in hexadecimal")]
    Boot,
    /// It does not read.
    #[error("it read nothing for {} s", WRITE_PATIENCE.as_secs())]
    DoesNotRead,
    /// It closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// What it sent is no frame, or a frame cannot be sent.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The error of the system.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Received frames.
struct FrameReader {
    half: OwnedReadHalf,
    buffer: FrameBuffer,
    chunk: Vec<u8>,
}

/// Serves a plugin until the connection ends; returns why. `number` is unique.
pub(super) async fn serve(link: Arc<Link>, stream: UnixStream, number: u64) -> ConnectionError {
    match greet(&link, stream, number).await {
        Ok((reader, writer, peer)) => exchange(&link, reader, writer, &peer).await,
        Err(error) => {
            link.sources.metrics.series.refused.inc();
            error
        }
    }
}

/// Reads the hello of the plugin, and answers it.
async fn greet(
    link: &Link,
    stream: UnixStream,
    number: u64,
) -> Result<(FrameReader, OwnedWriteHalf, Arc<PluginPeer>), ConnectionError> {
    let (half, mut writer) = stream.into_split();
    let chunk = vec![0; READ_BYTES];
    let mut reader = FrameReader { half, buffer: FrameBuffer::default(), chunk };
    let first = timeout(HELLO_PATIENCE, reader.next()).await;
    let FromPlugin::Hello(hello) = first.map_err(|_| ConnectionError::NoHello)?? else {
        return Err(ConnectionError::OutOfPlace);
    };
    // Also a plugin of another version learns which one Sluice has.
    write(&mut writer, &FromDaemon::Hello(own_hello(link, &hello)?)).await?;
    if hello.protocol != PROTOCOL {
        return Err(ConnectionError::Protocol(hello.protocol));
    }
    let label = link.sources.metrics.begin(&hello.profile);
    Ok((reader, writer, Arc::new(PluginPeer::new(number, hello, label))))
}

fn own_hello(link: &Link, hello: &PluginHello) -> Result<DaemonHello, ConnectionError> {
    let boot = u64::from_str_radix(&hello.boot, 16).map_err(|_| ConnectionError::Boot)?;
    let key = |secret: &crate::config::secret::Secret| {
        SecretText::new(&**ProofKey::derive_text(secret.expose().as_bytes(), Boot(boot)))
    };
    Ok(DaemonHello {
        protocol: PROTOCOL,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        key: link.proof_secret.as_ref().map(key),
    })
}

/// Exchanges frames until the connection ends.
async fn exchange(
    link: &Arc<Link>,
    reader: FrameReader,
    writer: OwnedWriteHalf,
    peer: &Arc<PluginPeer>,
) -> ConnectionError {
    let (answers, waiting_answers) = mpsc::channel(ANSWERS_QUEUE);
    let (frames, waiting_frames) = mpsc::channel(FEED_QUEUE);
    let (orders, waiting_orders) = mpsc::channel(ORDERS_QUEUE);
    let hello = &peer.hello;
    tracing::info!(
        profile = hello.profile,
        build = hello.build,
        broker = hello.broker,
        "a plugin is connected"
    );
    let metrics = &link.sources.metrics;
    let feed = Feed::new(Arc::clone(link), Arc::clone(peer), frames, waiting_orders);
    link.sources.control.add(peer.number, orders);
    link.peers.add(peer);
    metrics.show_up(&peer.label, true);
    let error = tokio::select! {
        error = send(peer, writer, waiting_answers, waiting_frames) => error,
        error = receive(link, peer, reader, answers) => error,
        _ended = feed.run() => ConnectionError::Closed,
    };
    link.sources.control.remove(peer.number);
    let has_other = link.peers.remove(peer);
    metrics.show_up(&peer.label, has_other);
    error
}

/// Sends answers, pings and the registry, in this order of precedence.
async fn send(
    peer: &PluginPeer,
    mut writer: OwnedWriteHalf,
    mut answers: mpsc::Receiver<FromDaemon>,
    mut frames: mpsc::Receiver<FromDaemon>,
) -> ConnectionError {
    let period = Duration::from_secs(PING_SECONDS);
    let mut ping = interval_at(Instant::now() + period, period);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            biased;
            Some(answer) = answers.recv() => answer,
            _tick = ping.tick() => FromDaemon::Ping,
            Some(frame) = frames.recv() => {
                peer.queued.fetch_sub(1, Ordering::Relaxed);
                frame
            }
        };
        if let Err(error) = write(&mut writer, &frame).await {
            return error;
        }
    }
}

async fn write(writer: &mut OwnedWriteHalf, frame: &FromDaemon) -> Result<(), ConnectionError> {
    let bytes = encode(frame)?;
    let written = timeout(WRITE_PATIENCE, writer.write_all(&bytes)).await;
    Ok(written.map_err(|_| ConnectionError::DoesNotRead)??)
}

/// Receives frames, and answers questions.
async fn receive(
    link: &Arc<Link>,
    peer: &PluginPeer,
    mut reader: FrameReader,
    answers: mpsc::Sender<FromDaemon>,
) -> ConnectionError {
    let mut questions = JoinSet::new();
    loop {
        let frame = tokio::select! {
            frame = reader.next() => frame,
            Some(_answered) = questions.join_next() => continue,
        };
        match frame {
            Ok(FromPlugin::Ask(question)) if questions.len() < QUESTIONS_MAX => {
                questions.spawn(answer(Arc::clone(link), question, answers.clone()));
            }
            Ok(FromPlugin::Ask(Question { id, .. })) => {
                let reason = format!("{QUESTIONS_MAX} questions are being answered");
                let verdict = Verdict::Unavailable { reason };
                if answers.try_send(FromDaemon::Verdict { id, verdict }).is_err() {
                    return ConnectionError::DoesNotRead;
                }
            }
            Ok(frame) => {
                if let Err(error) = note(link, peer, frame) {
                    return error;
                }
            }
            Err(error) => return error,
        }
    }
}

async fn answer(link: Arc<Link>, question: Question, answers: mpsc::Sender<FromDaemon>) {
    let id = question.id;
    let verdict = link.sources.questions.answer(question).await;
    // The connection may have ended.
    let _was_sent = answers.send(FromDaemon::Verdict { id, verdict }).await;
}

/// Notes what the plugin reports.
fn note(link: &Link, peer: &PluginPeer, frame: FromPlugin) -> Result<(), ConnectionError> {
    match frame {
        FromPlugin::Hello(_) | FromPlugin::Ask(_) => return Err(ConnectionError::OutOfPlace),
        FromPlugin::Applied { version } => peer.set_applied(version),
        FromPlugin::Resync { .. } => peer.resync.notify_one(),
        FromPlugin::Opened(session) => peer.opened(&session),
        FromPlugin::Closed { session, why } => peer.closed(session, why),
        FromPlugin::Revoked { command, sessions } => peer.confirmed(command, sessions),
        FromPlugin::Stats(stats) => {
            let before = link.peers.counted(&peer.hello.boot, &stats);
            link.sources.metrics.add(&peer.label, &before, &stats);
        }
    }
    Ok(())
}

// === impl FrameReader ===

impl FrameReader {
    /// The next frame. Cancel safe.
    async fn next(&mut self) -> Result<FromPlugin, ConnectionError> {
        loop {
            if let Some(frame) = self.buffer.take()? {
                return Ok(frame);
            }
            let count = self.half.read(&mut self.chunk).await?;
            if count == 0 {
                return Err(ConnectionError::Closed);
            }
            self.buffer.push(&self.chunk[..count]);
        }
    }
}
