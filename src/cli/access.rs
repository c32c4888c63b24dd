//! `sluice access`: check, lint.
//!
//! It asks the same policy as the daemon, and needs neither broker nor database. It does not
//! authenticate the subject.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::access::hooks::subject::Subject;
use crate::access::policy::Policy;
use crate::access::policy::decision::{Because, Decision};
use crate::access::policy::file;
use crate::access::policy::lint::{self, LintSuspicion};
use crate::access::policy::rule::{Action, Actions};
use crate::command::context::printed;
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields, rows};
use crate::command::text::{NONE, printable};
use crate::config::Config;
use crate::domain::finding::Severity;
use crate::http::{read_action, read_subject};

/// Query the access policy, and find mistakes in it.
#[derive(Clone, Debug, Subcommand)]
pub enum AccessCommand {
    /// Show whether a client may do something with a topic, and which rule decides it
    #[command(
        after_help = "Exit codes: 0 allowed, 1 denied, 78 the policy file is invalid.\n\nExamples:\n  \
            sluice access check --as device:acme/pump-1 --topic tenant/acme/device/pump-1/event --action publish\n  \
            sluice access check --as user:alice --group viewers --topic 'plant/+/alerts/#' --action subscribe --rules policy.toml\n  \
            sluice access check --as guest:g1 --client-id public-1 --topic public/news --action read --output json"
    )]
    Check(Box<CheckArgs>),
    /// Find rules that never match, have no effect, or allow too much
    #[command(
        after_help = "Exit codes: 0 no error, 1 errors were found, 78 the policy file is invalid.\n\nExamples:\n  \
            sluice access lint --rules policy.toml\n  sluice access lint --output json"
    )]
    Lint(RulesArgs),
}

/// The policy.
#[derive(Clone, Debug, Args)]
pub struct RulesArgs {
    /// The policy file, instead of `ACL_RULES_PATH`
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// The client and the request.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The client: device:TENANT/DEVICE, service:ID, user:ID or guest:ID
    #[arg(long = "as", value_name = "KIND:ID", value_parser = read_subject)]
    subject: Subject,
    /// A group of the client; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// A scope of the client; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The MQTT client id of the client; by default its ID
    #[arg(long)]
    client_id: Option<String>,
    /// The topic, or the topic filter of a subscription
    #[arg(long)]
    topic: String,
    /// subscribe, read or publish; may be repeated: then all of them must be allowed
    #[arg(long = "action", value_name = "ACTION", required = true, value_parser = read_action)]
    actions: Vec<Action>,
    #[command(flatten)]
    policy: RulesArgs,
}

/// Runs the command.
pub fn run(command: AccessCommand, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    match command {
        AccessCommand::Check(args) => check(*args, config, output),
        AccessCommand::Lint(args) => lint(&args.load(config)?, output),
    }
}

// === impl RulesArgs ===

impl RulesArgs {
    fn path<'a>(&'a self, config: &'a Config) -> Option<&'a PathBuf> {
        self.rules.as_ref().or(config.access.acl_rules_path.as_ref())
    }

    fn load(&self, config: &Config) -> Result<Policy, Failure> {
        let Some(path) = self.path(config) else { return Ok(Policy::built_in()) };
        file::load(path).map_err(|error| Failure::new(Exit::Config, error.to_string()))
    }
}

// --- private helpers ---

fn check(args: CheckArgs, config: &Config, output: OutputFormat) -> Result<Exit, Failure> {
    let policy = args.policy.load(config)?;
    let boxed = |texts: Vec<String>| texts.into_iter().map(String::into_boxed_str).collect();
    let subject =
        Subject { groups: boxed(args.groups), scopes: boxed(args.scopes), ..args.subject };
    let client_id = args.client_id.unwrap_or_else(|| subject.id.to_string());
    let acc = args.actions.into_iter().fold(Actions::default(), Actions::with).acc();
    let decision = policy.decide(&subject, &client_id, acc, &args.topic);
    let superuser = policy.is_superuser(&subject);
    let rule = match decision.because {
        Because::Rule(rule) => printable(&rule.text()),
        _ => NONE.to_owned(),
    };
    let file = args.policy.rules.or_else(|| config.access.acl_rules_path.clone());
    let file = file.map(|path| path.display().to_string());
    let no_question =
        "yes: a broker that queries superusers allows everything without another query";
    let lines = [
        ("Answer", answer_label(decision.allowed).to_owned()),
        ("Because", printable(&decision.because.to_string())),
        ("Rule", rule),
        ("Superuser", if superuser { no_question } else { "no" }.to_owned()),
        ("Policy", file.as_deref().map_or_else(|| "only the built-in rules".to_owned(), printable)),
    ];
    printed(fields(output, &value(&decision, superuser, file.as_deref()), &lines))?;
    Ok(if decision.allowed { Exit::Done } else { Exit::Negative })
}

const fn answer_label(allowed: bool) -> &'static str {
    if allowed { "allowed" } else { "denied" }
}

fn value(decision: &Decision<'_>, superuser: bool, file: Option<&str>) -> serde_json::Value {
    json!({
        "allowed": decision.allowed,
        "action": decision.action.map(Action::name),
        "because": decision.because.label(),
        "rule": decision.place(),
        "says": decision.to_string(),
        "superuser": superuser,
        "policy": file,
    })
}

fn lint(policy: &Policy, output: OutputFormat) -> Result<Exit, Failure> {
    let suspicions = lint::lint(policy);
    let values: Vec<_> = suspicions.iter().map(value_of).collect();
    match output {
        OutputFormat::Table if suspicions.is_empty() => {
            let count = policy.allows().len() + policy.denies().len();
            writeln!(io::stdout(), "No problem in any of the {count} rules.")?;
        }
        OutputFormat::Table | OutputFormat::Json => {
            rows(output, &["level", "place", "problem", "what to do"], &values, cells)?;
        }
    }
    let is_wrong = suspicions.iter().any(|suspicion| suspicion.finding.level == Severity::Error);
    Ok(if is_wrong { Exit::Negative } else { Exit::Done })
}

fn value_of(suspicion: &LintSuspicion) -> serde_json::Value {
    json!({
        "level": suspicion.finding.level.label(),
        "place": suspicion.place,
        "kind": suspicion.kind.label(),
        "what": suspicion.finding.what,
        "advice": suspicion.finding.advice,
    })
}

fn cells(value: &serde_json::Value) -> Vec<String> {
    let text = |key: &str| printable(value[key].as_str().unwrap_or(NONE));
    ["level", "place", "what", "advice"].map(text).into()
}
