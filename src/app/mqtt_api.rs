//! Starts the answers to requests over MQTT.
//!
//! It decides nothing.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Daemon;
use crate::broker::exchange::Exchange;
use crate::clock;
use crate::domain::device_topics::ALL_REQUESTS;
use crate::domain::exchange::RequestMessage;
use crate::ingest::grants::lookup::{GrantLookup, QueryGuard};
use crate::lifecycle::Tasks;
use crate::mqtt_api::devices::DeviceApi;
use crate::mqtt_api::dispatch::Dispatcher;
use crate::mqtt_api::operators::OperatorApi;

// === impl Daemon ===

impl Daemon {
    /// The filters of the requests that this daemon answers; none without an API.
    pub(super) fn request_filters(&self) -> Vec<String> {
        let devices = self.config.mqtt_api.device_api.then(|| ALL_REQUESTS.to_owned());
        devices.into_iter().chain(self.config.mqtt_api.operators.request_filters()).collect()
    }

    /// Starts to answer the requests that `exchange` receives.
    pub(super) fn start_mqtt_api(
        &self,
        tasks: &mut Tasks,
        exchange: Exchange,
        requests: mpsc::Receiver<RequestMessage>,
    ) {
        let (devices, operators) = (self.device_api(), self.operator_api());
        if devices.is_none() && operators.is_none() {
            return;
        }
        let metrics = self.metrics.mqtt_api.clone();
        metrics.plain.enabled.set(1);
        let dispatcher = Dispatcher::new(devices, operators, exchange, metrics, clock::now);
        tasks.spawn("mqtt api", dispatcher.run(requests, self.stop.clone()));
    }

    fn device_api(&self) -> Option<DeviceApi> {
        self.config.mqtt_api.device_api.then(|| {
            let registry = GrantLookup::new(
                self.database.directory(),
                self.grants.clone(),
                QueryGuard::new(clock::now),
                self.metrics.ingest.clone(),
                clock::now,
            );
            let config = Arc::new(self.config.clone());
            let metrics = (self.metrics.mqtt_api.clone(), self.metrics.ingest.proofs.clone());
            let certificates = self.metrics.certificates.clone();
            DeviceApi::new(config, &self.database, registry, metrics, certificates, clock::now)
        })
    }

    fn operator_api(&self) -> Option<OperatorApi> {
        let config = self.config.mqtt_api.operators.clone();
        (!config.request_filters().is_empty()).then(|| {
            OperatorApi::new(config, self.api.clone(), self.metrics.mqtt_api.clone(), clock::now)
        })
    }
}
