//! Hears that the registry changed, whoever changed it, and says what to forget.
//!
//! It decides nothing and keeps nothing; when it cannot know what it missed it says [`RegistryChange::Everything`].

use std::time::{Duration, Instant};

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::domain::ports::Outage;
use crate::domain::registry_change::RegistryChange;
use crate::lifecycle::Readiness;
use crate::store::error::StoreError;
use crate::telemetry::outage_log::Spell;
use crate::telemetry::store::StoreMetrics;

/// The channel that the triggers of the registry's tables notify.
pub const CHANNEL: &str = "sluice_invalidate";

/// Silence after which the connection is asked whether it still lives, and how long it may take to say so: one that died
/// without a word is found within 3 s.
const PROBE_AFTER: Duration = Duration::from_secs(1);
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

/// The longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// The first pause before connecting again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause before connecting again: what is heard late is believed long.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The part of readiness that this module speaks for.
const PART: &str = "listen";

/// Says that the registry may have changed, to those who read it as a whole. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ChangeSignal(watch::Sender<u64>);

/// The way out. While the channel is full nothing more is queued: one Everything is owed, and sent after whatever was heard
/// until then.
struct Outbox<'a> {
    changes: &'a mpsc::Sender<RegistryChange>,
    everything_owed: bool,
}

/// Why listening ended.
#[derive(Debug, thiserror::Error)]
enum ListenEnded {
    /// Told to stop, or nobody takes the changes any more.
    #[error("nobody listens any more")]
    Stopped,
    /// The other side closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// It no longer answers.
    #[error("it does not answer")]
    Silent,
    /// What the database said.
    #[error("{0}")]
    Outage(Outage),
}

/// Listens on a connection of its own until told to stop. Each time it has begun to listen it sends
/// [`RegistryChange::Everything`], so nothing that was missed before is believed after.
pub async fn follow(
    pool: PgPool,
    changes: mpsc::Sender<RegistryChange>,
    signal: ChangeSignal,
    metrics: StoreMetrics,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    let mut spell = Spell::default();
    loop {
        let mut listened = false;
        let ended = tokio::select! {
            () = stop.cancelled() => ListenEnded::Stopped,
            ended = session(&pool, &changes, &signal, || {
                listened = true;
                if let Some(failures) = spell.worked(Instant::now()) {
                    tracing::info!(failures, "changes of the registry are heard again");
                }
                metrics.listening.set(1);
                readiness.well(PART);
            }) => ended,
        };
        metrics.listening.set(0);
        if matches!(ended, ListenEnded::Stopped) {
            return;
        }
        readiness.unwell(PART, format!("changes of the registry are not heard of: {ended}"));
        if listened {
            pause = FIRST_PAUSE;
        }
        if let Some(held_back) = spell.failed(&ended.to_string(), Instant::now()) {
            tracing::warn!(reason = %ended, held_back, "changes of the registry are not heard of; connecting again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(jittered(pause)) => {}
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

// === impl ChangeSignal ===

impl ChangeSignal {
    /// A watcher that begins with what changes from now on.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    fn give(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }
}

// === impl Deaf ===

impl From<sqlx::Error> for ListenEnded {
    fn from(error: sqlx::Error) -> Self {
        Self::Outage(StoreError::from(error).into())
    }
}

// === impl Outbox ===

impl Outbox<'_> {
    fn put(&mut self, change: RegistryChange) -> Result<(), ListenEnded> {
        if self.everything_owed {
            return Ok(());
        }
        match self.changes.try_send(change) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.everything_owed = true;
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(ListenEnded::Stopped),
        }
    }

    /// Waits for room and sends the Everything that is owed; never done while none is. May be dropped at any await.
    async fn pay(&mut self) -> Result<(), ListenEnded> {
        if !self.everything_owed {
            std::future::pending::<()>().await;
        }
        self.changes.reserve().await.map_err(|_| ListenEnded::Stopped)?.send(RegistryChange::Everything);
        self.everything_owed = false;
        Ok(())
    }
}

// === private helpers ===

/// One connection, from LISTEN to its end. It is never mended from within: a listener that reconnects by itself could
/// lose notifications without a word.
async fn session(
    pool: &PgPool,
    changes: &mpsc::Sender<RegistryChange>,
    signal: &ChangeSignal,
    on_listening: impl FnOnce(),
) -> ListenEnded {
    let own = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(pool.connect_options().as_ref().clone());
    match timeout(PATIENCE, connect(&own)).await {
        Ok(Ok(listener)) => {
            on_listening();
            signal.give();
            relay(listener, &mut Outbox { changes, everything_owed: true }, signal).await
        }
        Ok(Err(error)) => error.into(),
        Err(_) => ListenEnded::Silent,
    }
}

async fn connect(own: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(own).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Hands on what is heard until the connection ends.
async fn relay(mut listener: PgListener, outbox: &mut Outbox<'_>, signal: &ChangeSignal) -> ListenEnded {
    loop {
        let heard = tokio::select! {
            paid = outbox.pay() => match paid {
                Ok(()) => continue,
                Err(ended) => return ended,
            },
            heard = timeout(PROBE_AFTER, listener.try_recv()) => heard,
        };
        match heard {
            Ok(Ok(Some(notification))) => {
                signal.give();
                if let Err(ended) = outbox.put(RegistryChange::parse(notification.payload())) {
                    return ended;
                }
            }
            Ok(Ok(None)) => return ListenEnded::Closed,
            Ok(Err(error)) => return error.into(),
            // Notifications that arrive during the probe are kept by the listener.
            Err(_) => match timeout(PROBE_PATIENCE, sqlx::query("SELECT 1").execute(&mut listener)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return ListenEnded::Silent,
            },
        }
    }
}

/// Half the pause to the whole of it, so that replicas do not come back in step.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::DeviceKey;

    #[tokio::test]
    async fn changes_that_nobody_takes_in_time_become_one_everything_behind_them() {
        let (sender, mut taken) = mpsc::channel(2);
        let mut outbox = Outbox { changes: &sender, everything_owed: false };
        let device = |name: &str| RegistryChange::Device(DeviceKey::new("acme", name).unwrap());
        for name in ["a", "b", "c", "d"] {
            outbox.put(device(name)).unwrap();
        }
        assert_eq!(taken.try_recv(), Ok(device("a")));
        outbox.put(device("e")).unwrap();
        outbox.pay().await.unwrap();
        assert_eq!(taken.try_recv(), Ok(device("b")));
        outbox.put(device("f")).unwrap();
        assert_eq!(taken.try_recv(), Ok(RegistryChange::Everything), "c, d and e are in it");
        assert_eq!(taken.try_recv(), Ok(device("f")));
        drop(taken);
        assert!(matches!(outbox.put(device("g")), Err(ListenEnded::Stopped)));
    }

    #[test]
    fn jitter_never_lengthens_a_pause_nor_halves_it_twice() {
        for _ in 0..100 {
            let pause = jittered(LONGEST_PAUSE);
            assert!(pause <= LONGEST_PAUSE && pause >= LONGEST_PAUSE / 2, "{pause:?}");
        }
    }
}
