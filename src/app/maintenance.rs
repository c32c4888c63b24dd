//! Starts the tasks that maintain database, certificates, revocation list and access rules, and the one
//! that replays the quarantine.
//!
//! A message needs none of them.

use std::sync::Arc;

use super::Daemon;
use crate::clock;
use crate::lifecycle::Tasks;
use crate::quarantine::replay_worker::ReplayWorker;
use crate::registry::access_rules::writer::AclWriter;
use crate::registry::authority_watch::AuthorityWatch;
use crate::registry::cell_authority_watch::CellAuthorityWatch;
use crate::registry::cells::watch::RegistryWatch;
use crate::registry::certificates::upkeep::{CertificateUpkeep, Notices};
use crate::registry::revocation::broker_reload::Recheck;
use crate::registry::revocation::isolation::Isolation;
use crate::registry::revocation::publisher::CrlPublisher;
use crate::store::connection::health_probe;
use crate::store::schema::partitions;
use crate::store::schema::retention::Retention;

// === impl Daemon ===

impl Daemon {
    /// Starts all of them.
    pub(super) fn start_maintenance(&self, tasks: &mut Tasks) {
        self.start_database_upkeep(tasks);
        self.start_certificate_upkeep(tasks);
        self.start_revocation(tasks);
        self.start_replays(tasks);
        self.start_registry_watch(tasks);
    }

    fn start_registry_watch(&self, tasks: &mut Tasks) {
        let url = self.config.database.registry_url.clone();
        let (database, metrics) = (self.database.clone(), self.metrics.cells.clone());
        let watch = RegistryWatch::new(database, url, metrics, self.readiness.clone(), clock::now);
        tasks.spawn("registry", watch.keep(self.stop.clone()));
    }

    fn start_replays(&self, tasks: &mut Tasks) {
        let metrics = (self.metrics.replay.clone(), self.metrics.replays.clone());
        let signal = self.api.replay_signal.clone();
        let worker = ReplayWorker::new(&self.config, &self.database, metrics.0, metrics.1, signal);
        tasks.spawn("replays", worker.run(self.stop.clone()));
    }

    fn start_database_upkeep(&self, tasks: &mut Tasks) {
        let keep = partitions::keep(
            self.database.pool().clone(),
            Retention::from(&self.config.database),
            self.metrics.store.clone(),
            self.readiness.clone(),
            clock::now,
            Arc::clone(&self.has_new_link),
            self.stop.clone(),
        );
        tasks.spawn("partitions", keep);
        let (database, readiness) = (self.database.clone(), self.readiness.clone());
        let probe = health_probe::watch(database, readiness, clock::now, self.stop.clone());
        tasks.spawn("probe", probe);
    }

    fn start_certificate_upkeep(&self, tasks: &mut Tasks) {
        let settings = &self.config.certificates;
        let metrics = &self.metrics.certificates;
        let upkeep = CertificateUpkeep::new(
            self.database.clone(),
            metrics.clone(),
            settings.expiry_warning_days,
            self.notices(),
            clock::now,
        );
        tasks.spawn("certificates", upkeep.keep(self.stop.clone()));
        let readiness = self.readiness.clone();
        if let Some(watch) = AuthorityWatch::new(settings, metrics.clone(), readiness, clock::now) {
            tasks.spawn("authority", watch.watch(self.stop.clone()));
        }
        let (metrics, readiness) = (metrics.clone(), self.readiness.clone());
        let watch = CellAuthorityWatch::new(settings, metrics, readiness, clock::now);
        if let Some(watch) = watch {
            tasks.spawn("cell_authorities", watch.watch(self.stop.clone()));
        }
    }

    /// Devices get notices where they may send requests.
    const fn notices(&self) -> Notices {
        match (self.config.mqtt_api.device_api, self.config.certificates.renew_over_mqtt) {
            (false, _) => Notices::Off,
            (true, false) => Notices::On,
            (true, true) => Notices::WithRenewTopic,
        }
    }

    fn start_revocation(&self, tasks: &mut Tasks) {
        let (config, readiness) = (&self.config, &self.readiness);
        let recheck = Recheck::default();
        let metrics = self.metrics.broker_acl.clone();
        let acl = AclWriter::new(config, metrics, readiness.clone(), &self.signal);
        let (database, metrics) = (self.database.clone(), self.metrics.revocation.clone());
        let publisher =
            CrlPublisher::new(config, database, metrics, readiness.clone(), acl, clock::now);
        if let Some(publisher) = publisher {
            let publisher = publisher.with(recheck.clone(), self.plugins.clone());
            tasks.spawn("revocation", publisher.run(self.stop.clone()));
        }
        let metrics = self.metrics.isolation.clone();
        let isolation = Isolation::new(config, recheck, metrics, readiness.clone(), clock::now);
        if let Some(isolation) = isolation {
            let isolation = isolation.with_plugins(self.plugins.clone());
            tasks.spawn("isolation", isolation.run(self.stop.clone()));
        }
    }
}
