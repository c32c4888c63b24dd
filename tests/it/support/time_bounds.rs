//! Every bound on time that a test asserts, in one table: what is promised, what a test allows, and
//! what would exceed it.
//!
//! A test waits for conditions; it measures time only where time is the promise. Each bound lies
//! far above what the promise takes on a machine of 2 cores with a load of 8, and far below what
//! the same thing takes when the promise is broken, so a test that exceeds it shows a fault and not
//! a busy machine. Waits that only end a test that hangs are no bounds: they are `DEADLINE` in
//! `wait` and `ANSWER_TIME` of the clients, a minute each.

use std::time::Duration;

/// A change of the registry by plain SQL acts on every replica. Promised: 1 s. Without the
/// notification: 300 s, the time an entry of the cache is good.
pub const REGISTRY_CHANGE: Duration = Duration::from_secs(20);

/// From the row of a revocation to its proof. Promised: seconds; measured: 1 s. Without the
/// notification: 180 s, the period in which the chain is looked at when nothing is known to be
/// open.
pub const REVOCATION: Duration = Duration::from_secs(30);

/// The same when the daemon or the CRL was away and has to be put right first.
pub const REVOCATION_AFTER_REPAIR: Duration = Duration::from_mins(1);

/// The same for a single revocation behind three thousand. Promised: a second or so; measured at a
/// load of 10: 1.4 s. In the order of the table it would be the last: 12 s.
pub const REVOCATION_BEHIND_MANY: Duration = Duration::from_secs(8);

/// While a CRL cannot be repaired: longer than the 3 s after which its file is looked at anyway.
pub const UNREPAIRED: Duration = Duration::from_secs(8);

/// `SHUTDOWN_TIMEOUT_SECONDS` where a test reaches it.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What the process takes on top of its timeout, or without one to wait for. Measured: 0.1 s. A
/// stop that waits for Postgres takes 20 s (the default timeout) or 300 s (the test of the second
/// signal).
pub const STOP_SLACK: Duration = Duration::from_secs(15);

/// A Postgres connection that no longer answers is noticed. Promised: 10 s (a probe after 1 s, 2 s
/// for its answer, and the retries). Without the probe: the two hours of TCP keepalive.
pub const SILENT_POSTGRES_NOTICED: Duration = Duration::from_secs(45);

/// A login waits 0.8 s for an issuer that does not answer. Without that bound: 5 s, the time a
/// request for keys may take, so that no more than this can be allowed; it is five times what is
/// promised.
pub const SILENT_ISSUER: Duration = Duration::from_secs(4);

/// Twenty questions of the broker, after the first one found Postgres silent. Each is answered at
/// once; if each waited its second, together 20 s.
pub const CLOSED_WAY: Duration = Duration::from_secs(12);

/// How long an issuer's token for the broker is good. It is renewed after three quarters: what is
/// left, 3 s, is what a slow machine has for the renewal.
pub const BROKER_TOKEN: Duration = Duration::from_secs(12);

/// How long Postgres stays away in an outage: above every pause between two attempts, the longest
/// of which is 5 s.
pub const OUTAGE: Duration = Duration::from_secs(10);

/// A paused Postgres gives no answer. A running one answers within milliseconds, the slower query
/// after 0.2 s. A lower bound: load only makes the silence longer.
pub const PAUSED_POSTGRES_SILENT: Duration = Duration::from_secs(1);

/// How long the daemon is away while a backlog grows: at 100 messages a second a device earns more
/// than the backlog. A lower bound.
pub const BACKLOG_AWAY: Duration = Duration::from_secs(4);

/// Rows of a COPY whose client is gone are stored by the next attempt of the same process. Without
/// the request to end the old session: after a minute, when the session counts as abandoned.
pub const DARK_COPY_FREED: Duration = Duration::from_secs(30);

/// A file of keys that is missing has been looked for at least once: it is looked at every 2 s. A
/// lower bound: load only makes it later.
pub const KEY_FILE_LOOKED_FOR: Duration = Duration::from_secs(3);

/// An answer of a listener whose places strangers hold, reconnects included. Measured: at most 2.3
/// s, with a load of 9. When strangers keep their places: 9 s (ops), 14 s (public), 59 s (API), and
/// as long as they like (hooks).
pub const CROWDED_ANSWER: Duration = Duration::from_secs(6);

/// A page of the console while Postgres is stopped. Promised: 5 s. Without a bound on the wait for a
/// connection: 30 s.
pub const PAGE_WITHOUT_POSTGRES: Duration = Duration::from_secs(10);

/// The eighth tab of a browser that has seven live pages of the console open. Promised: 1 s. When
/// the tabs hold the connections that a browser makes to one host: never.
pub const EIGHTH_TAB: Duration = Duration::from_secs(5);

/// All that a page of the console transfers.
pub const PAGE_BYTES: u64 = 150_000;
