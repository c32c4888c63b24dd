//! `/access`: what the policy in force decides, which of its rules are doubtful, and what the hooks
//! denied lately.
//!
//! A check authenticates no one: it says what an authenticated client may do.

use std::path::Path;

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use crate::access::hooks::subject::{Subject, SubjectKind};
use crate::access::policy::decision::{Because, Decision};
use crate::access::policy::rule::{Action, Actions};
use crate::access::policy::{file, lint, rule_place};
use crate::disk;
use crate::http::api::extract::{Call, Json, NoBody, NoParams};
use crate::http::api::params::{Param, TextParam};
use crate::http::api::problem::Problem;
use crate::http::api::route::OkJson;
use crate::http::api::state::Api;
use crate::http::views::access::{
    AccessDecisionView, AccessLintView, DenialView, DenialsView, LintFindingView,
};
use crate::pki::request::identity::read_common_name;

/// The most groups, scopes or actions of a request.
const LIST_MAX: usize = 64;

/// Who wants to do what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessQuestion {
    /// The client: `device:TENANT/DEVICE`, `service:ID`, `user:ID` or `guest:ID`.
    #[serde(rename = "as")]
    subject: Param<Subject>,
    /// Its groups.
    #[serde(default)]
    groups: Vec<String>,
    /// Its scopes.
    #[serde(default)]
    scopes: Vec<String>,
    /// Its MQTT client id; the default is its identifier.
    client_id: Option<String>,
    /// The topic, or the topic filter of a subscription.
    topic: String,
    /// The actions, all of which must be allowed: `subscribe`, `read`, `publish`.
    actions: Vec<Param<Action>>,
}

pub(crate) async fn check(
    api: Api,
    call: Call<NoParams, NoParams, Json<AccessQuestion>>,
) -> Result<OkJson<AccessDecisionView>, Problem> {
    let Json(question) = call.body;
    question.check_lengths()?;
    let AccessQuestion { subject: Param(subject), groups, scopes, client_id, topic, actions } =
        question;
    let boxed = |texts: Vec<String>| texts.into_iter().map(String::into_boxed_str).collect();
    let subject = Subject { groups: boxed(groups), scopes: boxed(scopes), ..subject };
    let client_id = client_id.filter(|id| !id.is_empty()).unwrap_or_else(|| subject.id.to_string());
    let actions = actions.into_iter().map(|Param(action)| action);
    let acc = actions.fold(Actions::default(), Actions::with).acc();
    let policy = api.access.policy();
    let path = api.config.access.acl_rules_path.as_deref();
    let mut view = {
        let decision = policy.decide(&subject, &client_id, acc, &topic);
        decided(&decision, policy.is_superuser(&subject), path)
    };
    if let (Some(path), Some(place)) = (path, view.rule.clone()) {
        let own = path.to_owned();
        let read = disk::run(path, move || rule_place::find_in(&own, &policy, &place));
        // Without the file the decision still stands.
        view.lines = read.await.ok().flatten().map(Into::into);
    }
    Ok(OkJson(view))
}

pub(crate) async fn lint(
    api: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<OkJson<AccessLintView>, Problem> {
    let policy = api.access.policy();
    let path = api.config.access.acl_rules_path.clone();
    let fault = match path.clone() {
        None => None,
        Some(path) => {
            let own = path.clone();
            match disk::run(&path, move || file::load(&own).map(drop)).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            }
        }
    };
    Ok(OkJson(AccessLintView {
        policy: path.map(|path| path.display().to_string()),
        rules: policy.allows().len() + policy.denies().len(),
        fault,
        findings: lint::lint(&policy).into_iter().map(LintFindingView::from).collect(),
    }))
}

pub(crate) async fn denials(
    api: Api,
    _: Call<NoParams, NoParams, NoBody>,
) -> Result<OkJson<DenialsView>, Problem> {
    let (rows, forgotten) = api.access.denials.list();
    Ok(OkJson(DenialsView {
        client_id: api.config.broker.client_id.clone(),
        denials: rows.into_iter().map(DenialView::from).collect(),
        forgotten,
    }))
}

/// Reads `device:acme/pump-1`, `service:billing`, `user:alice` or `guest:g1`.
pub(crate) fn read_subject(text: &str) -> Result<Subject, String> {
    let (kind, id) = text.split_once(':').unwrap_or((text, ""));
    if id.is_empty() {
        return Err("expected KIND:ID, such as device:acme/pump-1 or user:alice".to_owned());
    }
    let (kind, id) = match kind {
        "device" => {
            let key = read_common_name(id)
                .map_err(|error| format!("expected device:TENANT/DEVICE: {error}"))?;
            let id = key.identity().to_owned();
            (SubjectKind::Device(key), id)
        }
        "service" => (SubjectKind::Service, id.to_owned()),
        "user" => (SubjectKind::User, id.to_owned()),
        "guest" => (SubjectKind::Guest, id.to_owned()),
        _ => return Err("expected one of the kinds device, service, user, guest".to_owned()),
    };
    Ok(Subject { kind, id: id.into(), groups: Vec::new(), scopes: Vec::new(), expires_at: None })
}

/// Reads the name of an action.
pub(crate) fn read_action(name: &str) -> Result<Action, String> {
    let known = Action::ALL.into_iter().find(|action| action.name() == name);
    known.ok_or_else(|| "expected subscribe, read or publish".to_owned())
}

// === impl AccessQuestion ===

impl AccessQuestion {
    fn check_lengths(&self) -> Result<(), Problem> {
        let too_long =
            |field| Problem::field(field, format!("expected at most {LIST_MAX} entries"));
        if self.actions.is_empty() {
            return Err(Problem::field("actions", "expected at least one action"));
        }
        for (field, length) in [
            ("groups", self.groups.len()),
            ("scopes", self.scopes.len()),
            ("actions", self.actions.len()),
        ] {
            if length > LIST_MAX {
                return Err(too_long(field));
            }
        }
        Ok(())
    }
}

// === impl TextParam ===

impl TextParam for Subject {
    fn read(text: &str) -> Result<Self, String> {
        read_subject(text)
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(device|service|user|guest):.+$",
            "examples": ["device:acme/pump-1", "user:alice"],
        })
    }
}

impl TextParam for Action {
    fn read(text: &str) -> Result<Self, String> {
        read_action(text)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["subscribe", "read", "publish"] })
    }
}

// === private helpers ===

fn decided(decision: &Decision<'_>, superuser: bool, policy: Option<&Path>) -> AccessDecisionView {
    let rule_text = match decision.because {
        Because::Rule(rule) => Some(rule.text()),
        _ => None,
    };
    AccessDecisionView {
        allowed: decision.allowed,
        action: decision.action.map(|action| action.name().to_owned()),
        because: decision.because.label().to_owned(),
        rule: decision.place().map(str::to_owned),
        rule_text,
        lines: None,
        says: decision.to_string(),
        superuser,
        policy: policy.map(|path| path.display().to_string()),
    }
}
