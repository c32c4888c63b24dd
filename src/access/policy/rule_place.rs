//! Finds the lines of a rule in the text of its policy file, so that an operator can read it there.
//!
//! The parsers keep no lines, so it reads brackets, strings and comments itself. It judges no rule,
//! and finds nothing where it is not sure.

use std::path::Path;

use super::Policy;
use super::file;

/// The most lines of a rule that are quoted.
const LINES_MAX: usize = 24;

/// The lines of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleLines {
    /// The number of the first line, from 1.
    pub line: usize,
    /// The lines.
    pub text: Vec<String>,
}

/// The place of a character that has a meaning for the structure.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: usize,
    byte: u8,
}

/// Reads the file at `path`, and finds the rule at `place` (such as `rules[3]`) there. `None`: the
/// file has changed since `policy` was read from it, or the place is not found. Blocks.
pub fn find_in(path: &Path, policy: &Policy, place: &str) -> Option<RuleLines> {
    let text = file::read_bounded(path).ok()?;
    let now = file::parse(&text, file::format_of(path, &text)).ok()?;
    let rule_of = |policy: &Policy| {
        let mut rules = policy.allows().iter().chain(policy.denies());
        rules.find(|rule| *rule.place == *place).map(|rule| (rule.index, rule.text()))
    };
    let (index, same) = rule_of(&now)?;
    (rule_of(policy)? == (index, same)).then(|| find(&text, place)).flatten()
}

/// Finds the lines of the rule at `place`.
pub fn find(text: &str, place: &str) -> Option<RuleLines> {
    let (path, index) = place.strip_suffix(']')?.rsplit_once('[')?;
    let index: usize = index.parse().ok()?;
    let key = path.rsplit('.').next()?;
    let (start, end) = of_tables(text, key, index).or_else(|| of_list(text, key, index))?;
    let line = text[..start].matches('\n').count() + 1;
    let lines = text.get(start..end)?.trim_end().lines();
    let first = text[..start].rsplit('\n').next().unwrap_or_default();
    let mut quoted: Vec<String> = lines.take(LINES_MAX).map(str::to_owned).collect();
    if let Some(head) = quoted.first_mut()
        && first.trim().is_empty()
    {
        head.insert_str(0, first);
    }
    Some(RuleLines { line, text: quoted })
}

// === private helpers ===

/// The `index`-th table `[[..key]]` of TOML, up to the next table that is not below it.
fn of_tables(text: &str, key: &str, index: usize) -> Option<(usize, usize)> {
    let mut at = 0;
    let mut heads = Vec::new();
    for line in text.split_inclusive('\n') {
        let head = line.trim();
        if head.starts_with('[') {
            let is_list = head.starts_with("[[");
            let end = head.find(']').unwrap_or(head.len());
            let name = head[..end].trim_start_matches('[').trim().to_owned();
            heads.push((at, is_list, name));
        }
        at += line.len();
    }
    let is_rule = |name: &str| name.rsplit('.').next().is_some_and(|last| last.trim() == key);
    let mut rules = heads
        .iter()
        .enumerate()
        .filter(|(_, (_, is_list, name))| *is_list && is_rule(name))
        .skip(index);
    let (position, (start, _, name)) = rules.next()?;
    let below = format!("{name}.");
    let next = heads[position + 1..].iter().find(|(_, _, other)| !other.starts_with(&below));
    Some((*start, next.map_or(text.len(), |(at, ..)| *at)))
}

/// The `index`-th element of the list that follows `key`, in JSON or as a list of TOML.
fn of_list(text: &str, key: &str, index: usize) -> Option<(usize, usize)> {
    let marks = marks(text);
    let opening = marks.iter().position(|mark| {
        let before = text[..mark.at].trim_end().trim_end_matches([':', '=']).trim_end();
        let name = before.trim_end_matches('"');
        let is_whole =
            |rest: &str| !rest.ends_with(|c: char| c.is_alphanumeric() || "_-".contains(c));
        mark.byte == b'[' && name.strip_suffix(key).is_some_and(is_whole)
    })?;
    let (mut depth, mut seen, mut start) = (0_usize, 0_usize, None);
    for mark in &marks[opening + 1..] {
        match mark.byte {
            b'{' | b'[' => {
                if depth == 0 && seen == index {
                    start = Some(mark.at);
                }
                depth += 1;
            }
            _ => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    if let Some(start) = start {
                        return Some((start, mark.at + 1));
                    }
                    seen += 1;
                }
            }
        }
    }
    None
}

/// The brackets outside strings and comments.
fn marks(text: &str) -> Vec<Mark> {
    let mut marks = Vec::new();
    let bytes = text.as_bytes();
    let (mut at, mut quote) = (0, None);
    while at < bytes.len() {
        let byte = bytes[at];
        match (quote, byte) {
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), _) if open == byte => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'#') => {
                at = text[at..].find('\n').map_or(bytes.len(), |end| at + end);
            }
            (None, b'{' | b'}' | b'[' | b']') => marks.push(Mark { at, byte }),
            _ => {}
        }
        at += 1;
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = "# rules [[rules]]\n[[rules]]\ntopics = [\"a/{id}\"] # [\nactions = \"*\"\n\n[rules.subjects]\n\
        types = [\"user\"]\n\n[[rules]]\ntopics = [\"b\"]\n[group_permissions]\nx = []\n";

    const JSON: &str = "{ \"mqtt\": { \"acl\": { \"rules\": [\n  { \"topics\": [\"a\\\"]}\"],\n    \"subjects\": { \"ids\": [\"x\"] } },\n\
          { \"topics\": [\"b\"] }\n] } } }";

    #[test]
    fn a_rule_is_found_with_its_lines() {
        let first = find(TOML, "rules[0]").unwrap();
        assert_eq!((first.line, first.text.len()), (2, 6), "{first:?}");
        assert_eq!(first.text[5], "types = [\"user\"]");
        let second = find(TOML, "rules[1]").unwrap();
        assert_eq!(
            (second.line, second.text),
            (9, vec!["[[rules]]".into(), "topics = [\"b\"]".into()])
        );
        assert_eq!(find(TOML, "rules[2]"), None);

        let first = find(JSON, "mqtt.acl.rules[0]").unwrap();
        assert_eq!((first.line, first.text.len()), (2, 2), "{first:?}");
        let second = find(JSON, "mqtt.acl.rules[1]").unwrap();
        assert_eq!((second.line, second.text[0].trim()), (4, "{ \"topics\": [\"b\"] }"));
        assert_eq!(find(JSON, "mqtt.acl.rules[2]"), None);
        assert_eq!(find(JSON, "nothing"), None);
        let inline = find("my_rules = [{}]\nrules = [{ a = 1 }, { b = 2 }]", "rules[1]").unwrap();
        assert_eq!((inline.line, inline.text), (2, vec!["{ b = 2 }".to_owned()]));
    }
}
