//! Keeps the file of access rules equal to the registry: decides when to write it, and whether the
//! broker must be notified.
//!
//! The publisher calls it in its rounds over its own connection, so one replica writes. It notifies
//! nothing: one reload serves the CRL and the rules. While the file could make the broker exit, it
//! forbids every reload.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::content::{self, Content, Hash, RulesError};
use super::file::{self, WrittenFile, on_disk};
use super::file_identity::Owner;
use super::form::{AclForm, FormFinder};
use super::template_file::TemplateFile;
use crate::config::Config;
use crate::config::sections::certificates::CnFormat;
use crate::domain::ports::Outage;
use crate::lifecycle::Readiness;
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};
use crate::registry::health;
use crate::store::certificates::revocation_ledger::RevocationLedger;
use crate::store::registry::broker_acl::BrokerAclRow;
use crate::store::registry::change_feed::ChangeSignal;
use crate::telemetry::broker_acl::BrokerAclMetrics;

/// The component of readiness, and its sentences.
const COMPONENT: &str = "broker_acl";
const HEALTH: HealthTexts = HealthTexts {
    failed: "the broker's access rules are not up to date",
    action: "Sluice retries",
    recovered: "the broker's access rules are up to date again",
};

/// Time between two comparisons with the registry without a change signal.
const COMPARE_PERIOD: Duration = Duration::from_mins(5);

/// Pause after a file, as a multiple of its cost. While a fleet enrolls, this spends about a fifth
/// of the time on files; a change of status still acts within seconds.
const PAUSE_FACTOR: u32 = 4;
const MIN_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(4);

/// Pause after a failed write.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Value of the metric if no rules are written.
const NOT_IN_USE: i64 = -1;

/// Writes the access rules when that is due.
pub struct AclWriter {
    output: PathBuf,
    template: TemplateFile,
    cn_format: CnFormat,
    form: FormFinder,
    metrics: BrokerAclMetrics,
    health: HealthReporter,
    registry: watch::Receiver<u64>,
    owner: Option<Owner>,
    written: Option<WrittenRules>,
    built_at: Option<Instant>,
    paused_until: Option<Instant>,
    must_notify: bool,
    findings: WriterFindings,
    /// Why the broker must not reload now; `None` means that it may.
    danger: Option<String>,
}

/// A written file and the inputs it was made from.
struct WrittenRules {
    file: WrittenFile,
    inputs: Hash,
    form: AclForm,
}

/// Current faults, by source.
#[derive(Default)]
struct WriterFindings {
    form: Option<String>,
    template: Option<String>,
    file: Option<String>,
    reload: Option<String>,
}

// === impl AclWriter ===

impl AclWriter {
    /// `None` means that `ACL_OUTPUT_PATH` is unset.
    pub fn new(
        config: &Config,
        metrics: BrokerAclMetrics,
        readiness: Readiness,
        signal: &ChangeSignal,
    ) -> Option<Self> {
        let settings = &config.certificates.acl;
        let Some(output) = settings.output_path.clone() else {
            metrics.current.set(NOT_IN_USE);
            return None;
        };
        Some(Self {
            output,
            template: TemplateFile::new(settings.template_path.clone(), config.broker.clone()),
            cn_format: config.certificates.cn_format,
            form: FormFinder::new(settings.mode, config.broker.clone()),
            metrics,
            health: health::reporter(COMPONENT, readiness, HEALTH),
            registry: signal.subscribe(),
            owner: None,
            written: None,
            built_at: None,
            paused_until: None,
            must_notify: false,
            findings: WriterFindings::default(),
            danger: None,
        })
    }

    /// Logs at start which file is written.
    pub(crate) fn announce(&self) {
        let template = self.template.name();
        tracing::info!(path = %self.output.display(), %template, "Sluice writes the broker's \
            access rules from the registry");
    }

    /// Whether the broker must be notified of a new file.
    pub(crate) const fn owes_reload(&self) -> bool {
        self.must_notify
    }

    /// Why the broker must not reload now; `None` means that it may.
    pub(crate) fn danger(&self) -> Option<String> {
        self.danger.clone()
    }

    /// Shows the state that the publisher noted, on a standby replica.
    pub(crate) fn show_standby(&mut self, state: &BrokerAclRow) {
        // A replica that becomes the publisher starts from the file it finds then.
        self.written = None;
        self.show(state, state.finding.clone());
    }

    /// Writes the file if that is due. Faults are kept for [`Self::settle`].
    pub(crate) async fn update(&mut self, ledger: &mut RevocationLedger) -> Result<(), Outage> {
        let state = ledger.acl_state().await?;
        self.form.query_when_due().await;
        let last = self.written.as_ref().map(|known| known.form);
        let last = last.or_else(|| state.mode.as_deref().and_then(AclForm::from_label));
        let decision = self.form.decide(last);
        self.findings.form = decision.finding;
        let has_new_template = self.template.reload().await;
        self.findings.template = self.template.finding().map(str::to_owned);
        if let Some(why) = self.due(decision.form, has_new_template).await {
            self.bring_up_to_date(ledger, &state, decision.form, why).await?;
        }
        Ok(())
    }

    /// Records the outcome of the reload.
    pub(crate) async fn record_reload(
        &mut self,
        ledger: &mut RevocationLedger,
        outcome: Result<(), String>,
    ) -> Result<(), Outage> {
        self.findings.reload = outcome.err();
        if self.findings.reload.is_none() {
            ledger.note_acl_notified().await?;
            self.must_notify = false;
        }
        Ok(())
    }

    /// Reports the state of the rules in readiness and metrics, and notes it for the other
    /// replicas.
    pub(crate) async fn settle(&mut self, ledger: &mut RevocationLedger) -> Result<(), Outage> {
        let finding = self.findings.all();
        let state = ledger.acl_state().await?;
        let version = self.form.version().map(ToString::to_string);
        if state.finding != finding || (version.is_some() && state.broker_version != version) {
            ledger.note_acl_finding(version.as_deref(), finding.as_deref()).await?;
        }
        self.show(&state, finding);
        Ok(())
    }

    /// Why the file must be compared with the registry now; `None` means that it need not.
    async fn due(&mut self, form: AclForm, has_new_template: bool) -> Option<&'static str> {
        if let Some(known) = &self.written {
            let (path, file) = (self.output.clone(), known.file);
            let found = on_disk(&self.output, move || file::check(&path, &file)).await;
            match found {
                Err(why) => {
                    self.note_file_fault(&why);
                    self.danger = Some(why);
                    return None;
                }
                Ok(Err(fault)) => {
                    tracing::warn!(path = %self.output.display(), %fault, "the file of access \
                        rules was changed; Sluice writes it again");
                    self.written = None;
                    return Some("the file was changed");
                }
                Ok(Ok(file)) => {
                    self.danger = None;
                    if let Some(known) = &mut self.written {
                        known.file = file;
                    }
                }
            }
        }
        let is_paused = self.paused_until.is_some_and(|until| Instant::now() < until);
        match &self.written {
            _ if is_paused => None,
            None => Some("this replica has become the publisher"),
            Some(known) if known.form != form => Some("the form changed"),
            Some(_) if has_new_template => Some("the template changed"),
            Some(_) if self.registry.has_changed().unwrap_or(false) => Some("the registry changed"),
            Some(_) if self.built_at.is_none_or(|built_at| built_at.elapsed() > COMPARE_PERIOD) => {
                Some("the periodic comparison is due")
            }
            Some(_) => None,
        }
    }

    async fn bring_up_to_date(
        &mut self,
        ledger: &mut RevocationLedger,
        state: &BrokerAclRow,
        form: AclForm,
        why: &'static str,
    ) -> Result<(), Outage> {
        let begun = Instant::now();
        // A change during the read counts for the next file.
        self.registry.mark_unchanged();
        let written = self.gather_and_write(ledger, state, form, why).await;
        if let Err(RulesError::Store(outage)) = written {
            return Err(outage);
        }
        self.built_at = Some(Instant::now());
        let pause = (begun.elapsed() * PAUSE_FACTOR).clamp(MIN_PAUSE, MAX_PAUSE);
        match written {
            Ok(()) => {
                self.findings.file = None;
                self.danger = None;
                self.paused_until = Some(Instant::now() + pause);
            }
            Err(error) => {
                self.note_file_fault(&error.to_string());
                self.registry.mark_changed();
                self.paused_until = Some(Instant::now() + pause.max(PAUSE_AFTER_FAILURE));
                self.check_danger().await;
            }
        }
        Ok(())
    }

    async fn gather_and_write(
        &mut self,
        ledger: &mut RevocationLedger,
        state: &BrokerAclRow,
        form: AclForm,
        why: &'static str,
    ) -> Result<(), RulesError> {
        let Some(template) = self.template.lines() else {
            return Err(RulesError::Fault("ACL_TEMPLATE_PATH has not been read yet".to_owned()));
        };
        let content = content::gather(ledger, template, form, self.cn_format).await?;
        self.write(ledger, state, content, why).await
    }

    async fn write(
        &mut self,
        ledger: &mut RevocationLedger,
        state: &BrokerAclRow,
        content: Content,
        why: &'static str,
    ) -> Result<(), RulesError> {
        let (inputs, form, path) = (content.inputs(), content.form, self.output.clone());
        if self.written.as_ref().is_some_and(|known| known.inputs == inputs) {
            return Ok(());
        }
        let last = state.digest.clone().filter(|_| self.written.is_none());
        let owner = self.owner;
        let task = move || {
            let owner = owner.unwrap_or_else(|| Owner::found(&path));
            let adopted = last.and_then(|last| file::adopt(&path, &content, &last, owner));
            match adopted {
                Some(file) => Ok((file, owner, false)),
                None => file::write(&path, &content, owner).map(|file| (file, owner, true)),
            }
        };
        let done = on_disk(&self.output, task)
            .await
            .and_then(|done| done.map_err(|fault| fault.to_string()));
        let (file, owner, is_new) = done.map_err(RulesError::Fault)?;
        self.owner = Some(owner);
        self.written = Some(WrittenRules { file, inputs, form });
        let generated = i64::try_from(file.generated).unwrap_or(i64::MAX);
        if is_new || state.digest.as_deref() != Some(&file.digest[..]) {
            self.must_notify = true;
            ledger.note_acl_written(form.label(), &file.digest, generated).await?;
        } else {
            // The earlier publisher may have stopped before it notified the broker.
            self.must_notify |= !is_notified(state);
        }
        if is_new {
            self.metrics.written.inc();
            tracing::info!(
                form = form.label(),
                generated,
                why,
                "Sluice wrote the broker's access rules"
            );
        }
        Ok(())
    }

    fn note_file_fault(&mut self, why: &str) {
        let path = self.output.display();
        self.findings.file =
            Some(format!("the access rules at ACL_OUTPUT_PATH {path} cannot be written: {why}"));
    }

    /// Checks whether the existing file would make a broker exit, after a failed write.
    async fn check_danger(&mut self) {
        let path = self.output.clone();
        let found =
            on_disk(&self.output, move || file::read(&path).map_err(|fault| fault.to_string()))
                .await;
        self.danger = found.and_then(|found| found.map(drop)).err();
    }

    fn show(&mut self, state: &BrokerAclRow, finding: Option<String>) {
        let is_current = finding.is_none() && is_notified(state);
        self.metrics.current.set(i64::from(is_current));
        self.metrics.rows.set(state.generated);
        let now = Instant::now().into_std();
        match finding {
            None => self.health.worked(now),
            Some(why) => self.health.failed(&why, now),
        }
    }
}

// === impl WriterFindings ===

impl WriterFindings {
    fn all(&self) -> Option<String> {
        let all = [&self.form, &self.template, &self.file, &self.reload];
        let reported: Vec<&str> = all.into_iter().flatten().map(String::as_str).collect();
        (!reported.is_empty()).then(|| reported.join("; "))
    }
}

// --- private helpers ---

/// Whether the broker was notified of the latest file.
fn is_notified(state: &BrokerAclRow) -> bool {
    state.written_at.is_some() && state.notified_at >= state.written_at
}
