//! Turns an ACL file of mosquitto-go-auth (or Mosquitto) into rules of a policy.
//!
//! A rule that could allow more than the line is never made. `%u` and `%c` become placeholders where they
//! are a whole level; elsewhere a line is refused.

use std::fmt::Write as _;

use super::{OptionFate, Outcome};
use crate::access::policy::pattern::Pattern;

/// The rules of a file, and what became of each line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedAcl {
    /// The rules, as TOML.
    pub toml: String,
    /// How many rules there are.
    pub rules: usize,
    /// What became of the lines that are not rules.
    pub outcomes: Vec<Outcome>,
}

/// What a line allows or denies.
struct AclGrant {
    actions: &'static str,
    is_deny: bool,
}

/// Reads a file. `name` is how the outcomes call it.
pub fn import(name: &str, text: &str) -> ImportedAcl {
    let mut acl = ImportedAcl::default();
    let mut user: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{name} line {}", index + 1);
        let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let made = match keyword {
            "user" => {
                user = Some(rest);
                continue;
            }
            "topic" => rule(rest, user, false),
            "pattern" => rule(rest, None, true),
            _ => Err(format!("{keyword:?} is not a keyword of an ACL file")),
        };
        match made {
            Ok(rule) => {
                let _ = writeln!(acl.toml, "# {place}\n{rule}");
                acl.rules += 1;
            }
            Err(why) => acl.outcomes.push(Outcome::new(place, OptionFate::Refused, why)),
        }
    }
    acl
}

// === private helpers ===

/// One rule as TOML. Without a user it applies to everybody.
fn rule(text: &str, user: Option<&str>, is_pattern: bool) -> Result<String, String> {
    let (grant, topic) = grant(text);
    let topic = topic.trim();
    let topic = if is_pattern { placeholders(topic)? } else { topic.to_owned() };
    if topic.contains(['{', '}']) && !is_pattern {
        return Err("a level in braces would be a placeholder in a policy".to_owned());
    }
    Pattern::parse(&topic).map_err(|error| error.to_string())?;
    let mut rule = String::from("[[rules]]\n");
    if let Some(user) = user {
        // Devices and guests have names of another form: a name of the file is a person or a program.
        let _ = writeln!(
            rule,
            "subjects = {{ types = [\"service\", \"user\"], ids = [{}] }}",
            quoted(user)
        );
    }
    let _ = writeln!(rule, "topics = [{}]", quoted(&topic));
    let _ = writeln!(rule, "actions = {}", grant.actions);
    if grant.is_deny {
        rule.push_str("effect = \"deny\"\n");
    }
    Ok(rule)
}

/// The access of a line and its topic. Without a word for the access, both are allowed.
fn grant(text: &str) -> (AclGrant, &str) {
    let allow = |actions| AclGrant { actions, is_deny: false };
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or(("", text));
    match word {
        "read" => (allow(r#"["subscribe", "read"]"#), rest),
        "write" => (allow(r#"["publish"]"#), rest),
        "readwrite" => (allow(r#""*""#), rest),
        "subscribe" => (allow(r#"["subscribe"]"#), rest),
        "deny" => (AclGrant { actions: r#""*""#, is_deny: true }, rest),
        // A topic may contain spaces.
        _ => (allow(r#""*""#), text),
    }
}

fn placeholders(topic: &str) -> Result<String, String> {
    if topic.contains(['{', '}']) {
        return Err("a level in braces would be a placeholder in a policy".to_owned());
    }
    let levels: Result<Vec<&str>, String> = topic
        .split('/')
        .map(|level| match level {
            "%u" => Ok("{sub}"),
            "%c" => Ok("{client_id}"),
            level if level.contains("%u") || level.contains("%c") => {
                Err(format!("{level:?}: a policy has placeholders for whole levels only"))
            }
            level => Ok(level),
        })
        .collect();
    Ok(levels?.join("/"))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
