//! Prepares the demo: registers the fleet, issues certificates, waits until the broker enforces the
//! newest CRL, and drains messages of an earlier run.
//!
//! It reuses what an earlier run left, also one of an older version: it updates the registry to
//! match the fleet and keeps certificates that are still valid.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::idle_devices;
use crate::broker::error::BrokerError;
use crate::broker::tools::publisher::MqttPublisher;
use crate::clock;
use crate::command::context::{CommandContext, outage};
use crate::command::failure::{Exit, Failure};
use crate::config::Config;
use crate::config::sections::broker::BrokerConfig;
use crate::domain::ids::TenantId;
use crate::registry::ActionContext;
use crate::sim::daemon_metrics::{self, DaemonFigures};
use crate::sim::fleet::certificates::{CertificateFolder, DeviceCertificate};
use crate::sim::fleet::demo_fleet::TENANT;
use crate::sim::fleet::simulated_fleet::SimulatedFleet;
use crate::sim::wait_for_crl::CrlWatch;
use crate::store::registry::bulk_enroll;

/// Interval between two reads of the figures while waiting.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Longest wait without progress.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The registered fleet and its certificates.
pub struct EnrolledFleet {
    /// Who registered it; revokes later.
    pub operator: CommandContext,
    /// Issues further certificates.
    pub folder: CertificateFolder,
    /// The certificate of each device, by device name.
    pub certificates: HashMap<String, DeviceCertificate>,
}

/// Connects a publisher with the daemon's credentials; fails when the broker is unreachable.
pub async fn connect_publisher(broker: &BrokerConfig) -> Result<MqttPublisher, Failure> {
    let config =
        BrokerConfig { client_id: format!("{}-marker", broker.client_id), ..broker.clone() };
    MqttPublisher::connect(&config, 1).await.map_err(broker_failure)
}

/// Migrates the schema, registers the fleet, and gives every device a certificate. The returned
/// watch recorded the CRL's state before the daemon started.
pub async fn enroll(
    fleet: &SimulatedFleet,
    config: &Config,
    dir: &Path,
) -> Result<(EnrolledFleet, CrlWatch), Failure> {
    let operator = CommandContext::before_the_schema(config)?;
    operator.database.migrate().await.map_err(|error| Failure::unavailable(error.to_string()))?;
    let registrations = fleet.registrations();
    let enrolling = bulk_enroll::enroll(
        operator.database.pool(),
        &operator.actor,
        &registrations,
        clock::now().to_utc(),
    );
    enrolling.await.map_err(|error| outage(&error))?;
    let internal = |error: &dyn ToString| Failure::new(Exit::Internal, error.to_string());
    let tenant: TenantId = TENANT.parse().map_err(|error| internal(&error))?;
    let action =
        ActionContext { database: &operator.database, actor: &operator.actor, now: clock::now() };
    let mut folder = CertificateFolder::open(dir, &[tenant], config, action).await?;
    let mut certificates = HashMap::new();
    for device in fleet.devices() {
        let key = device.key().map_err(|error| internal(&error))?;
        let own = if !device.is_registered() {
            // Who adds the device at the console can then replay its messages.
            folder.ensure_unregistered(&key, action).await?
        } else if device.is_stray() {
            folder.ensure_stray(&key, action.now)?
        } else {
            folder.ensure(&key, action).await?
        };
        certificates.insert(device.device.clone(), own);
    }
    idle_devices::add(action, config, &mut folder).await?;
    let watch = CrlWatch::open(&operator.database, folder.issuer()).await?;
    Ok((EnrolledFleet { operator, folder, certificates }, watch))
}

/// Waits until the broker enforces the daemon's CRL (an earlier run's may have ended), and until no
/// revocation of an earlier run is pending.
pub async fn wait_for_revocations(mut watch: CrlWatch) -> Result<(), Failure> {
    watch.wait_enforced().await?;
    watch.wait_settled(TENANT).await
}

/// Waits until the daemon has stored all messages of an earlier run, so that they are not counted.
/// It publishes a marker message behind them, which Sluice ignores, at QoS 0, so that the broker
/// keeps none.
pub async fn wait_for_leftovers(
    ops: SocketAddr,
    mut publisher: MqttPublisher,
) -> Result<DaemonFigures, Failure> {
    let topic = format!("tenant/{TENANT}/device/marker/commands");
    let begun = Instant::now();
    loop {
        publisher.publish_at_most_once(&topic, "{}").await.map_err(broker_failure)?;
        publisher.flush().await.map_err(broker_failure)?;
        let figures = daemon_metrics::figures(ops).await.map_err(no_figures)?;
        let all_kept =
            figures.received == figures.kept() + figures.ignored && figures.in_flight == 0;
        if figures.ignored > 0 && all_kept {
            publisher.close().await.map_err(broker_failure)?;
            return Ok(figures);
        }
        if begun.elapsed() > PATIENCE && figures.received == 0 {
            return Err(Failure::unavailable(format!(
                "the daemon receives no message published to {topic}: \
                 check that both use the same broker, and that MQTT_USERNAME may write there"
            )));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The failure of a metrics read.
#[expect(clippy::needless_pass_by_value, reason = "map_err passes the value")]
pub fn no_figures(error: std::io::Error) -> Failure {
    Failure::unavailable(format!("the daemon's metrics cannot be read: {error}"))
}

/// A secret that tokens are derived from.
pub fn secret() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| {
        Failure::new(Exit::Internal, format!("the system provides no random numbers: {error}"))
    })?;
    Ok(bytes)
}

/// The failure of a connection to the broker.
#[expect(clippy::needless_pass_by_value, reason = "map_err passes the value")]
pub fn broker_failure(error: BrokerError) -> Failure {
    Failure::unavailable(error.to_string())
}
