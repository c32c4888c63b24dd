//! Wiring of the hooks: which authorizer answers the broker's questions, and which lookups it uses.
//!
//! It decides nothing itself.

use std::path::Path;
use std::sync::Arc;

use super::listeners::listen;
use super::{Daemon, RunError};
use crate::access::hooks::authorizer::{HookAuthorizer, HookLookup};
use crate::access::hooks::guest::GuestRefusal;
use crate::access::hooks::logins::Logins;
use crate::access::hooks::reserved_names::ReservedNames;
use crate::access::hooks::subject::Subject;
use crate::access::policy::reloading::{self, ActivePolicy};
use crate::access::tokens::cache::TokenCache;
use crate::access::tokens::verify;
use crate::clock;
use crate::config::sections::broker::BrokerConfig;
use crate::domain::broker_login::BrokerLogin;
use crate::domain::device::RegistryAnswer;
use crate::domain::ids::DeviceKey;
use crate::domain::ports::{Logbook, Outage};
use crate::domain::time::Timestamp;
use crate::http::{self, Hooks};
use crate::ingest::grants::lookup::{GrantLookup, QueryGuard};
use crate::lifecycle::Tasks;
use crate::pki::certificate::Certificate;
use crate::plugin_link::{LinkSources, PluginListener, Questions};
use crate::registry::guests::Guests;
use crate::store::access::logins::PgLogbook;
use crate::store::certificates::valid_certificates::ValidCertificates;
use crate::store::registry::directory::PgDirectory;

/// Lookups for what the authorizer does not know from the request alone.
struct HookLookups {
    registry: GrantLookup<PgDirectory>,
    logbook: PgLogbook,
    guard: QueryGuard,
    guests: Guests,
}

// === impl Daemon ===

impl Daemon {
    /// Starts the hooks before Postgres is available: a client with a token is authorized without
    /// it. They stop with `stop`.
    pub(super) async fn start_hooks(&self, tasks: &mut Tasks) -> Result<(), RunError> {
        let listener = listen("HOOKS_BIND", self.config.http.hooks_bind).await?;
        let (access, metrics) = (&self.config.access, &self.metrics.hooks);
        let (policy, rules) = reloading::open(access.acl_rules_path.as_deref(), metrics.clone())?;
        self.api.access.follow(policy.clone());
        let rules = rules.reporting_to(self.progress.clone());
        tasks.spawn("policy", rules.run(self.stop.clone()));
        let (verifier, refreshers) =
            verify::open(access.issuers.clone(), &self.metrics.issuer_keys, clock::now);
        for refresher in refreshers {
            tasks.spawn("issuer keys", refresher.run(self.stop.clone()));
        }
        let logins = Logins::new(metrics.clone());
        tasks.spawn(
            "logins",
            logins.clone().keep(self.database.logbook(), clock::now, self.stop.clone()),
        );
        let reserved = self.start_reserving(tasks);
        let requires_certificate = self.config.ingest.cert_auth_enabled;
        let authorizer = Arc::new(HookAuthorizer::new(
            self.hook_lookups(),
            TokenCache::new(verifier),
            logins,
            policy.clone(),
            clock::now,
            reserved.clone(),
            requires_certificate,
        ));
        let secret = self.config.http.hooks_secret.as_ref();
        let denials = self.api.access.denials.clone();
        self.start_plugin_link(tasks, authorizer.clone(), policy, reserved).await?;
        let hooks = Hooks::new(authorizer, secret, metrics.clone(), denials);
        let metrics = self.metrics.http.hooks.clone();
        tasks.spawn("hooks", http::serve_hooks(listener, hooks, metrics, self.stop.clone()));
        Ok(())
    }

    /// Starts the link to the broker's plugin, if `PLUGIN_SOCKET` is set. It stops with `stop`.
    async fn start_plugin_link(
        &self,
        tasks: &mut Tasks,
        authorizer: Arc<HookAuthorizer<HookLookups>>,
        policy: ActivePolicy,
        reserved: ReservedNames,
    ) -> Result<(), RunError> {
        let denials = self.api.access.denials.clone();
        let questions = Questions::new(authorizer, self.metrics.hooks.clone(), denials, clock::now);
        let sources = LinkSources {
            policy,
            reserved,
            questions: Arc::new(questions),
            certificates: ValidCertificates::new(self.database.pool().clone()),
            changes: self.changes.clone(),
            control: self.plugins.clone(),
            metrics: self.metrics.plugin.clone(),
            readiness: self.readiness.clone(),
        };
        if let Some(listener) = PluginListener::open(&self.config.plugin, sources).await? {
            tasks.spawn("plugin", listener.run(self.stop.clone()));
        }
        Ok(())
    }

    /// User names and client ids of this daemon and its replicas, kept current.
    fn start_reserving(&self, tasks: &mut Tasks) -> ReservedNames {
        let (broker, listed) = (&self.config.broker, &self.config.http.hooks_reserved_names);
        let names = own_names(broker);
        let reserved =
            ReservedNames::new(&names, listed, &broker.client_id, broker.share_group.is_some());
        let roster = self.database.roster(&broker.client_id, names.into_iter().next());
        tasks.spawn("replicas", reserved.clone().follow(roster, self.stop.clone()));
        reserved
    }

    fn hook_lookups(&self) -> HookLookups {
        let guard = QueryGuard::new(clock::now);
        let (grants, metrics) = (self.grants.clone(), self.metrics.ingest.clone());
        let registry =
            GrantLookup::new(self.database.directory(), grants, guard.clone(), metrics, clock::now);
        HookLookups {
            registry,
            logbook: self.database.logbook(),
            guard,
            guests: self.guests.clone(),
        }
    }
}

/// Names of this daemon at the broker: its user name and the common name of its certificate, which
/// the broker may use as a user name.
fn own_names(broker: &BrokerConfig) -> Vec<String> {
    let certificate = broker.tls.as_ref().and_then(|tls| tls.identity.as_ref());
    let common_name = certificate.and_then(|(path, _)| {
        common_name(path)
            .inspect_err(|cause| {
                tracing::warn!(
                    "the common name in MQTT_CLIENT_CERT cannot be read: {cause}; the hooks do not \
                     reserve it; add it to HOOKS_RESERVED_NAMES"
                );
            })
            .ok()
    });
    broker.username.clone().into_iter().chain(common_name).collect()
}

fn common_name(path: &Path) -> Result<String, String> {
    // Reading a pipe would never end.
    if !std::fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let certificate = Certificate::from_pem(&text).map_err(|error| error.to_string())?;
    certificate
        .common_name()
        .map(str::to_owned)
        .ok_or_else(|| "the certificate has none, or more than one".to_owned())
}

// === impl HookLookups ===

impl HookLookup for HookLookups {
    async fn answer(&self, device: &DeviceKey) -> Result<RegistryAnswer, Outage> {
        self.registry.of(device).await
    }

    async fn login(&self, username: &str, client_id: &str) -> Result<Option<BrokerLogin>, Outage> {
        self.guard.run(self.logbook.find(username, client_id)).await
    }

    async fn guest(
        &self,
        username: &str,
        token: &str,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Subject, GuestRefusal> {
        self.guests.verify(username, token, client_id, now).await
    }
}
