//! Checks the topics and names of the rules.
//!
//! It knows one text at a time: [`super::rules`] reads the rules.

use super::fields::shown;
use crate::config::sections::broker::is_filter;
use crate::domain::forwarding::TopicTemplate;
use crate::domain::ids::{DeviceKey, check_id};
use crate::domain::topic::{MessageKind, Topic};
use crate::link::kind::LinkKind;
use crate::link::limits::{BASIC_INGEST, LinkLimits};
use crate::link::receiver::addressing::plain_filter;
use crate::link::settings::{IngestName, IngestNamePart};

/// Stands for a level that is not known: the shortest name.
const ANY: &str = "x";

/// The most levels of a filter, and the highest level that `{n}` may name.
const MOST_LEVELS: usize = 200;

/// What an ingest name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedPart {
    Tenant,
    Device,
    Type,
}

/// Reads the levels of a filter of local topics.
pub(super) fn local_filter(text: &str) -> Result<Vec<Box<str>>, String> {
    if text.starts_with("$share/") {
        return Err("a link reads accepted messages, not the broker: remove $share/<group>/".into());
    }
    if !is_filter(text) {
        return Err(format!(
            "expected a topic filter, in which + and # are whole levels and # is the last one, found {}",
            shown(text)
        ));
    }
    let levels: Vec<Box<str>> = text.split('/').map(Box::from).collect();
    let sample = device_topic(&levels).ok_or_else(|| {
        format!(
            "it matches no topic of a device, tenant/<tenant>/device/<device>/<type>, found {}",
            shown(text)
        )
    })?;
    let has_wildcard = levels.iter().skip(4).any(|level| matches!(&**level, "+" | "#"));
    match Topic::parse(sample.as_bytes()) {
        Ok(topic) if topic.kind == MessageKind::Platform && !has_wildcard && levels.len() > 4 => {
            Err("Sluice publishes these messages itself and accepts none of them from devices"
                .into())
        }
        Err(error) if !has_wildcard => {
            Err(format!("it matches no message that Sluice accepts: {error}"))
        }
        _ => Ok(levels),
    }
}

/// Checks the template of a topic at the other broker.
pub(super) fn remote_topic(
    text: &str,
    kind: LinkKind,
    limits: &LinkLimits,
    from: Option<&[Box<str>]>,
    public_prefix: Option<&str>,
) -> Result<TopicTemplate, String> {
    let to = TopicTemplate::parse(text).map_err(|error| error.to_string())?;
    if text.contains(['+', '#']) {
        return Err(format!(
            "a message has one topic, without + and #: use {{tenant}}, {{device}} or {{type}}, found {}",
            shown(text)
        ));
    }
    check_dollar(text, kind)?;
    if let Some(prefix) = public_prefix
        && text.strip_prefix(prefix).is_none_or(|rest| !rest.starts_with('/'))
    {
        return Err(format!(
            "guests publish below \"{prefix}/\": begin the topic with it, or set public_prefix"
        ));
    }
    let shortest = shortest(&to, from.unwrap_or_default());
    limits.check_topic(kind, &shortest).map_err(|error| {
        format!("even with the shortest names {error} by {}, found {}", kind.label(), shown(text))
    })?;
    Ok(to)
}

/// Checks a filter at the other broker.
pub(super) fn remote_filter(
    text: &str,
    kind: LinkKind,
    limits: &LinkLimits,
    public_prefix: Option<&str>,
) -> Result<(), String> {
    let plain = plain_filter(text);
    if plain != text && kind != LinkKind::Mqtt {
        return Err(format!(
            "shared subscriptions of {} are not relied on: remove $share/<group>/",
            kind.label()
        ));
    }
    if !is_filter(plain) {
        return Err(format!(
            "expected a topic filter, in which + and # are whole levels and # is the last one, found {}",
            shown(text)
        ));
    }
    if plain.starts_with('$') {
        return Err(format!(
            "topics that begin with $ belong to the other broker, and Sluice takes none of them in, found {}",
            shown(text)
        ));
    }
    if let Some(prefix) = public_prefix
        && plain.strip_prefix(prefix).is_none_or(|rest| !rest.starts_with('/'))
    {
        return Err(format!(
            "guests subscribe below \"{prefix}/\": begin the filter with it, or set public_prefix"
        ));
    }
    limits
        .check_topic(kind, plain)
        .map_err(|error| format!("{error} by {}, found {}", kind.label(), shown(text)))
}

/// Reads a name of an ingest rule, and checks that it can be one.
pub(super) fn ingest_name(
    text: &str,
    filter: Option<&str>,
    part: NamedPart,
) -> Result<IngestName, String> {
    let name = parse_name(text)?;
    let Some(filter) = filter else { return Ok(name) };
    let levels: Vec<&str> = plain_filter(filter).split('/').collect();
    let is_open = levels.last() == Some(&"#");
    let last = name.0.iter().filter_map(|part| match part {
        IngestNamePart::Level(level) => Some(*level),
        IngestNamePart::Text(_) => None,
    });
    if let Some(level) = last.max().filter(|level| *level > levels.len() && !is_open) {
        return Err(format!("the filter has {} levels, so there is no {{{level}}}", levels.len()));
    }
    let known = levels.iter().map(|level| if matches!(*level, "+" | "#") { ANY } else { level });
    let sample: Vec<&str> = known.chain(std::iter::repeat(ANY)).take(MOST_LEVELS).collect();
    let sample: String = name.0.iter().map(|part| part_of(part, &sample)).collect();
    match part {
        NamedPart::Tenant | NamedPart::Device => check_id(sample.as_bytes())
            .map_err(|error| format!("it is never a valid name: {error}, found {}", shown(text)))?,
        NamedPart::Type => check_type(&sample, text)?,
    }
    Ok(name)
}

// --- private helpers ---

/// A topic of a device that the filter matches; `None` if there is none.
fn device_topic(levels: &[Box<str>]) -> Option<String> {
    let mut names = Vec::new();
    let mut filter = levels.iter().map(|level| &**level).peekable();
    for fixed in [Some("tenant"), None, Some("device"), None] {
        let name = match (filter.peek().copied(), fixed) {
            (Some("#"), fixed) => fixed.unwrap_or(ANY),
            (Some("+"), fixed) => {
                filter.next();
                fixed.unwrap_or(ANY)
            }
            (Some(level), Some(fixed)) if level == fixed => filter.next()?,
            (Some(level), None) if check_id(level.as_bytes()).is_ok() => filter.next()?,
            _ => return None,
        };
        names.push(name);
    }
    match filter.peek().copied()? {
        "#" => names.push(ANY),
        _ => names.extend(filter.map(|level| if matches!(level, "+" | "#") { ANY } else { level })),
    }
    Some(names.join("/"))
}

fn check_dollar(text: &str, kind: LinkKind) -> Result<(), String> {
    if !text.starts_with('$') {
        return Ok(());
    }
    let Some(behind) = text.strip_prefix(BASIC_INGEST).filter(|_| kind == LinkKind::AwsIot) else {
        return Err(format!(
            "a topic that begins with $ belongs to the other broker; only kind = \"aws-iot\" takes {BASIC_INGEST}<rule>/..."
        ));
    };
    let rule = behind.split('/').next().unwrap_or_default();
    if rule.is_empty() || rule.contains('{') {
        return Err(format!("the name of the rule is missing behind {BASIC_INGEST}"));
    }
    Ok(())
}

/// The shortest topic that the rule can yield.
fn shortest(to: &TopicTemplate, from: &[Box<str>]) -> String {
    let level = |index: usize| match from.get(index).map(|level| &**level) {
        None | Some("+" | "#") => ANY,
        Some(name) => name,
    };
    let msg_type: Vec<&str> = (4..from.len().max(5))
        .map(level)
        .enumerate()
        .filter(|(index, _)| {
            *index == 0 || from.get(index + 4).is_some_and(|level| &**level != "#")
        })
        .map(|(_, level)| level)
        .collect();
    let device = DeviceKey::new(level(1), level(3)).or_else(|_| DeviceKey::new(ANY, ANY));
    device.map_or_else(|_| String::new(), |device| to.render(&device, &msg_type.join("/")))
}

fn parse_name(text: &str) -> Result<IngestName, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            parts.push(IngestNamePart::Text(before.to_owned()));
        }
        let (inner, behind) = after
            .split_once('}')
            .ok_or_else(|| format!("the {{ has no }}, found {}", shown(text)))?;
        let level = inner.parse().ok().filter(|level| (1..=MOST_LEVELS).contains(level));
        let level = level.ok_or_else(|| {
            format!("{{{}}} is no level of the topic: the first one is {{1}}", inner.escape_debug())
        })?;
        parts.push(IngestNamePart::Level(level));
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(IngestNamePart::Text(rest.to_owned()));
    }
    Ok(IngestName(parts))
}

fn part_of<'a>(part: &'a IngestNamePart, levels: &[&'a str]) -> &'a str {
    match part {
        IngestNamePart::Text(text) => text,
        IngestNamePart::Level(level) => {
            level.checked_sub(1).and_then(|at| levels.get(at)).copied().unwrap_or_default()
        }
    }
}

fn check_type(sample: &str, text: &str) -> Result<(), String> {
    match Topic::parse(format!("tenant/{ANY}/device/{ANY}/{sample}").as_bytes()) {
        Ok(topic) if topic.kind != MessageKind::Platform => Ok(()),
        Ok(_) => Err(format!(
            "Sluice publishes these messages itself, so none of them is taken in, found {}",
            shown(text)
        )),
        Err(error) => Err(format!("it is never a message type: {error}, found {}", shown(text))),
    }
}
