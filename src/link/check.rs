//! `sluice link check`: walks from the links file to a renewed login, one step after the other, and names
//! the field at fault.
//!
//! In reading order: [`report`] is what a step says; [`static_steps`], [`key_files`] and [`token`] read
//! settings and files; [`network`] resolves and connects; [`connecting`] opens the connection, with
//! [`suspects`] for a refused token; [`topics`] subscribes, publishes and renews; [`checklist`] lists what no
//! client can see. It changes nothing at the other broker, except for the message of `--publish`.
//! With a client id of the daemon it takes over the daemon's connection, and leaves its session as it is.

pub mod report;

pub(crate) mod checklist;
pub(crate) mod connack;
pub(crate) mod connecting;
pub(crate) mod key_files;
pub(crate) mod network;
pub(crate) mod server_clock;
pub(crate) mod static_steps;
pub(crate) mod suspects;
pub(crate) mod tls_facts;
pub(crate) mod token;
pub(crate) mod topics;

use std::path::{Path, PathBuf};

use crate::clock;
use crate::disk;
use crate::domain::link::LinkName;
use crate::link::file::LinksFileError;
use crate::link::settings::{LinkAuth, LinkSettings};
use crate::link::visit::{self, LinkVisit};
use report::{CheckReport, CheckStep, StepResult};
use suspects::Suspicion;

/// What to check besides the connection.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// A topic to publish to.
    pub publish: Option<String>,
    /// The certificate that the cloud has.
    pub certificate: Option<PathBuf>,
    /// Whether to try each form of the audience.
    pub tries_audiences: bool,
    /// The client id to connect with.
    pub client_id: Option<String>,
}

/// A check at work.
pub struct LinkCheck<'a> {
    link: &'a LinkSettings,
    options: CheckOptions,
    report: CheckReport,
    show: &'a mut dyn FnMut(&CheckStep),
}

/// The names of the steps that need a connection.
const NEED_CONNECTION: [(u8, &str); 8] = [
    (8, "TLS"),
    (9, "clock"),
    (10, "credentials"),
    (11, "websocket"),
    (12, "CONNACK"),
    (13, "SUBACK"),
    (14, "PUBACK"),
    (15, "renewal"),
];

/// Makes every step that can be made; `show` gets each when it is done. `file` is the path of the links
/// file.
pub async fn run(
    link: &LinkSettings,
    file: &Path,
    options: CheckOptions,
    show: &mut dyn FnMut(&CheckStep),
) -> CheckReport {
    let client_id = options.client_id.clone().unwrap_or_else(|| visit::client_id(link, "check"));
    let report = CheckReport { link: link.name.to_string(), client_id, ..CheckReport::default() };
    let mut check = LinkCheck { link, options, report, show };
    check.add(static_steps::settings(link, &file.display().to_string()));
    check.files().await;
    if check.network().await {
        check.connection().await;
    }
    check.add(checklist::checklist(link));
    check.finish()
}

/// The check of a link whose file has faults: step 1 names each of them.
pub fn unreadable(
    name: &LinkName,
    error: &LinksFileError,
    show: &mut dyn FnMut(&CheckStep),
) -> CheckReport {
    let mut step = CheckStep::new(1, static_steps::SETTINGS);
    step.result = StepResult::Fail;
    step.found.extend(error.to_string().lines().map(str::to_owned));
    step.advice.push("correct the links file: `sluice link check-file` checks it alone".to_owned());
    show(&step);
    CheckReport { link: name.to_string(), steps: vec![step], ..CheckReport::default() }
}

// === impl LinkCheck ===

impl LinkCheck<'_> {
    /// Shows a step and keeps it. Fields get their full name.
    fn add(&mut self, mut step: CheckStep) {
        for field in step.fields.iter_mut().filter(|field| !field.starts_with('-')) {
            *field = format!("link.{}.{field}", self.link.name);
        }
        (self.show)(&step);
        self.report.steps.push(step);
    }

    fn finish(mut self) -> CheckReport {
        self.report.ok = self.report.steps.iter().all(|step| step.result != StepResult::Fail);
        self.report
    }

    /// Steps 2 to 5.
    async fn files(&mut self) {
        let link = self.link;
        self.add(static_steps::host(link));
        let (own, certificate) = (link.clone(), self.options.certificate.clone());
        let key = blocking(link, 3, "key", move || {
            key_files::key(&own, certificate.as_deref(), clock::now())
        });
        self.add(key.await);
        let own = link.clone();
        let token = blocking(link, 4, "token", move || token::token(&own, clock::now()));
        self.add(token.await);
        self.add(static_steps::client_id(link, &self.report.client_id));
    }

    /// Steps 6 and 7. False: the later ones cannot be made.
    async fn network(&mut self) -> bool {
        let (step, addresses) = network::resolve(self.link).await;
        let is_reachable = step.result != StepResult::Fail;
        self.add(step);
        if !is_reachable {
            self.add(CheckStep::skipped(7, "TCP", "the host has no address"));
            self.skip_from(8, "the host has no address");
            return false;
        }
        let step = network::connect(self.link, &addresses).await;
        let is_reachable = step.result != StepResult::Fail;
        self.add(step);
        if !is_reachable {
            self.skip_from(8, "there is no connection");
            return false;
        }
        true
    }

    /// Steps 8 to 15.
    async fn connection(&mut self) {
        let outcome = connecting::connect(self.link, &self.report.client_id).await;
        let has_failed = self.report.has_failed(3);
        let suspects = Suspicion {
            is_key_compared: self.options.certificate.is_some() && !has_failed,
            tries_audiences: self.options.tries_audiences,
        };
        let (steps, visit) = connecting::steps(self.link, outcome, suspects).await;
        for step in steps {
            self.add(step);
        }
        match visit {
            Some(visit) => self.session(visit).await,
            None => self.skip_from(13, "there is no session"),
        }
    }

    /// Steps 13 to 15.
    async fn session(&mut self, mut visit: LinkVisit) {
        let link = self.link;
        let publish = self.options.publish.clone();
        let (step, granted) = topics::subscribe(&mut visit, link, publish.as_deref()).await;
        self.add(step);
        self.add(topics::publish(&mut visit, link, publish.as_deref(), &granted).await);
        self.add(topics::renew(&mut visit, link).await);
        visit.close().await;
    }

    fn skip_from(&mut self, first: u8, why: &str) {
        for (step, name) in NEED_CONNECTION {
            if step >= first {
                self.add(CheckStep::skipped(step, name, why));
            }
        }
    }
}

// === private helpers ===

/// Runs a step that reads files on a blocking thread.
async fn blocking(
    link: &LinkSettings,
    number: u8,
    name: &'static str,
    work: impl FnOnce() -> CheckStep + Send + 'static,
) -> CheckStep {
    let path = secret_file(link).unwrap_or_else(|| PathBuf::from("/"));
    disk::run(&path, work).await.unwrap_or_else(|error| {
        let mut step = CheckStep::new(number, name);
        step.fail(error.to_string(), "check the mount of the file");
        step
    })
}

fn secret_file(link: &LinkSettings) -> Option<PathBuf> {
    match &link.auth {
        LinkAuth::Jwt { token, .. } => Some(token.key.clone()),
        LinkAuth::Certificate { key, .. } => Some(key.clone()),
        LinkAuth::Password { password_file, .. } => Some(password_file.clone()),
        LinkAuth::SigV4 { credentials, .. } => {
            credentials.as_ref().map(|profile| profile.path.clone())
        }
        LinkAuth::Cognito { .. } | LinkAuth::Anonymous => None,
    }
}
