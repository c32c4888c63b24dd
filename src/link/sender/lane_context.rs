//! What all lanes of a link share. Data only.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::board::LinkBoard;
use crate::domain::time::Clock;
use crate::link::login::LoginSource;
use crate::link::settings::LinkSettings;
use crate::telemetry::links::LinkMetrics;

/// What all lanes of a link share.
#[derive(Debug)]
pub(super) struct LaneContext {
    pub(super) settings: LinkSettings,
    pub(super) login: LoginSource,
    pub(super) node: Arc<str>,
    pub(super) metrics: LinkMetrics,
    pub(super) board: Arc<LinkBoard>,
    pub(super) clock: Clock,
    /// The number of this link within the process.
    pub(super) link_number: u32,
    /// Number of connections so far.
    pub(super) connections: AtomicU32,
}

/// The outbox does not answer: this replica may no longer send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutboxGone;
