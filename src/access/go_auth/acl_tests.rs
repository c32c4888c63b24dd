//! An imported ACL file decides as the file does, or denies. The oracle reads the file itself, and shares no
//! code with the import.

use proptest::prelude::*;
use proptest::sample::select;

use super::OptionFate;
use super::acl::import;
use crate::access::hooks::subject::{Subject, SubjectKind};
use crate::access::policy::file::{Format, parse};
use crate::access::policy::rule::Action;

const USERS: [&str; 2] = ["alice", "bob"];
const TOPICS: [&str; 6] = ["a", "a/b", "a/alice", "a/c1", "b", "a/b/c"];

/// One line of a file, as the oracle sees it.
#[derive(Clone, Debug)]
struct OracleLine {
    user: Option<&'static str>,
    is_pattern: bool,
    access: &'static str,
    topic: &'static str,
}

fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Mosquitto's rule: deny wins, and what no line allows is denied.
fn oracle(lines: &[OracleLine], user: &str, action: Action, topic: &str) -> bool {
    let applies = |line: &&OracleLine| {
        let filter = line.topic.replace("%u", user).replace("%c", "c1");
        let filter = if line.is_pattern { filter.as_str() } else { line.topic };
        line.user.is_none_or(|owner| owner == user) && matches(filter, topic)
    };
    let hits: Vec<&OracleLine> = lines.iter().filter(applies).collect();
    let allows = |line: &&OracleLine| match line.access {
        "read" => action == Action::Read,
        "write" => action == Action::Publish,
        "readwrite" | "" => true,
        _ => false,
    };
    !hits.iter().any(|line| line.access == "deny") && hits.iter().any(allows)
}

fn lines() -> impl Strategy<Value = Vec<OracleLine>> {
    let topics = select(vec!["a", "a/b", "a/+", "a/#", "#", "+/b", "a/%u", "%c/b", "a/%c"]);
    let access = select(vec!["read", "write", "readwrite", "", "deny"]);
    let user = select(vec![None, Some("alice"), Some("bob")]);
    let line =
        (user, any::<bool>(), access, topics).prop_map(|(user, is_pattern, access, topic)| {
            OracleLine { user: if is_pattern { None } else { user }, is_pattern, access, topic }
        });
    prop::collection::vec(line, 0..8)
}

/// The lines as a file: lines of everybody first, because a `user` line counts until the next one.
fn file(lines: &[OracleLine]) -> String {
    let mut text = String::new();
    for owner in [None, Some("alice"), Some("bob")] {
        if let Some(owner) = owner {
            text.extend(["user ", owner, "\n"]);
        }
        for line in lines.iter().filter(|line| line.user == owner) {
            let keyword = if line.is_pattern { "pattern" } else { "topic" };
            let words = [keyword, line.access, line.topic];
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            text.extend([words.join(" "), "\n".to_owned()]);
        }
    }
    text
}

proptest! {
    #[test]
    fn an_imported_file_decides_as_the_file_does(
        lines in lines(), user in select(USERS.to_vec()), topic in select(TOPICS.to_vec()),
        action in select(vec![Action::Read, Action::Publish]),
    ) {
        let acl = import("acl", &file(&lines));
        prop_assert!(acl.outcomes.is_empty(), "{:?}", acl.outcomes);
        let policy = if acl.rules == 0 {
            crate::access::policy::Policy::built_in()
        } else {
            parse(&acl.toml, Format::Toml).unwrap()
        };
        let subject = Subject {
            kind: SubjectKind::User,
            id: user.into(),
            groups: Vec::new(),
            scopes: Vec::new(),
            expires_at: None,
        };
        let decided = policy.decide(&subject, "c1", action as u8, topic).allowed;
        prop_assert_eq!(decided, oracle(&lines, user, action, topic), "{}", file(&lines));
    }
}

#[test]
fn what_a_policy_cannot_say_is_refused_with_its_line() {
    let acl = import("acl", "pattern read a/x%u/b\ntopic read {x}\nusers bob\ntopic read a##\n");
    let refused: Vec<&str> = acl.outcomes.iter().map(|outcome| outcome.name.as_str()).collect();
    assert_eq!(refused, ["acl line 1", "acl line 2", "acl line 3", "acl line 4"]);
    assert!(acl.outcomes.iter().all(|outcome| outcome.fate == OptionFate::Refused));
    assert_eq!(acl.rules, 0);
}

#[test]
fn names_with_quotes_and_spaces_stay_what_they_are() {
    let acl = import("acl", "user a\"b\\c\ntopic write my topic/x\n");
    let policy = parse(&acl.toml, Format::Toml).unwrap();
    let rule = &policy.allows()[0];
    assert!(rule.subjects.ids.as_ref().unwrap().contains("a\"b\\c"));
    assert_eq!(rule.topics[0].text(), "my topic/x");
}
