//! The components of the daemon for people: those that an operator looks for first, in one order,
//! and all others that fail or warn. The reasons are the words of `/readyz`.
//!
//! It checks nothing itself.

use std::collections::BTreeMap;

use super::api::state::Api;
use super::fleet_cache::KnownFleet;
use super::views::overview::HealthView;
use crate::clock;
use crate::link::overview::UP;

/// Components and their names for people, in their order. Several may share a name: the writer is
/// part of what people call the database.
const LABELS: [(&str, &str); 19] = [
    ("broker", "Broker"),
    ("database", "Database"),
    ("writer", "Writer"),
    ("listen", "Registry"),
    ("partitions", "Partitions"),
    ("revocation", "CRL"),
    ("isolation", "Isolation"),
    ("broker_acl", "Broker ACL"),
    ("authority", "Authority"),
    ("certificates", "Certificates"),
    ("registry", "Lookups"),
    ("schema", "Schema"),
    ("clock", "Clock"),
    ("api", "MQTT API"),
    ("outbox", "Outbox"),
    ("links", "Links"),
    ("replicas", "Replicas"),
    ("drain", "Drain"),
    ("start", "Start"),
];

type Reasons = BTreeMap<&'static str, String>;

/// All components to show.
pub(crate) fn components(
    api: &Api,
    known: Option<&KnownFleet>,
    troubles: &Reasons,
    warnings: &Reasons,
) -> Vec<HealthView> {
    let mut shown = well(api, known);
    for (component, label) in LABELS {
        let view = |state: &str, why: &str| HealthView {
            component: component.to_owned(),
            label: label.to_owned(),
            state: state.to_owned(),
            detail: why.to_owned(),
        };
        let found = match (troubles.get(component), warnings.get(component)) {
            (Some(why), _) => view("failed", why),
            (None, Some(why)) => view("warning", why),
            (None, None) => continue,
        };
        match shown.iter_mut().find(|other| other.component == component) {
            Some(other) => *other = found,
            None => shown.push(found),
        }
    }
    let is_known = |name: &str| LABELS.iter().any(|(component, _)| *component == name);
    for name in troubles.keys().chain(warnings.keys()) {
        if is_known(name) {
            continue;
        }
        let (state, why) = match troubles.get(name) {
            Some(why) => ("failed", why.as_str()),
            None => ("warning", warnings.get(name).map_or("", String::as_str)),
        };
        shown.push(row(name, name, state, why));
    }
    shown
}

// === private helpers ===

/// What the gauges show of the components that work.
fn well(api: &Api, known: Option<&KnownFleet>) -> Vec<HealthView> {
    let gauges = api.pulse.gauges();
    let broker = if gauges.is_broker_connected {
        row("broker", "Broker", "ok", "connected and subscribed")
    } else {
        row("broker", "Broker", "failed", "not connected to Mosquitto")
    };
    let database = match (gauges.is_database_up, known) {
        (true, Some(known)) => {
            let detail = format!("answers in {:.0} ms", known.answer_ms.max(1.0));
            row("database", "Database", "ok", &detail)
        }
        (true, None) => row("database", "Database", "ok", "answers"),
        (false, _) => row("database", "Database", "failed", "Postgres does not answer"),
    };
    let registry = if gauges.is_listening {
        row("listen", "Registry", "ok", "changes arrive at once")
    } else {
        row("listen", "Registry", "warning", "changes may be late")
    };
    let partitions = format!("{} days ahead", gauges.partitions_ahead);
    let state = if gauges.partitions_ahead > 0 { "ok" } else { "warning" };
    let mut shown =
        vec![broker, database, registry, row("partitions", "Partitions", state, &partitions)];
    shown.push(revocation(api, known));
    if let Some(links) = known.map(|known| &known.links).filter(|links| !links.is_empty()) {
        let up = links.iter().filter(|link| link.state == UP).count();
        let state = if up == links.len() { "ok" } else { "warning" };
        let detail = format!("{up} of {} up", links.len());
        shown.push(row("links", "Links", state, &detail));
    }
    shown.extend(policy(api));
    shown
}

/// The access policy, if there is one: rules that never match or allow too much are a warning.
fn policy(api: &Api) -> Option<HealthView> {
    api.config.access.acl_rules_path.as_ref()?;
    let (rules, findings) = api.access.rules_and_findings();
    let rules = counted(rules, "rule", "rules");
    Some(match findings {
        0 => row("policy", "Access policy", "ok", &format!("{rules}, none doubtful")),
        findings => {
            let findings = counted(findings, "finding", "findings");
            row("policy", "Access policy", "warning", &format!("{rules}, {findings}: see Access"))
        }
    })
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn revocation(api: &Api, known: Option<&KnownFleet>) -> HealthView {
    if api.config.certificates.ca_cert_path.is_none() {
        return row("revocation", "CRL", "off", "no authority is configured");
    }
    let gauges = api.pulse.gauges();
    let number = known.map(|known| known.crl.crl_number).filter(|number| *number > 0);
    let number = number.map_or_else(String::new, |number| format!(" #{number}"));
    let days = gauges.crl_ends_at.map(|end| (end - clock::now().to_utc()).num_days());
    let days = days.map_or_else(String::new, |days| format!(", ends in {days} d"));
    if gauges.is_crl_enforced {
        row("revocation", "CRL", "ok", &format!("enforced{number}{days}"))
    } else if gauges.crl_ends_at.is_some() {
        row("revocation", "CRL", "warning", &format!("published{number}, enforcement not proven"))
    } else {
        row("revocation", "CRL", "off", "none is published")
    }
}

fn row(component: &str, label: &str, state: &str, detail: &str) -> HealthView {
    HealthView {
        component: component.to_owned(),
        label: label.to_owned(),
        state: state.to_owned(),
        detail: detail.to_owned(),
    }
}
