//! Keeps the broker's access rules as the registry says: decides when the file is written, and whether the broker is to be
//! notified of it.
//!
//! The publisher calls it in its turns, over its connection, so one replica writes. It notifies nobody itself: one reload
//! serves the CRL and the rules. While the file could end the broker, no reload is allowed at all.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::bounded_disk::Disk;
use super::content::{self, Content, Hash};
use super::file::{self, Written};
use super::file_identity::{Owner, Print};
use super::form::{AclForm, FormFinder};
use super::template::Template;
use crate::config::Config;
use crate::config::sections::broker::BrokerConfig;
use crate::config::sections::certificates::CnFormat;
use crate::domain::ports::Outage;
use crate::lifecycle::Readiness;
use crate::store::certificates::revocation_ledger::RevocationLedger;
use crate::store::registry::broker_acl::BrokerAclRow;
use crate::store::registry::change_feed::ChangeSignal;
use crate::telemetry::broker_acl::BrokerAclMetrics;

/// The part of readiness.
const PART: &str = "broker_acl";

/// How often the registry is compared without a change of which was heard.
const COMPARE_PERIOD: Duration = Duration::from_mins(5);

/// After a file was made for a change, the next is made after so many times what the first has cost, and not before the
/// least pause: a fleet that is being enrolled costs a fifth of the time, or a little more where files are large, for a status
/// has to act within seconds.
const REST_FACTOR: u32 = 4;
const LEAST_REST: Duration = Duration::from_millis(500);
const MOST_REST: Duration = Duration::from_secs(4);

/// The pause after a file could not be written.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What the metric shows where no rules are written.
const NOT_IN_USE: i64 = -1;

/// The keeper of the access rules.
pub struct AclKeeper {
    output: PathBuf,
    template_path: Option<PathBuf>,
    cn_format: CnFormat,
    broker: BrokerConfig,
    form: FormFinder,
    metrics: BrokerAclMetrics,
    readiness: Readiness,
    registry: watch::Receiver<u64>,
    disk: Disk,
    owner: Option<Owner>,
    template: Option<(Template, Option<Print>)>,
    written: Option<Known>,
    built: Option<Instant>,
    rest_until: Option<Instant>,
    is_owed: bool,
    findings: WriterFindings,
    /// Why the broker must not read its files again now.
    danger: Option<String>,
    said: Option<String>,
}

/// A file that holds what the registry said.
struct Known {
    file: Written,
    inputs: Hash,
    form: AclForm,
}

/// What is wrong, by where it is.
#[derive(Default)]
struct WriterFindings {
    form: Option<String>,
    template: Option<String>,
    file: Option<String>,
    reload: Option<String>,
}

// === impl AclKeeper ===

impl AclKeeper {
    /// None unless `ACL_OUTPUT_PATH` is set.
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
            template_path: settings.template_path.clone(),
            cn_format: config.certificates.cn_format,
            form: FormFinder::new(settings.mode, config.broker.clone()),
            broker: config.broker.clone(),
            metrics,
            readiness,
            registry: signal.subscribe(),
            disk: Disk::default(),
            owner: None,
            template: None,
            written: None,
            built: None,
            rest_until: None,
            is_owed: false,
            findings: WriterFindings::default(),
            danger: None,
            said: None,
        })
    }

    /// Says at the start what is done.
    pub(crate) fn announce(&self) {
        let template = self.template_path.as_ref().map_or("built-in lines".into(), |path| path.display().to_string());
        tracing::info!(path = %self.output.display(), %template, "the broker's access rules are written from the registry");
    }

    /// Whether the broker has to be notified of a file.
    pub(crate) const fn owes_reload(&self) -> bool {
        self.is_owed
    }

    /// Why the broker must not read its files again now: one of 2.1 would end.
    pub(crate) fn danger(&self) -> Option<String> {
        self.danger.clone()
    }

    /// A replica that stands by: shows what the publisher has noted.
    pub(crate) fn look_on(&mut self, state: &BrokerAclRow) {
        // Who becomes the publisher begins with what is there then.
        self.written = None;
        self.show(state, state.finding.clone());
    }

    /// One turn: the file is written when that is due. What is wrong is kept for [`Self::settle`].
    pub(crate) async fn keep(&mut self, ledger: &mut RevocationLedger) -> Result<(), Outage> {
        let state = ledger.acl_state().await?;
        self.form.ask_when_due().await;
        let last = self.written.as_ref().map(|known| known.form);
        let last = last.or_else(|| state.mode.as_deref().and_then(AclForm::from_label));
        let decision = self.form.decide(last);
        self.findings.form = decision.finding;
        let has_new_template = self.read_template().await;
        if let Some(why) = self.due(decision.form, has_new_template).await {
            self.bring_up_to_date(ledger, &state, decision.form, why).await?;
        }
        Ok(())
    }

    /// What came of notifying the broker.
    pub(crate) async fn notified(
        &mut self,
        ledger: &mut RevocationLedger,
        outcome: Result<(), String>,
    ) -> Result<(), Outage> {
        self.findings.reload = outcome.err();
        if self.findings.reload.is_none() {
            ledger.note_acl_notified().await?;
            self.is_owed = false;
        }
        Ok(())
    }

    /// Says how the rules stand: in readiness, in the metrics, and for the other replicas.
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

    /// Reads the operator's lines when they changed; one that cannot be used leaves those that were read last.
    async fn read_template(&mut self) -> bool {
        let Some(path) = self.template_path.clone() else {
            let is_first = self.template.is_none();
            if is_first {
                self.template = Some((Template::built_in(&self.broker), None));
            }
            return is_first;
        };
        let seen = self.template.as_ref().and_then(|(_, print)| *print);
        let work = move || {
            let print = Print::of(&path).ok();
            if print.is_some() && print == seen {
                Ok(None)
            } else {
                Template::open(&path).map(|read| Some((read, print)))
            }
        };
        let read = self.disk.run(work).await.and_then(|read| read.map_err(|error| error.to_string()));
        match read {
            Ok(Some((template, print))) => {
                let is_new = self.template.as_ref().is_none_or(|(known, _)| *known != template);
                if is_new && template.grants_devices_nothing() {
                    tracing::warn!("the template holds no pattern with %u; no device gets a rule from it");
                }
                self.template = Some((template, print));
                self.findings.template = None;
                is_new
            }
            Ok(None) => {
                self.findings.template = None;
                false
            }
            Err(why) => {
                let stays = if self.template.is_some() { "the lines read before stay" } else { "the last file stays" };
                self.findings.template = Some(format!("{why}; {stays} in force"));
                false
            }
        }
    }

    /// Why the file is to be compared with the registry now; none: it is not.
    async fn due(&mut self, form: AclForm, has_new_template: bool) -> Option<&'static str> {
        if let Some(known) = &self.written {
            let (path, file) = (self.output.clone(), known.file);
            let found = self.disk.run(move || file::look(&path, &file)).await;
            match found {
                Err(why) => {
                    self.trouble_with_file(&why);
                    self.danger = Some(why);
                    return None;
                }
                Ok(Err(fault)) => {
                    tracing::warn!(path = %self.output.display(), %fault, "the file of access rules is not right; it is written again");
                    self.written = None;
                    return Some("the file was not right");
                }
                Ok(Ok(file)) => {
                    self.danger = None;
                    if let Some(known) = &mut self.written {
                        known.file = file;
                    }
                }
            }
        }
        let is_resting = self.rest_until.is_some_and(|until| Instant::now() < until);
        match &self.written {
            _ if is_resting => None,
            None => Some("it is the first of this publisher"),
            Some(known) if known.form != form => Some("the form has changed"),
            Some(_) if has_new_template => Some("the template has changed"),
            Some(_) if self.registry.has_changed().unwrap_or(false) => Some("the registry has changed"),
            Some(_) if self.built.is_none_or(|built| built.elapsed() > COMPARE_PERIOD) => {
                Some("it is compared now and then")
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
        // A change that is heard while the registry is read counts for the next file.
        self.registry.mark_unchanged();
        let gathered = match &self.template {
            Some((template, _)) => content::gather(ledger, template, form, self.cn_format).await?,
            None => Err("there are no lines of the operator to begin with".to_owned()),
        };
        let written = match gathered {
            Ok(content) => self.write(ledger, state, content, why).await?,
            Err(why) => Err(why),
        };
        self.built = Some(Instant::now());
        let rest = (begun.elapsed() * REST_FACTOR).clamp(LEAST_REST, MOST_REST);
        match written {
            Ok(()) => {
                self.findings.file = None;
                self.danger = None;
                self.rest_until = Some(Instant::now() + rest);
            }
            Err(why) => {
                self.trouble_with_file(&why);
                self.registry.mark_changed();
                self.rest_until = Some(Instant::now() + rest.max(AFTER_FAILURE));
                self.look_for_danger().await;
            }
        }
        Ok(())
    }

    async fn write(
        &mut self,
        ledger: &mut RevocationLedger,
        state: &BrokerAclRow,
        content: Content,
        why: &'static str,
    ) -> Result<Result<(), String>, Outage> {
        let (inputs, form, path) = (content.inputs(), content.form, self.output.clone());
        if self.written.as_ref().is_some_and(|known| known.inputs == inputs) {
            return Ok(Ok(()));
        }
        let last = state.digest.clone().filter(|_| self.written.is_none());
        let owner = self.owner;
        let work = move || {
            let owner = owner.unwrap_or_else(|| Owner::found(&path));
            let adopted = last.and_then(|last| file::adopt(&path, &content, &last, owner));
            match adopted {
                Some(file) => Ok((file, owner, false)),
                None => file::write(&path, &content, owner).map(|file| (file, owner, true)),
            }
        };
        let done = self.disk.run(work).await.and_then(|done| done.map_err(|fault| fault.to_string()));
        let (file, owner, is_new) = match done {
            Ok(done) => done,
            Err(why) => return Ok(Err(why)),
        };
        self.owner = Some(owner);
        self.written = Some(Known { file, inputs, form });
        let generated = i64::try_from(file.generated).unwrap_or(i64::MAX);
        if is_new || state.digest.as_deref() != Some(&file.digest[..]) {
            self.is_owed = true;
            ledger.note_acl_written(form.label(), &file.digest, generated).await?;
        } else {
            // Who wrote it may not have come to notify the broker.
            self.is_owed |= !is_notified(state);
        }
        if is_new {
            self.metrics.written.inc();
            tracing::info!(form = form.label(), generated, why, "the broker's access rules were written");
        }
        Ok(Ok(()))
    }

    fn trouble_with_file(&mut self, why: &str) {
        let path = self.output.display();
        self.findings.file = Some(format!("the access rules at ACL_OUTPUT_PATH {path} cannot be written: {why}"));
    }

    /// Without a file of our own: whether what is there would end a broker that reads it.
    async fn look_for_danger(&mut self) {
        let path = self.output.clone();
        let found = self.disk.run(move || file::read(&path).map_err(|fault| fault.to_string())).await;
        self.danger = found.and_then(|found| found.map(drop)).err();
    }

    fn show(&mut self, state: &BrokerAclRow, finding: Option<String>) {
        let is_current = finding.is_none() && is_notified(state);
        self.metrics.current.set(i64::from(is_current));
        self.metrics.rows.set(state.generated);
        match &finding {
            None => self.readiness.well(PART),
            Some(why) => self.readiness.unwell(PART, why.clone()),
        }
        if self.said != finding {
            match &finding {
                None => tracing::info!("the broker's access rules are in order again"),
                Some(why) => tracing::error!(%why, "the broker's access rules are not in order; it is tried again"),
            }
            self.said = finding;
        }
    }
}

// === impl Findings ===

impl WriterFindings {
    fn all(&self) -> Option<String> {
        let all = [&self.form, &self.template, &self.file, &self.reload];
        let said: Vec<&str> = all.into_iter().flatten().map(String::as_str).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}

// --- private helpers ---

/// Whether the broker was notified of the file written last.
fn is_notified(state: &BrokerAclRow) -> bool {
    state.written_at.is_some() && state.notified_at >= state.written_at
}
