//! Probes the broker with one revoked and one valid certificate: the first must be refused, the
//! second admitted.
//!
//! The revoked certificate is new with each CRL and appears in no earlier one: a broker that
//! refuses it has read this CRL. It repairs nothing.

use crate::broker::tools::certificate_probe::{ProbeOutcome, TlsListenerAddress, try_certificate};
use crate::config::Config;
use crate::domain::clocks::Clocks;
use crate::pki::authority::Authority;
use crate::pki::certificate::Certificate;
use crate::pki::crl::probe_pair::{self, Canary, CanaryError};

/// The listener to probe and the roots to trust there.
#[derive(Clone, Debug)]
pub struct BrokerProbe {
    listener: TlsListenerAddress,
}

/// Two certificates: the next CRL revokes one, and the other stays valid.
#[derive(Debug)]
pub struct ProbePair {
    /// The one that the next CRL revokes.
    pub revoked: Canary,
    valid: Canary,
}

/// What the broker does with the CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrlEnforcement {
    /// It refuses the revoked certificate and admits the valid one.
    InForce,
    /// It does not; the text is a sentence for the operator.
    Not(String),
    /// The probe failed; the text is a sentence for the operator.
    Unseen(String),
}

// === impl BrokerProbe ===

impl BrokerProbe {
    /// Built from the settings. `None` means that `BROKER_PROBE_ADDR` is unset.
    pub fn of(config: &Config) -> Option<Self> {
        TlsListenerAddress::of(config).map(|listener| Self { listener })
    }

    /// Tries both certificates at the broker.
    pub async fn run(&self, canaries: &ProbePair) -> CrlEnforcement {
        let valid = self.try_one(&canaries.valid).await;
        let revoked = if valid == ProbeOutcome::Admitted {
            Some(self.try_one(&canaries.revoked).await)
        } else {
            None
        };
        judge(&self.listener.address, &valid, revoked.as_ref())
    }

    async fn try_one(&self, canary: &Canary) -> ProbeOutcome {
        let name = canary.certificate.common_name().unwrap_or(probe_pair::NAME_PREFIX);
        try_certificate(&self.listener, name, canary.certificate.der(), canary.key.expose()).await
    }
}

// === impl ProbePair ===

impl ProbePair {
    /// Makes a new pair.
    pub fn make(authority: &Authority, at: Clocks) -> Result<Self, CanaryError> {
        Ok(Self {
            revoked: probe_pair::make(authority, at)?,
            valid: probe_pair::make(authority, at)?,
        })
    }

    /// The certificate that stays valid.
    pub const fn valid(&self) -> &Certificate {
        &self.valid.certificate
    }
}

// --- private helpers ---

fn judge(address: &str, valid: &ProbeOutcome, revoked: Option<&ProbeOutcome>) -> CrlEnforcement {
    CrlEnforcement::Not(match (valid, revoked) {
        (ProbeOutcome::Admitted, Some(ProbeOutcome::Revoked)) => return CrlEnforcement::InForce,
        (ProbeOutcome::Unreachable(why), _) | (_, Some(ProbeOutcome::Unreachable(why))) => {
            return CrlEnforcement::Unseen(format!(
                "the probe at BROKER_PROBE_ADDR {address} cannot tell whether the broker enforces \
                 the CRL: {why}"
            ));
        }
        (ProbeOutcome::Refused(why), _) => format!(
            "the broker at {address} refuses a valid certificate ({why}), and so every device: \
             check the dates of its CRL, its cafile and the clocks"
        ),
        (ProbeOutcome::Revoked, _) => {
            format!(
                "the broker at {address} refuses a valid certificate as revoked: it reads another \
                 CRL"
            )
        }
        (ProbeOutcome::Admitted, Some(ProbeOutcome::Refused(why))) => format!(
            "the broker at {address} refuses a revoked certificate, but for another reason \
             ({why}): read its log"
        ),
        (ProbeOutcome::Admitted, Some(ProbeOutcome::Admitted) | None) => format!(
            "the broker at {address} accepts a certificate that the CRL revokes: it has not read \
             the newest CRL; check that its crlfile is the file at CRL_OUTPUT_PATH, and that it \
             is notified (BROKER_PID_FILE, BROKER_RELOAD_COMMAND, or a watcher on its machine)"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_force_means_that_one_is_refused_as_revoked_and_the_other_admitted() {
        let refused = ProbeOutcome::Refused("x".into());
        let away = ProbeOutcome::Unreachable("away".into());
        assert_eq!(
            judge("b:1", &ProbeOutcome::Admitted, Some(&ProbeOutcome::Revoked)),
            CrlEnforcement::InForce
        );
        for (valid, revoked, part) in [
            (&ProbeOutcome::Admitted, Some(&ProbeOutcome::Admitted), "accepts a certificate"),
            (&ProbeOutcome::Admitted, Some(&refused), "another reason (x)"),
            (&refused, None, "every device"),
            (&ProbeOutcome::Revoked, None, "another CRL"),
        ] {
            let CrlEnforcement::Not(why) = judge("b:1", valid, revoked) else {
                panic!("in force, or not seen")
            };
            assert!(why.contains(part), "{why}");
        }
        for (valid, revoked) in [(&away, None), (&ProbeOutcome::Admitted, Some(&away))] {
            let CrlEnforcement::Unseen(why) = judge("b:1", valid, revoked) else { panic!("seen") };
            assert!(why.contains("away"), "{why}");
        }
    }
}
