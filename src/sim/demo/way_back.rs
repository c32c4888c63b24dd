//! One demo device uses the way back: an operator queues a command, the device receives and
//! acknowledges it, and renews its own certificate.
//!
//! It queues as `sluice command send` does, and receives as a device does; daemon and broker do the
//! rest.

use std::time::Duration;

use serde::Serialize;
use serde_json::Map;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::traffic::TrafficTally;
use crate::clock;
use crate::command::context::CommandContext;
use crate::config::sections::downlink::DownlinkConfig;
use crate::domain::command::CommandStatus;
use crate::downlink::DownlinkContext;
use crate::downlink::commands::{self, CommandContent};
use crate::sim::fleet::certificates::DeviceCertificate;
use crate::sim::fleet::device_client::DeviceClient;
use crate::sim::fleet::device_listener::DeviceListener;
use crate::sim::fleet::renewal;

/// The command.
const COMMAND: &str = "open";

/// Upper bound for each step.
const PATIENCE: Duration = Duration::from_secs(15);

/// Interval between two reads of the command's row.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The device that answers and renews, and what that takes.
pub struct WayBack {
    /// Queues the command.
    pub operator: CommandContext,
    /// Its settings.
    pub settings: DownlinkConfig,
    /// The listener that the device connects to.
    pub listener: DeviceListener,
    /// The device and its certificate.
    pub certificate: DeviceCertificate,
    /// The figures shared by all devices.
    pub tally: TrafficTally,
}

/// What became of the command and of the renewal.
#[derive(Clone, Debug, Serialize)]
pub struct WayBackReport {
    /// The device.
    pub device: String,
    /// The command.
    pub command: Result<AnsweredCommand, String>,
    /// Milliseconds from the request to the new certificate.
    pub renewal_ms: Result<f64, String>,
}

/// How fast a command was answered.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AnsweredCommand {
    /// Milliseconds from the queued command to the device.
    pub delivered_ms: f64,
    /// Milliseconds from the queued command to its state ACKNOWLEDGED.
    pub acknowledged_ms: f64,
}

// === impl WayBack ===

impl WayBack {
    /// Runs both steps and reports them.
    pub async fn run(self, report: oneshot::Sender<WayBackReport>) {
        let device = self.certificate.device.device().to_owned();
        let DeviceCertificate { device: key, pem, .. } = &self.certificate;
        let (command, renewal_ms) = match DeviceClient::connect(&self.listener, key, pem).await {
            Ok(mut client) => {
                let command = self.answer_command(&mut client).await;
                let renewed = renewal::renew(client, &self.listener, key, pem).await;
                let renewed = match renewed {
                    Ok((client, after)) => {
                        // The revocation of the old certificate may have ended the session.
                        let _ = client.close().await;
                        Ok(millis(after))
                    }
                    Err(error) => Err(error.to_string()),
                };
                (command, renewed)
            }
            Err(error) => (Err(error.to_string()), Err("the device is not connected".to_owned())),
        };
        // The receiver is gone only when the demonstration has failed already.
        let _ = report.send(WayBackReport { device, command, renewal_ms });
        self.operator.database.close().await;
    }

    /// Queues a command, and answers it as the device.
    async fn answer_command(&self, client: &mut DeviceClient) -> Result<AnsweredCommand, String> {
        let (id, queued) = (Uuid::now_v7(), Instant::now());
        self.queue(id).await?;
        loop {
            let next = client.next_command(PATIENCE).await.map_err(|error| error.to_string())?;
            let command =
                next.ok_or_else(|| format!("no command within {} s", PATIENCE.as_secs()))?;
            let delivered_ms = millis(queued.elapsed());
            client.acknowledge(&command).await.map_err(|error| error.to_string())?;
            self.tally.count_acknowledgement();
            // A command of an earlier run may arrive first.
            if command.id == id.to_string() {
                self.wait_until_acknowledged(client, id).await?;
                let acknowledged_ms = millis(queued.elapsed());
                return Ok(AnsweredCommand { delivered_ms, acknowledged_ms });
            }
        }
    }

    async fn queue(&self, id: Uuid) -> Result<(), String> {
        let content = CommandContent {
            command_type: COMMAND.parse().map_err(|_| "the command has no valid type")?,
            params: Map::new(),
            ttl: Some(PATIENCE),
        };
        let queued = commands::queue(self.context(), &self.certificate.device, Some(id), content);
        queued.await.map(drop).map_err(|error| error.to_string())
    }

    async fn wait_until_acknowledged(
        &self,
        client: &mut DeviceClient,
        id: Uuid,
    ) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let shown = commands::show(self.context(), &self.certificate.device, id).await;
            let row = shown.map_err(|error| error.to_string())?;
            if row.status == CommandStatus::Acknowledged {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("the command is {}, and was acknowledged", row.status));
            }
            // Reads the PUBACK; a command that Sluice sends again is not answered twice here.
            let _ = client.next_command(POLL_INTERVAL).await;
        }
    }

    fn context(&self) -> DownlinkContext<'_> {
        DownlinkContext {
            database: &self.operator.database,
            actor: &self.operator.actor,
            now: clock::now(),
            settings: &self.settings,
        }
    }
}

// === impl WayBackReport ===

impl WayBackReport {
    /// The report of a device that did not end in time.
    pub fn missing() -> Self {
        let missing = || "the device did not end in time".to_owned();
        Self { device: "-".to_owned(), command: Err(missing()), renewal_ms: Err(missing()) }
    }

    /// Whether both steps succeeded.
    pub const fn is_complete(&self) -> bool {
        self.command.is_ok() && self.renewal_ms.is_ok()
    }

    /// The report as two lines.
    pub fn lines(&self) -> [String; 2] {
        let device = &self.device;
        let command = match &self.command {
            Ok(AnsweredCommand { delivered_ms, acknowledged_ms }) => format!(
                "A command reached device {device} after {delivered_ms:.1} ms; \
                 its acknowledgement was stored after {acknowledged_ms:.1} ms."
            ),
            Err(why) => format!("COMMAND FAILED: device {device}: {why}"),
        };
        let renewal = match &self.renewal_ms {
            Ok(after) => format!(
                "Device {device} renewed its certificate in {after:.1} ms, and confirmed it on a \
                 new connection."
            ),
            Err(why) => format!("RENEWAL FAILED: device {device}: {why}"),
        };
        [command, renewal]
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
