//! A request of a device that the registry accepts, as the routes see it.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::reply::Rejection;
use crate::config::Config;
use crate::domain::device::Device;
use crate::domain::ids::DeviceKey;
use crate::domain::publisher::Publisher;
use crate::domain::time::{Clock, Timestamp};
use crate::downlink::DownlinkContext;
use crate::http::api::problem::{Problem, ProblemKind};
use crate::ingest::parse::parsed::TokenField;
use crate::store::connection::database::Database;
use crate::store::registry::audit::Actor;
use crate::telemetry::certificates::CertificateMetrics;

/// What every route works with.
#[derive(Clone, Debug)]
pub(super) struct DeviceServices {
    pub config: Arc<Config>,
    pub database: Database,
    pub certificates: CertificateMetrics,
}

/// One request.
#[derive(Debug)]
pub(super) struct DeviceCall<'a> {
    pub services: &'a DeviceServices,
    /// Who asks.
    pub device: &'a DeviceKey,
    /// What the registry knows of the device; `None` only for a route that needs no database.
    pub registered: Option<&'a Device>,
    /// Who published the request.
    pub publisher: Publisher,
    /// The `provision_token` of the request.
    pub token: TokenField,
    /// The payload without `id` and `provision_token`.
    pub params: Map<String, Value>,
    /// When the request was read from the socket.
    pub received_at: Timestamp,
    /// When the registry answered.
    pub now: Timestamp,
    /// The time, for what happens later.
    pub clock: Clock,
}

// === impl DeviceCall ===

impl DeviceCall<'_> {
    /// The device as the author of a change.
    pub(super) fn actor(&self) -> Actor {
        Actor::new(&format!("device:{}", self.device))
    }

    /// What a decision about commands and documents needs.
    pub(super) fn downlink<'a>(&'a self, actor: &'a Actor) -> DownlinkContext<'a> {
        let DeviceServices { config, database, .. } = self.services;
        DownlinkContext { database, actor, now: self.now, settings: &config.downlink }
    }

    /// Reads the parameters; an unknown one is refused if `T` refuses it.
    pub(super) fn params<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        let params = Value::Object(self.params.clone());
        serde_path_to_error::deserialize(params).map_err(|error| {
            let field = error.path().to_string();
            let why = error.into_inner().to_string();
            Rejection::from(match field.as_str() {
                "." => Problem::new(ProblemKind::BadRequest, format!("the payload: {why}")),
                _ => Problem::field(field, why),
            })
        })
    }
}
