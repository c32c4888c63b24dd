//! A verifier with its refreshing tasks.

use std::sync::Arc;

use sluice::access::hooks::subject::Subject;
use sluice::access::tokens::error::TokenError;
use sluice::access::tokens::key_refresh::KeyRefresher;
use sluice::access::tokens::proof::Proof;
use sluice::access::tokens::verify::{self, Verifier};
use sluice::clock;
use sluice::config::sections::issuer::{IssuerConfig, IssuerKeySource};
use sluice::domain::time::Timestamp;
use sluice::telemetry::metrics::Metrics;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::pyjwt::{ISSUER, made};
use crate::support::wait;

/// The issuer as most tests trust it.
pub fn issuer(keys: IssuerKeySource) -> IssuerConfig {
    let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    IssuerConfig {
        issuer: ISSUER.to_owned(),
        audience: list(&["gate", "mqtt"]),
        keys,
        leeway_seconds: 30,
        required_claims: Vec::new(),
        group_claims: list(&["realm_access.roles", "groups"]),
        scope_claims: list(&["scope"]),
    }
}

/// Its tasks end when it is dropped.
pub struct TokenVerifier {
    pub verifier: Verifier,
    pub metrics: Metrics,
    runtime: Runtime,
    stop: CancellationToken,
}

// === impl TokenVerifier ===

impl TokenVerifier {
    pub fn new(issuers: Vec<IssuerConfig>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (metrics, stop) = (Metrics::new().unwrap(), CancellationToken::new());
        let (verifier, keepers) = verify::open(issuers, &metrics.issuer_keys, clock::now);
        for keeper in keepers {
            runtime.spawn(KeyRefresher::run(keeper, stop.clone()));
        }
        Self { verifier, metrics, runtime, stop }
    }

    /// Waits until the first keys are there.
    pub fn with_keys(issuer: IssuerConfig) -> Self {
        let verifier = Self::new(vec![issuer]);
        wait::until("the keys are read", || verifier.age() >= 0);
        verifier
    }

    /// What the metric says.
    pub fn age(&self) -> i64 {
        self.metrics.issuer_keys.keys_age.with_label_values(&[ISSUER]).get()
    }

    /// At the moment for which the tokens were made.
    pub fn verify(&self, name: &str) -> Result<Subject, TokenError> {
        self.verify_at(name, made().now)
    }

    pub fn verify_at(&self, name: &str, now: Timestamp) -> Result<Subject, TokenError> {
        self.verifier.verify(made().token(name), now).map(subject)
    }

    pub fn log_in(&self, name: &str) -> Result<Subject, TokenError> {
        self.runtime
            .block_on(self.verifier.verify_at_login(made().token(name), || made().now))
            .map(subject)
    }
}

fn subject(proof: Proof) -> Subject {
    Arc::unwrap_or_clone(proof.subject)
}

impl Drop for TokenVerifier {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
