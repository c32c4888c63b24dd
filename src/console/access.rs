//! `/console/access`: would a client be allowed, and by which rule; doubtful rules; what the hooks
//! denied lately.
//!
//! The question is the address. It decides nothing: the API asks the policy in force.

use std::fmt::Write as _;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::{Value, json};

use super::filters;
use super::frame::{Frame, NavPage, shell_quoted};
use super::page::{PageError, WebPage};
use super::query::PageQuery;
use super::state::ConsoleState;
use super::visit::Visit;
use crate::http::{
    AccessDecisionView, AccessLintView, ApiFault, DenialView, DenialsView, LintFindingView,
    RuleLinesView,
};

const PATH: &str = "/console/access";

const CHECK: &str = "/api/v1/access/check";

/// The actions of the form.
const ACTIONS: [&str; 3] = ["subscribe", "read", "publish"];

/// The page.
#[derive(Template)]
#[template(path = "access.html")]
struct AccessPage {
    frame: Frame,
    question: AccessForm,
    /// The answer; `None`: the address has no question.
    answer: Option<Result<AccessDecisionView, String>>,
    lint: AccessLintView,
    denials: DenialsView,
}

/// The fields of the form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct AccessForm {
    subject: String,
    groups: String,
    scopes: String,
    client_id: String,
    topic: String,
    action: String,
}

/// Its paths.
pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new().route(PATH, get(show))
}

// === private helpers ===

async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<AccessPage>, PageError> {
    let (api, person) = (&console.api, &visit.person);
    let question = AccessForm::of(visit.query());
    let body = question.is_whole().then(|| question.body());
    let check = async {
        match &body {
            Some(body) => Some(api.send(person, "POST", CHECK, Some(body)).await),
            None => None,
        }
    };
    let (answer, lint, denials) = tokio::join!(
        check,
        api.get::<AccessLintView>(person, "/api/v1/access/lint"),
        api.get::<DenialsView>(person, "/api/v1/access/denials"),
    );
    let mut frame = visit.frame("Access", NavPage::Access);
    if let Some(body) = &body {
        frame = frame.same_by_sending(&question.command(), "POST", CHECK, &body.to_string());
    }
    let frame = frame.same_by("access lint", "GET", "/api/v1/access/lint").same_by(
        "",
        "GET",
        "/api/v1/access/denials",
    );
    let answer = answer.map(|answer: Result<AccessDecisionView, _>| answer.map_err(in_words));
    let (lint, denials) = (lint?, denials?);
    Ok(WebPage(AccessPage { frame, question, answer, lint, denials }))
}

fn in_words(fault: ApiFault) -> String {
    let fields = fault.errors.iter();
    let fields = fields.map(|error| format!("{}: {}", error.field, without_place(&error.detail)));
    let fields: Vec<String> = fields.collect();
    if fields.is_empty() { fault.detail } else { fields.join("; ") }
}

/// The person sees a form: a place in the JSON of the call says nothing.
fn without_place(detail: &str) -> &str {
    detail.rsplit_once(" at line ").map_or(detail, |(said, _)| said)
}

// === impl AccessForm ===

impl AccessForm {
    fn of(query: &PageQuery) -> Self {
        let text = |name| query.get(name).unwrap_or_default().trim().to_owned();
        let action = query.get("action").filter(|action| ACTIONS.contains(action));
        Self {
            subject: text("as"),
            groups: text("groups"),
            scopes: text("scopes"),
            client_id: text("client_id"),
            topic: text("topic"),
            action: action.unwrap_or(ACTIONS[0]).to_owned(),
        }
    }

    fn is_whole(&self) -> bool {
        !self.subject.is_empty() && !self.topic.is_empty()
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "as": self.subject,
            "topic": self.topic,
            "actions": [self.action],
            "groups": words(&self.groups),
            "scopes": words(&self.scopes),
        });
        if !self.client_id.is_empty() {
            body["client_id"] = self.client_id.clone().into();
        }
        body
    }

    fn command(&self) -> String {
        let mut command = format!("access check --as {}", shell_quoted(&self.subject));
        for (flag, values) in [("group", words(&self.groups)), ("scope", words(&self.scopes))] {
            for value in values {
                let _ = write!(command, " --{flag} {}", shell_quoted(value));
            }
        }
        if !self.client_id.is_empty() {
            let _ = write!(command, " --client-id {}", shell_quoted(&self.client_id));
        }
        let topic = shell_quoted(&self.topic);
        let _ = write!(command, " --topic {topic} --action {}", self.action);
        command
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split([',', ' ']).filter(|word| !word.is_empty()).collect()
}

// === impl AccessPage ===

impl AccessPage {
    fn actions() -> [&'static str; 3] {
        ACTIONS
    }

    /// The lines with their numbers.
    fn numbered(lines: &RuleLinesView) -> String {
        // The comment before the next rule is not part of this one.
        let is_remark = |line: &String| line.trim().is_empty() || line.trim().starts_with('#');
        let end = lines.text.iter().rposition(|line| !is_remark(line)).map_or(0, |last| last + 1);
        let mut numbered = String::new();
        for (line, number) in lines.text[..end].iter().zip(lines.line..) {
            let _ = writeln!(numbered, "{number:>5}  {line}");
        }
        numbered
    }

    fn tone(finding: &LintFindingView) -> &'static str {
        if finding.level == "error" { "bad" } else { "warn" }
    }

    /// The form with the question of a denial, if it names a device or a person.
    fn question_of(denial: &DenialView) -> Option<String> {
        let action = ACTIONS.into_iter().find(|action| *action == denial.action)?;
        if denial.topic.is_empty() || denial.who.contains(' ') {
            return None;
        }
        let subject = match denial.who.split_once("/device/") {
            Some((tenant, device)) => format!("device:{tenant}/{device}"),
            None if denial.who.starts_with("guest-") => format!("guest:{}", denial.who),
            None => format!("user:{}", denial.who),
        };
        let query = PageQuery::from([
            ("as", subject.as_str()),
            ("client_id", &denial.client_id),
            ("topic", &denial.topic),
            ("action", action),
        ]);
        Some(query.href(PATH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_question_and_the_command() {
        let query =
            PageQuery::parse("as=user%3Aalice&groups=a%2C+b&topic=plant%2F%2B%2F%23&action=read");
        let form = AccessForm::of(&query);
        assert!(form.is_whole());
        assert_eq!(form.body()["groups"], json!(["a", "b"]));
        let command =
            "access check --as user:alice --group a --group b --topic 'plant/+/#' --action read";
        assert_eq!(form.command(), command);
        assert!(!AccessForm::of(&PageQuery::default()).is_whole());
    }
}
