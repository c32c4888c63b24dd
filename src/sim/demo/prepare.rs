//! What the demo needs before its first message: the fleet in the registry, a certificate for each device, a broker that acts
//! on the newest CRL, and nothing left over from an earlier run.
//!
//! It goes on from what an earlier run, also one of an older version, has left: what the registry says is brought in line
//! with the fleet, and what is still good is used again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::error::BrokerError;
use crate::broker::tools::publisher::MqttPublisher;
use crate::clock;
use crate::command::context::{CommandContext, outage};
use crate::command::failure::{Exit, Failure};
use crate::config::Config;
use crate::config::sections::broker::BrokerConfig;
use crate::domain::ids::{DeviceKey, TenantId};
use crate::registry::ActionContext;
use crate::sim::daemon_metrics::{self, DaemonFigures};
use crate::sim::fleet::certificates::{CertificateFolder, DeviceCertificate};
use crate::sim::fleet::demo_fleet::{DemoFleet, TENANT};
use crate::sim::wait_for_crl::CrlWatch;
use crate::store::registry::bulk_enroll;

/// How often the figures are asked for while something is waited for.
pub const ASK_EVERY: Duration = Duration::from_millis(50);

/// When nothing more happens for so long although something is missing, it will not come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The fleet as the registry knows it.
pub struct EnrolledFleet {
    /// Who registered it, for what comes later.
    pub operator: CommandContext,
    /// Where more certificates come from.
    pub wallet: CertificateFolder,
    /// What each device shows, by its name.
    pub papers: HashMap<String, DeviceCertificate>,
}

/// Whether the broker is there: without it, nothing else is worth starting.
pub async fn greet(broker: &BrokerConfig) -> Result<MqttPublisher, Failure> {
    let config = BrokerConfig { client_id: format!("{}-overture", broker.client_id), ..broker.clone() };
    MqttPublisher::connect(&config, 1).await.map_err(broker_failure)
}

/// Brings the schema up to date and the registry in line with the fleet, and gives every device a certificate. The watch has
/// seen the CRL as it was before the daemon.
pub async fn enroll(
    fleet: &DemoFleet,
    config: &Config,
    certificates: &Path,
) -> Result<(EnrolledFleet, CrlWatch), Failure> {
    let operator = CommandContext::before_the_schema(config)?;
    operator.database.migrate().await.map_err(|error| Failure::unavailable(error.to_string()))?;
    let registrations = fleet.registrations(randomness()?);
    let enrolling =
        bulk_enroll::enroll(operator.database.pool(), &operator.actor, &registrations, clock::now().to_utc());
    enrolling.await.map_err(|error| outage(&error))?;
    let internal = |error: &dyn ToString| Failure::new(Exit::Internal, error.to_string());
    let tenant: TenantId = TENANT.parse().map_err(|error| internal(&error))?;
    let desk = ActionContext { database: &operator.database, actor: &operator.actor, now: clock::now() };
    let mut wallet = CertificateFolder::open(certificates, &[tenant], config, desk).await?;
    let mut papers = HashMap::new();
    for (name, is_stray) in fleet.names() {
        let device = DeviceKey::new(TENANT, name).map_err(|error| internal(&error))?;
        let own = if is_stray { wallet.stray_papers(&device, desk.now)? } else { wallet.papers(&device, desk).await? };
        papers.insert(name.to_owned(), own);
    }
    let watch = CrlWatch::open(&operator.database, wallet.issuer()).await?;
    Ok((EnrolledFleet { operator, wallet, papers }, watch))
}

/// Waits until the broker acts on the daemon's CRL, for that of an earlier run may have ended, and until every revocation that
/// an earlier run has begun is done.
pub async fn await_chain(mut watch: CrlWatch) -> Result<(), Failure> {
    watch.wait_enforced().await?;
    watch.wait_settled(TENANT).await
}

/// Waits until everything an earlier run left with the broker is stored, so that it is not counted as this run's. Behind it
/// goes a message that is ignored, and of which nothing is ever left over: it is published at QoS 0.
pub async fn overture(ops: SocketAddr, mut publisher: MqttPublisher) -> Result<DaemonFigures, Failure> {
    let topic = format!("tenant/{TENANT}/device/overture/commands");
    let begun = Instant::now();
    loop {
        publisher.publish_at_most_once(&topic, "{}").await.map_err(broker_failure)?;
        publisher.flush().await.map_err(broker_failure)?;
        let figures = daemon_metrics::figures(ops).await.map_err(no_figures)?;
        let all_kept = figures.received == figures.kept() + figures.ignored && figures.in_flight == 0;
        if figures.ignored > 0 && all_kept {
            publisher.close().await.map_err(broker_failure)?;
            return Ok(figures);
        }
        if begun.elapsed() > PATIENCE && figures.received == 0 {
            return Err(Failure::unavailable(format!(
                "the daemon receives nothing of what is published to {topic}: do both use one broker, and may \
                 MQTT_USERNAME write there?"
            )));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Of the metrics.
#[expect(clippy::needless_pass_by_value, reason = "it stands where map_err wants a function of the value")]
pub fn no_figures(error: std::io::Error) -> Failure {
    Failure::unavailable(format!("the daemon's metrics cannot be read: {error}"))
}

// === private helpers ===

fn randomness() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| Failure::new(Exit::Internal, format!("the system gave no randomness: {error}")))?;
    Ok(bytes)
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where map_err wants a function of the value")]
fn broker_failure(trouble: BrokerError) -> Failure {
    Failure::unavailable(trouble.to_string())
}
