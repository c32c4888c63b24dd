//! The content of the file of access rules: the operator's lines, then lines made from the registry
//! in one form.
//!
//! A name that no topic can hold gets no line. It decides nothing and opens no file: it writes to
//! the given writer.

use std::collections::HashSet;
use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::form::AclForm;
use super::template::Template;
use crate::config::sections::certificates::CnFormat;
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::domain::probe;
use crate::store::certificates::revocation_ledger::RevocationLedger;
use crate::store::registry::broker_acl::Names;

/// Most devices with rows: about a gigabyte of rows.
const MAX_DEVICES: usize = 1_000_000;

/// Most devices denied in addition to patterns. Mosquitto 2.0 reads denials in quadratic time and blocks
/// meanwhile (5,000: a third of a second, 30,000: 19 seconds).
pub const MAX_DENIED: usize = 5_000;

const HEADER: &str = "# Written by sluice from its registry and the lines of ACL_TEMPLATE_PATH. \
    Change those, not this file.\n";

/// SHA-256.
pub type Hash = [u8; 32];

/// What a file must hold.
#[derive(Debug)]
pub struct Content {
    /// The operator's lines.
    pub template: Template,
    /// The form in which they apply to devices.
    pub form: AclForm,
    /// The form of user names.
    pub cn_format: CnFormat,
    /// As rows: the devices that may publish. As patterns: the devices that may not.
    pub devices: Vec<Names>,
    /// Those of `devices` that also hold a certificate in the other form of the common name.
    pub other_names: HashSet<Names>,
}

/// Why the file of access rules is not up to date.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// It could not be made or written; the text is a sentence for the operator.
    #[error("{0}")]
    Fault(String),
    /// Postgres failed.
    #[error(transparent)]
    Store(#[from] Outage),
}

/// Collects the content from the registry.
pub(super) async fn gather(
    ledger: &mut RevocationLedger,
    template: &Template,
    form: AclForm,
    cn_format: CnFormat,
) -> Result<Content, RulesError> {
    let devices = match form {
        AclForm::Rows => ledger.acl_permitted(MAX_DEVICES).await?,
        AclForm::Patterns => denied(ledger).await?,
    };
    if devices.len() > MAX_DEVICES {
        let why = format!(
            "the registry has more than {MAX_DEVICES} devices, too many for a file of access \
             rules: let a broker plugin decide"
        );
        return Err(RulesError::Fault(why));
    }
    // The form of the common name that CERT_CN_FORMAT does not choose.
    let separator = if cn_format == CnFormat::Plain { "/device/" } else { "/" };
    let other_names: HashSet<_> =
        ledger.acl_other_names(separator, MAX_DEVICES).await?.into_iter().collect();
    Ok(Content { template: template.clone(), form, cn_format, devices, other_names })
}

// === impl Content ===

impl Content {
    /// Hash of all inputs of the file: an equal hash means that the file is current.
    pub fn inputs(&self) -> Hash {
        let mut hasher = Sha256::new();
        let mut put = |text: &str| {
            hasher.update(text.len().to_le_bytes());
            hasher.update(text);
        };
        put(self.form.label());
        put(if self.cn_format == CnFormat::Plain { "plain" } else { "strict" });
        self.template.lines().for_each(&mut put);
        for names in &self.devices {
            put(&names.0);
            put(&names.1);
            put(if self.other_names.contains(names) { "2" } else { "1" });
        }
        hasher.finalize().into()
    }

    /// Writes the content to `out`. Returns the number of lines made from the registry.
    pub(super) fn render(&self, out: &mut impl Write) -> io::Result<u64> {
        out.write_all(HEADER.as_bytes())?;
        match self.form {
            AclForm::Patterns => {
                self.template.lines().try_for_each(|line| writeln!(out, "{line}"))?;
                self.render_denials(out)
            }
            AclForm::Rows => {
                self.template.lines_above_rows().try_for_each(|line| writeln!(out, "{line}"))?;
                writeln!(
                    out,
                    "\n# The probe of Sluice, which proves that a device writes to its own topics \
                     only."
                )?;
                writeln!(out, "user {}\ntopic write {}", probe::IDENTITY, probe::OWN_TOPIC)?;
                self.render_rows(out)
            }
        }
    }

    /// Mosquitto evaluates denials first, so one line outweighs all patterns.
    fn render_denials(&self, out: &mut impl Write) -> io::Result<u64> {
        writeln!(out, "\n# Devices that are not ACTIVE, or whose tenant is SUSPENDED.")?;
        let mut generated = 0;
        for key in self.keys() {
            for name in self.user_names(&key) {
                writeln!(out, "user {name}\ntopic deny #")?;
                generated += 2;
            }
        }
        Ok(generated)
    }

    fn render_rows(&self, out: &mut impl Write) -> io::Result<u64> {
        writeln!(out, "\n# Devices that are ACTIVE, of tenants that are ACTIVE.")?;
        let mut generated = 0;
        for key in self.keys() {
            for name in self.user_names(&key) {
                writeln!(out, "user {name}")?;
                generated += 1;
                for (access, topic) in self.template.rows_of(key.identity()) {
                    writeln!(out, "topic {access} {topic}")?;
                    generated += 1;
                }
            }
        }
        Ok(generated)
    }

    /// Skips names outside the grammar: they could hold a wildcard or a space.
    fn keys(&self) -> impl Iterator<Item = DeviceKey> {
        self.devices.iter().filter_map(|(tenant, device)| DeviceKey::new(tenant, device).ok())
    }

    fn user_names(&self, key: &DeviceKey) -> impl Iterator<Item = String> {
        let (strict, plain) =
            (key.identity().to_owned(), format!("{}/{}", key.tenant(), key.device()));
        let (usual, other) =
            if self.cn_format == CnFormat::Plain { (plain, strict) } else { (strict, plain) };
        let has_other =
            self.other_names.contains(&(key.tenant().to_owned(), key.device().to_owned()));
        std::iter::once(usual).chain(has_other.then_some(other))
    }
}

// --- private helpers ---

/// The devices to deny, sorted by name.
async fn denied(ledger: &mut RevocationLedger) -> Result<Vec<Names>, Outage> {
    let mut devices = ledger.acl_barred(MAX_DENIED + 1).await?;
    if devices.len() > MAX_DENIED {
        devices.truncate(MAX_DENIED);
        tracing::warn!(
            "more than {MAX_DENIED} devices may not publish; the access rules deny {MAX_DENIED} \
             of them, those with a certificate first; Sluice refuses the messages of all; suspend \
             fewer devices, or use Mosquitto 2.1"
        );
    }
    devices.sort_unstable();
    Ok(devices)
}
