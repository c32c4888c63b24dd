//! The certificates of simulated devices: a file for each with its certificate and its key, mode 0600, kept for the next run.
//!
//! A certificate is issued by the registry when there is none that the registry still believes. It is for devices that do
//! not exist; a real device makes its own key and sends a request.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

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
use crate::store::certificates::{self, CertificateFilter, CertificateStatus};

/// The longest file of a certificate and its key; one that is longer is made anew.
const MAX_PEM_BYTES: u64 = 64 * 1024;

/// One that ends sooner is made anew: a run lasts a day at most.
const LEAST_SECONDS: i64 = 2 * 86_400;

/// Certificates that are asked for at a time.
const PAGE: u32 = 5_000;

/// The files, and what the registry believes.
#[derive(Debug)]
pub struct CertificateFolder {
    dir: PathBuf,
    signer: Signer,
    profile: CertificateProfile,
    /// The ACTIVE ones, by fingerprint.
    held: HashMap<String, Uuid>,
}

/// What a device shows.
#[derive(Clone, Debug)]
pub struct DeviceCertificate {
    /// Whose.
    pub device: DeviceKey,
    /// The file of its certificate and its key.
    pub pem: PathBuf,
    /// Its row; none: the registry does not know it.
    pub row: Option<Uuid>,
    /// Whether it was made now.
    pub is_new: bool,
}

// === impl Wallet ===

impl CertificateFolder {
    /// Opens the directory, the authority, and the registry's list of what these tenants hold.
    pub async fn open(
        dir: &Path,
        tenants: &[TenantId],
        config: &Config,
        desk: ActionContext<'_>,
    ) -> Result<Self, Failure> {
        let settings = &config.certificates;
        let signer = Signer::open(settings, desk.now).map_err(|error| not_ready(&error))?;
        let profile = CertificateProfile { cn_format: settings.cn_format, validity_days: settings.validity_days };
        let mut held = HashMap::new();
        for tenant in tenants {
            let (tenant, status) = (Some(tenant.clone()), Some(CertificateStatus::Active));
            let mut filter = CertificateFilter { tenant, status, ..CertificateFilter::default() };
            loop {
                let page = certificates::list(desk.database.pool(), &filter, PAGE).await.map_err(not_stored)?;
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

    /// The name of the authority.
    pub fn issuer(&self) -> &str {
        self.signer.authority().certificate().name()
    }

    /// The device's certificate in the registry: the one in its file, or one that is issued now.
    pub async fn papers(&mut self, device: &DeviceKey, desk: ActionContext<'_>) -> Result<DeviceCertificate, Failure> {
        let kept = self.kept(device, desk.now).and_then(|one| self.held.get(&one.fingerprint().to_string()).copied());
        if let Some(row) = kept {
            return Ok(DeviceCertificate {
                device: device.clone(),
                pem: self.file(device),
                row: Some(row),
                is_new: false,
            });
        }
        let order = Order { key: KeySource::Made, lifetime: Lifetime::Usual };
        let issued = issue::issue(desk, &self.signer, device, order).await.map_err(not_issued)?;
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

    /// The same, whatever the file holds: the certificate in it was revoked.
    pub async fn papers_anew(
        &mut self,
        device: &DeviceKey,
        desk: ActionContext<'_>,
    ) -> Result<DeviceCertificate, Failure> {
        if let Some(old) = self.kept(device, desk.now) {
            self.held.remove(&old.fingerprint().to_string());
        }
        self.papers(device, desk).await
    }

    /// A certificate that the same authority signed and the registry never heard of: the broker lets it in.
    pub fn stray_papers(&self, device: &DeviceKey, now: Timestamp) -> Result<DeviceCertificate, Failure> {
        let is_stray = |one: &Certificate| !self.held.contains_key(&one.fingerprint().to_string());
        let is_new = !self.kept(device, now).is_some_and(|one| is_stray(&one));
        if is_new {
            let unsigned = |error: &dyn ToString| Failure::new(Exit::Internal, error.to_string());
            let serial = Serial::random().map_err(|error| unsigned(&error))?;
            let authority = self.signer.authority();
            let leaf = self.profile.plan(device, serial, Lifetime::Usual, authority.certificate(), now);
            let leaf = leaf.map_err(|error| Failure::usage(error.to_string()))?;
            let (certificate, key) = sign::sign_new_key(authority, &leaf).map_err(|error| unsigned(&error))?;
            self.write(device, &certificate.to_pem(), key.expose())?;
        }
        Ok(DeviceCertificate { device: device.clone(), pem: self.file(device), row: None, is_new })
    }

    /// The certificate in the device's file, if it is of this authority and not about to end. What cannot be read is as if
    /// it were not there.
    fn kept(&self, device: &DeviceKey, now: Timestamp) -> Option<Certificate> {
        let text = files::read(&self.file(device), MAX_PEM_BYTES).ok()?;
        let certificate = Certificate::from_pem(&text).ok()?;
        let is_ours = certificate.is_signed_by(self.signer.authority().certificate().certificate());
        let is_good = certificate.not_before() <= now && now.plus_seconds(LEAST_SECONDS) < certificate.not_after();
        Some(certificate).filter(|_| is_ours && is_good)
    }

    fn file(&self, device: &DeviceKey) -> PathBuf {
        self.dir.join(device.tenant()).join(format!("{}.pem", device.device()))
    }

    fn write(&self, device: &DeviceKey, certificate: &str, key: &str) -> Result<(), Failure> {
        let file = self.file(device);
        let parent = file.parent().unwrap_or(&self.dir);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.and_then(|()| files::replace(&file, format!("{certificate}{key}").as_bytes(), files::PRIVATE))
            .map_err(|error: io::Error| Failure::usage(format!("{} cannot be written: {error}", file.display())))
    }
}
