//! Where the link gets what it sends, and what its connections share.
//!
//! It does nothing itself.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::control::PluginControl;
use super::peers::Peers;
use super::questions::AnswerQuestions;
use crate::access::hooks::reserved_names::ReservedNames;
use crate::access::policy::reloading::ActivePolicy;
use crate::config::secret::Secret;
use crate::domain::registry_change::RegistryChange;
use crate::lifecycle::Readiness;
use crate::store::certificates::valid_certificates::ValidCertificates;
use crate::telemetry::plugin::PluginMetrics;

/// Where the link gets what it sends.
pub struct LinkSources {
    /// The policy in force.
    pub policy: ActivePolicy,
    /// Sluice's own names at the broker.
    pub reserved: ReservedNames,
    /// Answers logins.
    pub questions: Arc<dyn AnswerQuestions>,
    /// The registry.
    pub certificates: ValidCertificates,
    /// The changes of the registry.
    pub changes: broadcast::Sender<RegistryChange>,
    /// What other parts order.
    pub control: PluginControl,
    /// The metrics.
    pub metrics: PluginMetrics,
    /// Where warnings go.
    pub readiness: Readiness,
}

/// What all connections share.
pub(super) struct Link {
    pub sources: LinkSources,
    pub proof_secret: Option<Secret>,
    pub peers: Peers,
}
