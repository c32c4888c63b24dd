//! The certificates of simulated devices: one file each with certificate and key, mode 0600, kept
//! for the next run.
//!
//! The registry issues a certificate when it accepts none of those in the files. This is for
//! simulated devices only: a real device creates its own key and sends a request.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::command::context::outage;
use crate::command::failure::{Exit, Failure};
use crate::command::registry_errors::{not_issued, not_ready, not_stored};
use crate::config::Config;
use crate::domain::ids::{DeviceKey, TenantId};
use crate::domain::time::Timestamp;
use crate::pki::authority::sign;
use crate::pki::certificate::Certificate;
use crate::pki::files;
use crate::pki::key::PrivateKeyPem;
use crate::pki::request::profile::{CertificateProfile, Lifetime};
use crate::pki::serial::Serial;
use crate::registry::certificates::issue::{self, KeySource, Order};
use crate::registry::{ActionContext, Signer};
use crate::store::certificates::CertificateStatus;
use crate::store::certificates::changes::NewCertificate;
use crate::store::certificates::inventory::{self, CertificateFilter};
use crate::store::registry::bulk_enroll;

/// Largest file of a certificate and its key; a larger one is replaced.
const MAX_PEM_BYTES: u64 = 64 * 1024;

/// Least remaining lifetime; a shorter one is replaced. A run lasts a day at most.
const LEAST_SECONDS: i64 = 2 * 86_400;

/// Certificates fetched in one query.
const PAGE: u32 = 5_000;

/// A directory of certificates, and the ACTIVE ones of the registry.
#[derive(Debug)]
pub struct CertificateFolder {
    dir: PathBuf,
    signer: Signer,
    profile: CertificateProfile,
    /// Identifiers of ACTIVE certificates, by fingerprint.
    held: HashMap<String, Uuid>,
}

/// The certificate a device connects with.
#[derive(Clone, Debug)]
pub struct DeviceCertificate {
    /// The device.
    pub device: DeviceKey,
    /// The file with certificate and key.
    pub pem: PathBuf,
    /// Its row; `None` means the registry does not know it.
    pub row: Option<Uuid>,
    /// Whether this run created it.
    pub is_new: bool,
}

// === impl CertificateFolder ===

impl CertificateFolder {
    /// Opens the authority and reads the ACTIVE certificates of `tenants`.
    pub async fn open(
        dir: &Path,
        tenants: &[TenantId],
        config: &Config,
        action: ActionContext<'_>,
    ) -> Result<Self, Failure> {
        let settings = &config.certificates;
        let signer = Signer::open(settings, action.now).map_err(|error| not_ready(&error))?;
        let profile = CertificateProfile {
            cn_format: settings.cn_format,
            validity_days: settings.validity_days,
        };
        let mut held = HashMap::new();
        for tenant in tenants {
            let (tenant, status) = (Some(tenant.clone()), Some(CertificateStatus::Active));
            let mut filter = CertificateFilter { tenant, status, ..CertificateFilter::default() };
            loop {
                let page = inventory::list(action.database.pool(), &filter, PAGE)
                    .await
                    .map_err(not_stored)?;
                filter.after = page.last().map(|row| row.id);
                let is_last = page.len() < PAGE as usize;
                held.extend(page.into_iter().map(|row| (row.fingerprint_sha256, row.id)));
                if is_last {
                    break;
                }
            }
        }
        Ok(Self { dir: dir.to_owned(), signer, profile, held })
    }

    /// The authority's subject name.
    pub fn issuer(&self) -> &str {
        self.signer.authority().certificate().name()
    }

    /// Returns the certificate in the device's file when the registry accepts it; issues one
    /// otherwise.
    pub async fn ensure(
        &mut self,
        device: &DeviceKey,
        action: ActionContext<'_>,
    ) -> Result<DeviceCertificate, Failure> {
        self.ensure_for(device, Lifetime::Usual, action).await
    }

    /// The same; a certificate that is issued gets this lifetime.
    pub async fn ensure_for(
        &mut self,
        device: &DeviceKey,
        lifetime: Lifetime,
        action: ActionContext<'_>,
    ) -> Result<DeviceCertificate, Failure> {
        if let Some(held) = self.held(device, action.now) {
            return Ok(held);
        }
        let order = Order { key: KeySource::Made, lifetime };
        let issued = issue::issue(action, &self.signer, device, order).await.map_err(not_issued)?;
        self.held.insert(issued.certificate.fingerprint_sha256.clone(), issued.certificate.id);
        let key = issued.key.as_ref().map_or("", PrivateKeyPem::expose);
        self.write(device, &issued.pem, key)?;
        Ok(DeviceCertificate {
            device: device.clone(),
            pem: self.file(device),
            row: Some(issued.certificate.id),
            is_new: true,
        })
    }

    /// Like [`Self::ensure`], for a device that is not registered: its certificate is stored, and
    /// authenticates it once the device is.
    pub async fn ensure_unregistered(
        &mut self,
        device: &DeviceKey,
        action: ActionContext<'_>,
    ) -> Result<DeviceCertificate, Failure> {
        if let Some(held) = self.held(device, action.now) {
            return Ok(held);
        }
        let certificate = self.sign(device, action.now)?;
        let new = NewCertificate {
            device: device.clone(),
            fingerprint: certificate.fingerprint().to_string(),
            public_key_sha256: certificate.public_key_sha256(),
            serial: certificate.serial().to_string(),
            common_name: certificate.common_name().unwrap_or_default().to_owned(),
            issuer: certificate.issuer().to_owned(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            pem: certificate.to_pem(),
        };
        let adding = bulk_enroll::add_early_certificate(action.database.pool(), &new);
        let row = adding.await.map_err(|error| outage(&error))?;
        self.held.insert(new.fingerprint, row);
        Ok(DeviceCertificate {
            device: device.clone(),
            pem: self.file(device),
            row: Some(row),
            is_new: true,
        })
    }

    /// Issues a certificate and replaces the file, whose certificate was revoked.
    pub async fn reissue(
        &mut self,
        device: &DeviceKey,
        action: ActionContext<'_>,
    ) -> Result<DeviceCertificate, Failure> {
        if let Some(old) = self.kept(device, action.now) {
            self.held.remove(&old.fingerprint().to_string());
        }
        self.ensure(device, action).await
    }

    /// Returns a certificate that the authority signed and the registry does not know: the broker
    /// accepts it.
    pub fn ensure_stray(
        &self,
        device: &DeviceKey,
        now: Timestamp,
    ) -> Result<DeviceCertificate, Failure> {
        let is_stray = |one: &Certificate| !self.held.contains_key(&one.fingerprint().to_string());
        let is_new = !self.kept(device, now).is_some_and(|one| is_stray(&one));
        if is_new {
            self.sign(device, now)?;
        }
        Ok(DeviceCertificate { device: device.clone(), pem: self.file(device), row: None, is_new })
    }

    /// Signs a certificate that the registry does not know, and writes it with its key.
    fn sign(&self, device: &DeviceKey, now: Timestamp) -> Result<Certificate, Failure> {
        let unsigned = |error: &dyn ToString| Failure::new(Exit::Internal, error.to_string());
        let serial = Serial::random().map_err(|error| unsigned(&error))?;
        let authority = self.signer.authority();
        let leaf = self.profile.plan(device, serial, Lifetime::Usual, authority.certificate(), now);
        let leaf = leaf.map_err(|error| Failure::usage(error.to_string()))?;
        let (certificate, key) =
            sign::sign_new_key(authority, &leaf).map_err(|error| unsigned(&error))?;
        self.write(device, &certificate.to_pem(), key.expose())?;
        Ok(certificate)
    }

    /// The certificate in the device's file, when the registry accepts it.
    fn held(&self, device: &DeviceKey, now: Timestamp) -> Option<DeviceCertificate> {
        let kept = self.kept(device, now)?;
        let row = self.held.get(&kept.fingerprint().to_string()).copied()?;
        Some(DeviceCertificate {
            device: device.clone(),
            pem: self.file(device),
            row: Some(row),
            is_new: false,
        })
    }

    /// The certificate in the device's file, when this authority signed it and it does not end
    /// soon. `None` also for an unreadable file.
    fn kept(&self, device: &DeviceKey, now: Timestamp) -> Option<Certificate> {
        let text = files::read(&self.file(device), MAX_PEM_BYTES).ok()?;
        let certificate = Certificate::from_pem(&text).ok()?;
        let is_ours = certificate.is_signed_by(self.signer.authority().certificate().certificate());
        let is_valid = certificate.not_before() <= now
            && now.plus_seconds(LEAST_SECONDS) < certificate.not_after();
        Some(certificate).filter(|_| is_ours && is_valid)
    }

    fn file(&self, device: &DeviceKey) -> PathBuf {
        self.dir.join(device.tenant()).join(format!("{}.pem", device.device()))
    }

    fn write(&self, device: &DeviceKey, certificate: &str, key: &str) -> Result<(), Failure> {
        let file = self.file(device);
        let parent = file.parent().unwrap_or(&self.dir);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.and_then(|()| {
            files::replace(&file, format!("{certificate}{key}").as_bytes(), files::PRIVATE)
        })
        .map_err(|error: io::Error| {
            Failure::usage(format!("cannot write {}: {error}", file.display()))
        })
    }
}
