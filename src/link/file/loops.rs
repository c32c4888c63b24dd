//! Finds a pair of rules that takes a message in under the topic from which it was forwarded: it
//! would come back.
//!
//! It tries examples, so each pair that it reports is one. A pair that it does not find is stopped
//! by the name of the node in each forwarded message.

use super::fields::LinkFields;
use crate::domain::forwarding::{ForwardRule, TemplatePart, TopicTemplate};
use crate::domain::ids::DeviceKey;
use crate::domain::topic::Topic;
use crate::link::receiver::addressing::{address, plain_filter};
use crate::link::settings::{IngestName, IngestNamePart, IngestRule};

/// Stands for a name that no rule has.
const ANY: &str = "x";

/// Records a fault for each ingest rule that takes a forwarded message in again.
pub(super) fn check(
    fields: &mut LinkFields<'_, '_>,
    publish: &[ForwardRule],
    ingest: &[IngestRule],
) {
    for (index, taken) in ingest.iter().enumerate() {
        if let Some((forwarded, topic)) = first_return(publish, taken) {
            let why = format!(
                "publish[{forwarded}] and this rule map {topic:?} onto itself, so each message would come back: forward and \
                 take in different topics"
            );
            let place = format!("{}[{index}]", fields.path_of("ingest"));
            fields.values.fault(place, why);
        }
    }
}

/// The first rule of `publish` whose messages come back, and a topic for which they do.
pub(super) fn first_return(publish: &[ForwardRule], taken: &IngestRule) -> Option<(usize, String)> {
    publish
        .iter()
        .enumerate()
        .find_map(|(index, forwarded)| Some((index, returning(forwarded, taken)?)))
}

// --- private helpers ---

/// A local topic that the rules map onto itself.
fn returning(forwarded: &ForwardRule, taken: &IngestRule) -> Option<String> {
    let tenants = candidates(forwarded, 1, taken, &taken.tenant, &TemplatePart::Tenant);
    let devices = candidates(forwarded, 3, taken, &taken.device, &TemplatePart::Device);
    let types = types(forwarded, taken);
    for tenant in &tenants {
        for device in &devices {
            let Ok(device) = DeviceKey::new(tenant, device) else { continue };
            let found =
                types.iter().find(|msg_type| comes_back(forwarded, taken, &device, msg_type));
            if let Some(msg_type) = found {
                return Some(format!("tenant/{}/{msg_type}", device.identity()));
            }
        }
    }
    None
}

fn comes_back(
    forwarded: &ForwardRule,
    taken: &IngestRule,
    device: &DeviceKey,
    msg_type: &str,
) -> bool {
    if !forwarded.matches(device, msg_type) {
        return false;
    }
    let remote = forwarded.to.render(device, msg_type);
    address(std::slice::from_ref(taken), remote.as_bytes())
        .is_ok_and(|local| local.topic == format!("tenant/{}/{msg_type}", device.identity()))
}

/// The names worth trying at one level of the local topic.
fn candidates(
    forwarded: &ForwardRule,
    at: usize,
    taken: &IngestRule,
    name: &IngestName,
    placeholder: &TemplatePart,
) -> Vec<String> {
    let fixed = forwarded.from.get(at).map(|level| &**level);
    if let Some(fixed) = fixed.filter(|level| !matches!(*level, "+" | "#")) {
        // A `#` further left leaves this level open; `get` finds none then.
        return vec![fixed.to_owned()];
    }
    let mut names = vec![ANY.to_owned()];
    names.extend(as_text(name));
    names.extend(levels_for(&forwarded.to, placeholder, &taken.filter));
    names
}

fn types(forwarded: &ForwardRule, taken: &IngestRule) -> Vec<String> {
    let of_filter: Vec<&str> = forwarded.from.iter().skip(4).map(|level| &**level).collect();
    let mut types = vec![of_filter.join("/"), "telemetry".to_owned(), "telemetry/x".to_owned()];
    types.extend(as_text(&taken.msg_type));
    types.extend(levels_for(&forwarded.to, &TemplatePart::MessageType, &taken.filter));
    // Wildcards of the rule are filled as a message would fill them.
    types.push(
        of_filter
            .iter()
            .map(|level| if *level == "+" { ANY } else { level })
            .collect::<Vec<_>>()
            .join("/"),
    );
    types.retain(|msg_type| {
        Topic::parse(format!("tenant/{ANY}/device/{ANY}/{msg_type}").as_bytes()).is_ok()
    });
    types.dedup();
    types
}

/// The name, if it has no level of the topic in it.
fn as_text(name: &IngestName) -> Option<String> {
    match name.0.as_slice() {
        [IngestNamePart::Text(text)] => Some(text.clone()),
        _ => None,
    }
}

/// The literal levels of the filter at which the template has this placeholder alone.
fn levels_for(to: &TopicTemplate, placeholder: &TemplatePart, filter: &str) -> Vec<String> {
    let mut level = 0;
    let mut places = Vec::new();
    for part in to.parts() {
        if part == placeholder {
            places.push(level);
        }
        if let TemplatePart::Text(text) = part {
            level += text.matches('/').count();
        }
    }
    let levels: Vec<&str> = plain_filter(filter).split('/').collect();
    let behind = |at: &usize| levels.get(*at..).unwrap_or_default();
    let mut names = Vec::new();
    for found in places.iter().map(behind) {
        let literal = found.iter().take_while(|level| !matches!(**level, "+" | "#"));
        let literal: Vec<&str> = literal.copied().collect();
        // A type may span levels.
        names.extend((1..=literal.len()).map(|count| literal[..count].join("/")));
    }
    names
}
