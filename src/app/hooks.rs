//! The broker's questions: what answers them, and where that looks for what it does not know.

use std::path::Path;

use tokio::net::TcpListener;

use super::{Daemon, RunError};
use crate::access::hooks::authorizer::{HookAuthorizer, HookLookup};
use crate::access::hooks::guest::GuestRefusal;
use crate::access::hooks::logins::Logins;
use crate::access::hooks::reserved_names::ReservedNames;
use crate::access::hooks::subject::Subject;
use crate::access::policy::reloading;
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
use crate::registry::guests::Guests;
use crate::store::access::logins::PgLogbook;
use crate::store::registry::directory::PgDirectory;

/// What the door asks.
struct HookLookups {
    standings: GrantLookup<PgDirectory>,
    logbook: PgLogbook,
    brake: QueryGuard,
    guests: Guests,
}

// === impl Daemon ===

impl Daemon {
    /// The hooks, from the first moment on: who is known by a token alone needs no Postgres. They take no more once the
    /// daemon stops.
    pub(super) async fn start_hooks(&self, tasks: &mut Tasks) -> Result<(), RunError> {
        let (setting, bind) = ("HOOKS_BIND", self.config.http.hooks_bind);
        let listener = TcpListener::bind(bind).await.map_err(|error| RunError::Bind { setting, bind, error })?;
        let (access, numbers) = (&self.config.access, &self.metrics.hooks);
        let (rulebook, rules) = reloading::open(access.acl_rules_path.as_deref(), numbers.clone())?;
        tasks.spawn("policy", rules.run(self.stop.clone()));
        let (verifier, keepers) = verify::open(access.issuers.clone(), &self.metrics.issuer_keys, clock::now);
        for keeper in keepers {
            tasks.spawn("issuer keys", keeper.run(self.stop.clone()));
        }
        let logins = Logins::new(numbers.clone());
        tasks.spawn("logins", logins.clone().keep(self.database.logbook(), clock::now, self.stop.clone()));
        let reserved = self.start_reserving(tasks);
        let certificates_count = self.config.ingest.cert_auth_enabled;
        let door = HookAuthorizer::new(
            self.behind(),
            TokenCache::new(verifier),
            logins,
            rulebook,
            clock::now,
            reserved,
            certificates_count,
        );
        let hooks = Hooks::new(door, self.config.http.hooks_secret.as_ref(), numbers.clone());
        let numbers = self.metrics.http.hooks.clone();
        tasks.spawn("hooks", http::serve_hooks(listener, hooks, numbers, self.stop.clone()));
        Ok(())
    }

    /// The names and client ids of this daemon and its replicas, kept current.
    fn start_reserving(&self, tasks: &mut Tasks) -> ReservedNames {
        let (broker, listed) = (&self.config.broker, &self.config.http.hooks_reserved_names);
        let names = own_names(broker);
        let reserved = ReservedNames::new(&names, listed, &broker.client_id, broker.share_group.is_some());
        let roster = self.database.roster(&broker.client_id, names.into_iter().next());
        tasks.spawn("replicas", reserved.clone().follow(roster, self.stop.clone()));
        reserved
    }

    fn behind(&self) -> HookLookups {
        let brake = QueryGuard::new(clock::now);
        let (grants, numbers) = (self.grants.clone(), self.metrics.ingest.clone());
        let standings = GrantLookup::new(self.database.directory(), grants, brake.clone(), numbers, clock::now);
        HookLookups { standings, logbook: self.database.logbook(), brake, guests: self.guests.clone() }
    }
}

/// What this daemon may be called at the broker: its user name, and the common name of its certificate, which the broker may
/// take for one.
fn own_names(broker: &BrokerConfig) -> Vec<String> {
    let certificate = broker.tls.as_ref().and_then(|tls| tls.identity.as_ref());
    let common_name = certificate.and_then(|(path, _)| {
        common_name(path)
            .inspect_err(|cause| {
                tracing::warn!(
                    "the common name in MQTT_CLIENT_CERT cannot be read: {cause}; it is not reserved at the hooks; list it in \
                     HOOKS_RESERVED_NAMES"
                );
            })
            .ok()
    });
    broker.username.clone().into_iter().chain(common_name).collect()
}

fn common_name(path: &Path) -> Result<String, String> {
    // A pipe would never end.
    if !std::fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
        return Err("it is no file".to_owned());
    }
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let certificate = Certificate::from_pem(&text).map_err(|error| error.to_string())?;
    certificate.common_name().map(str::to_owned).ok_or_else(|| "it has none, or several".to_owned())
}

// === impl Behind ===

impl HookLookup for HookLookups {
    async fn standing(&self, device: &DeviceKey) -> Result<RegistryAnswer, Outage> {
        self.standings.of(device).await
    }

    async fn login(&self, username: &str, client_id: &str) -> Result<Option<BrokerLogin>, Outage> {
        self.brake.ask(self.logbook.find(username, client_id)).await
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
