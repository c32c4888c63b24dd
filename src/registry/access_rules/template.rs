//! The operator's lines in the grammar of Mosquitto's `acl_file`, and the rows they give one
//! device.
//!
//! A line that Mosquitto would refuse is refused here with its number: Mosquitto 2.1 exits when it
//! reads one. It reads no registry and writes no file.

use std::fs;
use std::io;
use std::path::Path;

use crate::config::sections::broker::BrokerConfig;
use crate::domain::device_topics::{
    ALL_COMMANDS, ALL_DESIRED, ALL_ERRORS, ALL_NOTICES, ALL_RESPONSES, OWN_MESSAGES,
};
use crate::pki::files;

/// Longest template, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// The placeholder of the user name in a pattern.
const USER: &str = "%u";

/// The prefix of device topics: a pattern below it applies to devices only.
const DEVICE_PREFIX: &str = "tenant/%u/";

/// What a device may write and read without a template.
const DEFAULT_PATTERNS: [&str; 13] = [
    "pattern write tenant/%u/telemetry/#",
    "pattern write tenant/%u/heartbeat",
    "pattern write tenant/%u/event",
    "pattern write tenant/%u/status",
    "pattern write tenant/%u/shadow/reported",
    "pattern write tenant/%u/commands/ack",
    "pattern write tenant/%u/request/#",
    "pattern read tenant/%u/shadow/desired",
    "pattern read tenant/%u/commands/#",
    "pattern read tenant/%u/jobs/#",
    "pattern read tenant/%u/errors/#",
    "pattern read tenant/%u/response/#",
    "pattern read tenant/%u/notices/#",
];

/// What Sluice publishes to devices, and what it keeps at the broker for itself.
const OWN_WRITES: [&str; 5] = [ALL_RESPONSES, ALL_COMMANDS, ALL_DESIRED, ALL_ERRORS, ALL_NOTICES];

/// One parsed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclLine<'a> {
    /// An empty line or a comment.
    Nothing,
    /// The `topic` lines below apply to this user.
    User(&'a str),
    /// A rule of that user, or of clients without a user name.
    Topic(Rule<'a>),
    /// A rule of all clients.
    Pattern(Rule<'a>),
}

/// An access right on a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// `read`, `write`, `readwrite` or `deny`.
    pub access: &'a str,
    /// The filter.
    pub topic: &'a str,
}

/// The operator's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    lines: Vec<Line>,
    device_patterns: Vec<DevicePattern>,
}

/// Why a template is unusable.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file cannot be read.
    #[error("ACL_TEMPLATE_PATH {path} cannot be read: {why}")]
    Unreadable {
        /// The path.
        path: String,
        /// The cause.
        why: io::Error,
    },
    /// A line that is no rule.
    #[error("line {number} of ACL_TEMPLATE_PATH {path} is not an access rule ({why}): correct it")]
    Line {
        /// The path.
        path: String,
        /// The line number, from 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    text: String,
    /// Whether it is a pattern below `tenant/%u/`.
    is_for_devices: bool,
}

/// A pattern with `%u`, which becomes a row of each device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DevicePattern {
    access: String,
    topic: String,
}

/// Parses one line as Mosquitto does. The error says what Mosquitto would refuse.
pub fn parse_line(line: &str) -> Result<AclLine<'_>, String> {
    // Mosquitto trims only the end: a line may begin with a space, but not with a tab.
    let line = line.trim_end_matches(is_space);
    if line.starts_with('#') {
        return Ok(AclLine::Nothing);
    }
    if line.chars().any(char::is_control) {
        return Err("it contains a tab or another control character".to_owned());
    }
    let line = line.trim_start_matches(' ');
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim_matches(' ');
    match word {
        "" => Ok(AclLine::Nothing),
        "user" if rest.is_empty() => Err("it names no user".to_owned()),
        "user" => Ok(AclLine::User(rest)),
        "topic" => parse_rule(rest).map(AclLine::Topic),
        "pattern" => parse_rule(rest).map(AclLine::Pattern),
        other => Err(format!("it begins with {other:?}, expected user, topic, pattern or #")),
    }
}

// === impl Template ===

impl Template {
    /// Reads the operator's file.
    pub fn open(path: &Path) -> Result<Self, TemplateError> {
        let shown = || path.display().to_string();
        let read = || {
            if !fs::metadata(path)?.is_file() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is not a regular file",
                ));
            }
            let bytes = files::read(path, MAX_BYTES)?;
            String::from_utf8(bytes)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
        };
        let text = read().map_err(|why| TemplateError::Unreadable { path: shown(), why })?;
        Self::parse(&text).map_err(|(number, why)| TemplateError::Line {
            path: shown(),
            number,
            why,
        })
    }

    /// The built-in lines: for Sluice itself, and for the usual message types of devices.
    pub fn built_in(broker: &BrokerConfig) -> Self {
        let mut text =
            broker.username.as_ref().map_or_else(String::new, |name| format!("user {name}\n"));
        text.extend(["topic read ", &broker.topic, "\ntopic read $SYS/#\n"]);
        for filter in OWN_WRITES {
            text.extend(["topic write ", filter, "\n"]);
        }
        text.extend(["topic readwrite ", OWN_MESSAGES, "\n"]);
        text.push_str(&DEFAULT_PATTERNS.join("\n"));
        // A user name or filter that fits no line leaves only the lines of devices.
        Self::parse(&text)
            .or_else(|_| Self::parse(&DEFAULT_PATTERNS.join("\n")))
            .unwrap_or_else(|_| Self::of(Vec::new()))
    }

    /// Parses all lines. The error holds the line number and the cause.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut lines = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let parsed = parse_line(line).map_err(|why| (number, why))?;
            let is_for_devices =
                matches!(parsed, AclLine::Pattern(rule) if rule.topic.starts_with(DEVICE_PREFIX));
            lines.push(Line { text: line.trim_end_matches(is_space).to_owned(), is_for_devices });
        }
        Ok(Self::of(lines))
    }

    fn of(lines: Vec<Line>) -> Self {
        let device_patterns = lines.iter().filter_map(|line| match parse_line(&line.text) {
            // The registry knows no client id.
            Ok(AclLine::Pattern(rule))
                if rule.topic.contains(USER) && !rule.topic.contains("%c") =>
            {
                Some(DevicePattern { access: rule.access.to_owned(), topic: rule.topic.to_owned() })
            }
            _ => None,
        });
        Self { device_patterns: device_patterns.collect(), lines }
    }

    /// The lines, unchanged.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.text.as_str())
    }

    /// The lines above the rows of devices. A pattern that applies to devices only becomes a
    /// comment.
    pub fn lines_above_rows(&self) -> impl Iterator<Item = String> {
        self.lines.iter().map(|line| {
            if line.is_for_devices { format!("#rows: {}", line.text) } else { line.text.clone() }
        })
    }

    /// The rows of one device: each pattern with `%u` replaced by `identity`.
    pub fn rows_of(&self, identity: &str) -> impl Iterator<Item = (&str, String)> {
        self.device_patterns
            .iter()
            .map(move |one| (one.access.as_str(), one.topic.replace(USER, identity)))
    }

    /// Whether the template gives devices no right at all.
    pub const fn grants_devices_nothing(&self) -> bool {
        self.device_patterns.is_empty()
    }
}

// --- private helpers ---

fn parse_rule(rest: &str) -> Result<Rule<'_>, String> {
    let (access, topic) = match rest.split_once(' ') {
        Some((access, topic)) => (access, topic.trim_matches(' ')),
        None => ("readwrite", rest),
    };
    if topic.is_empty() || matches!(topic, "read" | "write" | "readwrite" | "deny") {
        return Err("it names no topic".to_owned());
    }
    if !matches!(access, "read" | "write" | "readwrite" | "deny") {
        return Err(format!("it grants {access:?}, expected read, write, readwrite or deny"));
    }
    let mut levels = topic.split('/').peekable();
    let mut is_filter = true;
    while let Some(level) = levels.next() {
        is_filter &= match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            other => !other.contains(['+', '#']),
        };
    }
    if is_filter && u16::try_from(topic.len()).is_ok() {
        Ok(Rule { access, topic })
    } else {
        Err(format!("{topic:?} is not a topic filter"))
    }
}

/// The characters that C's `isspace` accepts.
const fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_mosquitto_reads_it() {
        let rule = |access, topic| Rule { access, topic };
        for (line, parsed) in [
            ("", AclLine::Nothing),
            ("  ", AclLine::Nothing),
            ("# topic nonsense what", AclLine::Nothing),
            ("user acme/device/d0", AclLine::User("acme/device/d0")),
            ("user  a b \r", AclLine::User("a b")),
            (" topic read a/#", AclLine::Topic(rule("read", "a/#"))),
            ("topic  write  a/+/b ", AclLine::Topic(rule("write", "a/+/b"))),
            ("topic a", AclLine::Topic(rule("readwrite", "a"))),
            ("topic deny #", AclLine::Topic(rule("deny", "#"))),
            ("pattern read a/%u/b c", AclLine::Pattern(rule("read", "a/%u/b c"))),
        ] {
            assert_eq!(parse_line(line), Ok(parsed), "{line:?}");
        }
        for (line, why) in [
            ("user", "no user"),
            ("user  ", "no user"),
            ("topic", "no topic"),
            ("topic read", "no topic"),
            ("topic reed a/b", "expected read"),
            ("topic read a/#/b", "not a topic filter"),
            ("pattern write a+/b", "not a topic filter"),
            ("tpic read a", "expected user"),
            (" # comment", "expected user"),
            ("\ttopic read a", "control"),
            ("topic read a\0b", "control"),
        ] {
            assert!(parse_line(line).unwrap_err().contains(why), "{line:?}");
        }
    }

    #[test]
    fn patterns_for_devices_become_rows_and_other_lines_stay() {
        let text = "user sluice\ntopic read #\n# mine\npattern write tenant/%u/door\npattern read \
            config/%u/#\npattern read tenant/%u/%c\npattern read public/#\n";
        let template = Template::parse(text).unwrap();
        assert_eq!(template.lines().collect::<Vec<_>>(), text.lines().collect::<Vec<_>>());
        let rows: Vec<_> = template.rows_of("a/device/d").collect();
        assert_eq!(
            rows,
            [
                ("write", "tenant/a/device/d/door".into()),
                ("read", "config/a/device/d/#".to_owned())
            ]
        );
        let above: Vec<_> = template.lines_above_rows().collect();
        assert_eq!(above[3], "#rows: pattern write tenant/%u/door");
        assert_eq!(above[4], "pattern read config/%u/#", "it may be for others too");
        assert_eq!(
            Template::parse("topic read a\n\nnonsense\n"),
            Err((3, parse_line("nonsense").unwrap_err()))
        );
    }

    #[test]
    fn without_a_template_sluice_reads_and_devices_write_the_usual_types() {
        let broker =
            crate::config::Config::load(&crate::config::Sources::default()).unwrap().config.broker;
        let broker = BrokerConfig { username: Some("sluice".into()), ..broker };
        let template = Template::built_in(&broker);
        assert!(template.lines().any(|line| line == "topic read tenant/+/device/+/#"));
        assert_eq!(template.lines().next(), Some("user sluice"));
        for needed in [
            "topic write tenant/+/device/+/response/#",
            "topic write tenant/+/device/+/commands",
            "topic readwrite sluice/#",
        ] {
            assert!(template.lines().any(|line| line == needed), "{needed}");
        }
        let rows: Vec<_> = template.rows_of("acme/device/p1").collect();
        assert!(rows.contains(&("write", "tenant/acme/device/p1/request/#".to_owned())));
        assert!(rows.contains(&("read", "tenant/acme/device/p1/response/#".to_owned())));
        assert_eq!(template.rows_of("x").count(), DEFAULT_PATTERNS.len());
        let strange = BrokerConfig { username: Some("\t".into()), ..broker };
        assert_eq!(Template::built_in(&strange).rows_of("x").count(), DEFAULT_PATTERNS.len());
    }
}
