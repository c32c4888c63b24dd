//! The view of the overview: how the daemon and its fleet are. It contains no name of a device but
//! the one that was revoked last.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::revocation::RevocationView;
use crate::domain::replica::ReplicaState;
use crate::link::overview::LinkOverview;
use crate::store::reads::fleet::{DeviceCounts, FleetNumbers, ReasonCount, ReplicaRow};
use crate::telemetry::pulse::{PulsePoint, PulseRates, PulseSummary, STEP_SECONDS};

/// How the daemon and its fleet are.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Overview")]
pub(crate) struct OverviewView {
    /// When this was read.
    pub at: DateTime<Utc>,
    /// The daemon that answers.
    pub daemon: DaemonView,
    /// Whether the daemon is ready, as `/readyz` says.
    pub ready: bool,
    /// The components that matter to an operator, and all that fail or warn.
    pub health: Vec<HealthView>,
    /// Messages a second, latency and queues of this daemon; null for a caller that is bound to a tenant.
    pub flow: Option<FlowView>,
    /// When the numbers below were read from Postgres; null if Postgres has not answered since the start.
    pub counted_at: Option<DateTime<Utc>>,
    /// Why the numbers below are missing or old; null if they are current.
    pub missing: Option<String>,
    /// The devices by state.
    pub devices: Option<DeviceNumbersView>,
    /// The certificates by their end.
    pub certificates: Option<CertificateNumbersView>,
    /// The reasons of the refusals of the last hour, the most frequent first.
    pub refusals: Option<Vec<ReasonView>>,
    /// The revocation that was ordered last.
    pub last_revocation: Option<LastRevocationView>,
    /// The links to other brokers; empty for a caller that is bound to a tenant.
    pub links: Vec<LinkOverview>,
    /// The replay jobs of the quarantine that run; null: not counted yet.
    pub replays_running: Option<i64>,
    /// The daemons that have run within a day; empty for a caller that is bound to a tenant.
    pub replicas: Vec<ReplicaView>,
}

/// A daemon.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Daemon")]
pub(crate) struct DaemonView {
    /// `MQTT_CLIENT_ID`.
    pub client_id: String,
    /// The version of Sluice.
    pub version: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
}

/// A component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ComponentHealth")]
pub(crate) struct HealthView {
    /// The name of the component, as in `/readyz`.
    pub component: String,
    /// The name for people.
    pub label: String,
    /// `ok`, `warning`, `failed`, or `off`.
    pub state: String,
    /// What it does, or why it does not.
    pub detail: String,
}

/// Messages a second, latency and queues.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Flow")]
pub(crate) struct FlowView {
    /// Over how many seconds the rates are, at most 60.
    pub window_seconds: f64,
    /// The rates of these seconds.
    #[serde(flatten)]
    pub rates: RatesView,
    /// The messages that wait to be checked.
    pub queue: i64,
    /// The messages that are delivered and not acknowledged.
    pub unacknowledged: i64,
    /// The most messages that Mosquitto delivers before it waits for acknowledgements.
    pub window: u32,
    /// The length of a step of `history`, in seconds.
    pub step_seconds: u32,
    /// The rates of the last hour in steps, the oldest first.
    pub history: Vec<FlowPointView>,
}

/// Messages a second, and their latency.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Rates")]
pub(crate) struct RatesView {
    /// Messages read from Mosquitto.
    pub received: f64,
    /// Messages stored.
    pub stored: f64,
    /// Messages refused.
    pub refused: f64,
    /// Messages that were stored already.
    pub duplicate: f64,
    /// The median of the time from receipt to commit, in milliseconds; null without messages.
    pub p50_ms: Option<f64>,
    /// The 99th percentile of that time.
    pub p99_ms: Option<f64>,
}

/// A step of the history.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "FlowPoint")]
pub(crate) struct FlowPointView {
    /// The end of the step.
    pub at: DateTime<Utc>,
    /// Its rates.
    #[serde(flatten)]
    pub rates: RatesView,
}

/// Devices by state.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DeviceNumbers")]
pub(crate) struct DeviceNumbersView {
    /// ACTIVE devices.
    pub active: i64,
    /// INACTIVE devices.
    pub inactive: i64,
    /// REVOKED devices.
    pub revoked: i64,
    /// ACTIVE devices without an accepted message for an hour.
    pub silent: i64,
    /// Those of them whose last message is less than two hours old.
    pub newly_silent: i64,
    /// ACTIVE devices without any accepted message.
    pub never: i64,
}

/// Certificates by their end.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CertificateNumbers")]
pub(crate) struct CertificateNumbersView {
    /// ACTIVE certificates that end within 30 days.
    pub ending: i64,
    /// Those of them without a successor.
    pub unreplaced: i64,
    /// The first end within 13 weeks.
    pub next_end: Option<DateTime<Utc>>,
    /// ACTIVE certificates that end in each of the next 13 weeks; the first element is the next 7 days.
    pub by_week: Vec<i64>,
}

/// A reason of refusals.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReasonNumbers")]
pub(crate) struct ReasonView {
    /// The reason.
    pub reason: String,
    /// The messages that were refused for it in the last hour; exact.
    pub messages: i64,
    /// When it began, after a quarter of an hour without it; null: more than a day ago.
    pub began_at: Option<DateTime<Utc>>,
    /// Whether it began within the last hour.
    pub is_new: bool,
    /// The tenant with the most of them.
    pub top_tenant: Option<String>,
}

/// The revocation that was ordered last.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LastRevocation")]
pub(crate) struct LastRevocationView {
    /// The tenant of the device.
    pub tenant_id: String,
    /// The device.
    pub device_id: String,
    /// Its steps.
    pub revocation: RevocationView,
}

/// A daemon with a session at a broker.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Replica")]
pub(crate) struct ReplicaView {
    /// Its `MQTT_CLIENT_ID`.
    pub client_id: String,
    /// When it subscribed last.
    pub subscribed_at: DateTime<Utc>,
    /// When it last noted that it runs; it does so six times in `ORPHAN_AFTER_SECONDS`.
    pub seen_at: DateTime<Utc>,
    /// Whether it noted so within `ORPHAN_AFTER_SECONDS`.
    pub is_running: bool,
    /// `running`; `orphaned`: its share of the messages waits at the broker; `gone`: it has none.
    pub state: String,
}

// === impl FlowView ===

impl FlowView {
    /// The flow of a daemon with this window.
    pub(crate) fn new(summary: &PulseSummary, window: u16) -> Self {
        Self {
            window_seconds: summary.window_seconds,
            rates: summary.rates.into(),
            queue: summary.queue,
            unacknowledged: summary.unacknowledged,
            window: window.into(),
            step_seconds: STEP_SECONDS,
            history: summary.history.iter().map(FlowPointView::from).collect(),
        }
    }
}

impl From<PulseRates> for RatesView {
    fn from(rates: PulseRates) -> Self {
        let PulseRates { received, stored, refused, duplicate, p50_ms, p99_ms } = rates;
        Self { received, stored, refused, duplicate, p50_ms, p99_ms }
    }
}

impl From<&PulsePoint> for FlowPointView {
    fn from(point: &PulsePoint) -> Self {
        Self { at: point.at, rates: point.rates.into() }
    }
}

// === impl DeviceNumbersView ===

impl From<DeviceCounts> for DeviceNumbersView {
    fn from(counts: DeviceCounts) -> Self {
        let DeviceCounts { active, inactive, revoked, silent, newly_silent, never } = counts;
        Self { active, inactive, revoked, silent, newly_silent, never }
    }
}

// === impl CertificateNumbersView ===

impl From<&FleetNumbers> for CertificateNumbersView {
    fn from(numbers: &FleetNumbers) -> Self {
        let mut by_week = vec![0; 13];
        for count in &numbers.weeks {
            let week = usize::try_from(count.week).ok().and_then(|week| by_week.get_mut(week));
            if let Some(week) = week {
                *week = count.number;
            }
        }
        let certificates = &numbers.certificates;
        Self {
            ending: certificates.ending,
            unreplaced: certificates.unreplaced,
            next_end: certificates.next_end,
            by_week,
        }
    }
}

// === impl ReasonView ===

impl ReasonView {
    /// The reason as seen at `now`.
    pub(crate) fn new(count: &ReasonCount, now: DateTime<Utc>) -> Self {
        let hour_ago = now - chrono::TimeDelta::hours(1);
        let tenant = Some(count.top_tenant.clone()).filter(|tenant| !tenant.is_empty());
        Self {
            reason: count.reason.clone(),
            messages: count.messages,
            began_at: count.began_at,
            is_new: count.began_at.is_some_and(|began_at| began_at >= hour_ago),
            top_tenant: tenant,
        }
    }
}

impl From<&ReplicaRow> for ReplicaView {
    fn from(row: &ReplicaRow) -> Self {
        let ReplicaRow { client_id, subscribed_at, seen_at, is_running, filters } = row.clone();
        let state = ReplicaState::of(is_running, &filters).label().to_owned();
        Self { client_id, subscribed_at, seen_at, is_running, state }
    }
}
