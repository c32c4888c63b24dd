//! The routes of devices, by name.
//!
//! It decides nothing: each route has a file of its own.

use serde_json::{Map, Value};

use super::call::DeviceCall;
use super::reply::{Rejection, ReplyResult};
use super::{certificate, commands, device, explain, shadow, time};
use crate::http::api::problem::{Problem, ProblemKind};

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceRoute {
    /// The time of Sluice.
    Time,
    /// What the registry knows of the device.
    Device,
    /// Its desired and reported document.
    Shadow,
    /// Its open commands.
    Commands,
    /// Why a message of the device would be refused.
    Explain,
    /// A new certificate in place of the one in use.
    CertificateRenew,
    /// The device uses its new certificate.
    CertificateConfirm,
}

/// All routes.
const ROUTES: [DeviceRoute; 7] = [
    DeviceRoute::Time,
    DeviceRoute::Device,
    DeviceRoute::Shadow,
    DeviceRoute::Commands,
    DeviceRoute::Explain,
    DeviceRoute::CertificateRenew,
    DeviceRoute::CertificateConfirm,
];

// === impl DeviceRoute ===

impl DeviceRoute {
    /// The name in the topic.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Device => "device",
            Self::Shadow => "shadow",
            Self::Commands => "commands",
            Self::Explain => "explain",
            Self::CertificateRenew => "certificate/renew",
            Self::CertificateConfirm => "certificate/confirm",
        }
    }

    /// Whether the route itself verifies who sends this request. A `null` is no signature.
    pub(super) fn proves_itself(self, params: &Map<String, Value>) -> bool {
        let is_sent = params.get(certificate::PROOF).is_some_and(Value::is_string);
        self == Self::CertificateRenew && is_sent
    }

    /// The route of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        ROUTES.into_iter().find(|route| route.name() == name)
    }
}

/// Answers a request.
pub(super) async fn answer(route: DeviceRoute, call: &DeviceCall<'_>) -> ReplyResult {
    match route {
        DeviceRoute::Time => time::answer(call),
        DeviceRoute::Device => device::answer(call).await,
        DeviceRoute::Shadow => shadow::answer(call).await,
        DeviceRoute::Commands => commands::answer(call).await,
        DeviceRoute::Explain => explain::answer(call).await,
        DeviceRoute::CertificateRenew => certificate::renew(call).await.map(Into::into),
        DeviceRoute::CertificateConfirm => certificate::confirm(call).await.map(Into::into),
    }
}

/// The rejection of a name that is no route.
pub(super) fn no_such_route(name: &str) -> Rejection {
    let routes = ROUTES.map(DeviceRoute::name).join(", ");
    let detail = format!("there is no route {name}; the routes are {routes}");
    Problem::new(ProblemKind::NoSuchPath, detail).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_renewal_with_a_signature_proves_itself() {
        let proves = |route: DeviceRoute, proof: Value| {
            let params: Map<String, Value> =
                [(certificate::PROOF.to_owned(), proof)].into_iter().collect();
            route.proves_itself(&params)
        };
        assert!(proves(DeviceRoute::CertificateRenew, "QUJD".into()));
        assert!(!proves(DeviceRoute::Device, "QUJD".into()));
        for no_signature in [Value::Null, json!(false), json!(1), json!([]), json!({})] {
            assert!(!proves(DeviceRoute::CertificateRenew, no_signature));
        }
        assert!(!DeviceRoute::CertificateRenew.proves_itself(&Map::new()));
    }
}
