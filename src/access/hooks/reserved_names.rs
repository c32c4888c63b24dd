//! User names and client ids that nobody who asks at the hooks may use: those of Sluice and its replicas, and listed ones.
//!
//! Sluice's own login is never answered here, so whatever carries such a name is somebody else. Names are compared loosely,
//! for another backend of the broker may do so too; client ids exactly, as every broker does.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::ports::{Outage, Replica, Roster};

/// How often the replicas are read: so long the client id of one that has never run before may be free.
const PERIOD: Duration = Duration::from_secs(2);

/// How long one reading may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Readings that fail before it is said: at the first start the table is not there yet.
const PATIENT_READINGS: u32 = 5;

/// How the names of guests begin.
const GUESTS: &str = "guest-";

/// The most digits of an ordinal.
const ORDINAL_DIGITS: usize = 5;

/// What is reserved. Clones share it.
#[derive(Clone, Debug)]
pub struct Reserved(Arc<SharedNames>);

#[derive(Debug)]
struct SharedNames {
    /// Sluice's own user names, and those that are listed.
    names: Vec<FoldedName>,
    /// Its own client id, and those that are listed.
    client_ids: HashSet<Box<str>>,
    /// What the client ids of its share group have before their ordinals; none without a group.
    family: Option<Box<str>>,
    /// None: not read yet.
    replicas: RwLock<Option<Replicas>>,
}

#[derive(Debug, Default)]
struct Replicas {
    names: Vec<FoldedName>,
    client_ids: HashSet<Box<str>>,
}

/// A name as it is written, and as a loose comparison sees it.
#[derive(Debug)]
struct FoldedName {
    text: Box<str>,
    loose: Vec<char>,
}

/// What is known of a client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is nobody's here.
    No,
    /// It is reserved.
    Yes,
    /// There is a share group, and its members have not been read yet.
    Unknown,
}

// === impl Reserved ===

impl Reserved {
    /// These own names, these listed ones, the own client id and whether it belongs to a share group; no replica is known yet.
    pub fn new(own_names: &[String], listed: &[String], own_client_id: &str, has_group: bool) -> Self {
        let names = own_names.iter().chain(listed).map(|name| FoldedName::new(name)).collect();
        let client_ids = listed.iter().map(String::as_str).chain([own_client_id]).map(Box::from).collect();
        let family = has_group.then(|| family(own_client_id).into());
        Self(Arc::new(SharedNames { names, client_ids, family, replicas: RwLock::default() }))
    }

    /// Whether nobody may log in under a name like this one.
    pub fn is_name(&self, name: &str) -> bool {
        let loose = loose(name);
        let guests = loose.len() >= GUESTS.len() && loose.iter().zip(GUESTS.chars()).all(|(one, other)| *one == other);
        guests || self.any_name(|reserved| resembles(&reserved.loose, &loose))
    }

    /// Whether it is such a name to the letter: for each question about a topic.
    pub fn is_exactly(&self, name: &str) -> bool {
        self.any_name(|reserved| *reserved.text == *name)
    }

    /// Whether this client id is reserved.
    pub fn client_id(&self, client_id: &str) -> Taken {
        let shared = &self.0;
        let is_sibling = shared.family.as_deref().is_some_and(|name| family(client_id) == name);
        if is_sibling || shared.client_ids.contains(client_id) {
            return Taken::Yes;
        }
        match shared.replicas.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(replicas) if replicas.client_ids.contains(client_id) => Taken::Yes,
            None if shared.family.is_some() => Taken::Unknown,
            _ => Taken::No,
        }
    }

    /// Reads the replicas again and again, until `stop`. While that fails, those that were read stay reserved.
    pub async fn follow<R: Roster>(self, roster: R, stop: CancellationToken) {
        let mut failed = 0;
        loop {
            let late = |_| Err(Outage(format!("Postgres did not answer within {} s", PATIENCE.as_secs())));
            let read = tokio::select! {
                () = stop.cancelled() => return,
                read = timeout(PATIENCE, roster.replicas()) => read.unwrap_or_else(late),
            };
            match read {
                Ok(replicas) => {
                    self.learn(replicas);
                    if failed >= PATIENT_READINGS {
                        tracing::info!("the replicas' client ids can be read again");
                    }
                    failed = 0;
                }
                Err(outage) => {
                    failed += 1;
                    if failed == PATIENT_READINGS {
                        tracing::warn!(
                            %outage,
                            "the replicas' client ids cannot be read from broker_sessions; those read before stay \
                             reserved, and Sluice tries again"
                        );
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(PERIOD) => {}
            }
        }
    }

    /// These are all replicas.
    pub fn learn(&self, replicas: Vec<Replica>) {
        let mut known = Replicas::default();
        for Replica { client_id, username } in replicas {
            known.client_ids.insert(client_id);
            known.names.extend(username.map(|name| FoldedName::new(&name)));
        }
        *self.0.replicas.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }

    fn any_name(&self, is_it: impl Fn(&FoldedName) -> bool) -> bool {
        let replicas = self.0.replicas.read().unwrap_or_else(PoisonError::into_inner);
        let known = replicas.as_ref().map_or(&[][..], |replicas| &replicas.names);
        self.0.names.iter().chain(known).any(is_it)
    }
}

// === impl Name ===

impl FoldedName {
    fn new(text: &str) -> Self {
        Self { text: text.into(), loose: loose(text) }
    }
}

// === private helpers ===

/// A client id without its ordinal: `sluice` of `sluice`, `sluice-2`, `sluice_2`, `sluice2` and `sluice-b`.
fn family(client_id: &str) -> &str {
    let without_digits = client_id.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = client_id.len() - without_digits.len();
    let rest = match client_id.as_bytes() {
        [.., b'-' | b'_' | b'.', letter] if letter.is_ascii_alphabetic() => &client_id[..client_id.len() - 1],
        _ if (1..=ORDINAL_DIGITS).contains(&digits) => without_digits,
        _ => return client_id,
    };
    let stem = rest.strip_suffix(['-', '_', '.']).unwrap_or(rest);
    if stem.is_empty() { client_id } else { stem }
}

/// A name without case, spaces, and what is not seen; full-width letters are those of ASCII.
fn loose(name: &str) -> Vec<char> {
    let narrow = |letter: char| match u32::from(letter) {
        code @ 0xff01..=0xff5e => char::from_u32(code - 0xfee0).unwrap_or(letter),
        _ => letter,
    };
    let letters = name.chars().map(narrow).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    letters.filter(|letter| !is_unseen(*letter)).collect()
}

fn is_unseen(letter: char) -> bool {
    let format = matches!(
        letter,
        '\u{ad}' | '\u{300}'..='\u{36f}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
    );
    format || letter.is_whitespace() || letter.is_control()
}

/// Whether a loose comparison may take them for one: an accented letter of Latin may be any letter without its accent.
fn resembles(reserved: &[char], name: &[char]) -> bool {
    let is_accented = |letter: char| matches!(letter, '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}');
    let is_like = |one: char, other: char| one == other || is_accented(other) && one.is_ascii_alphabetic();
    reserved.len() == name.len() && reserved.iter().zip(name).all(|(one, other)| is_like(*one, *other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved(client_id: &str, has_group: bool) -> Reserved {
        Reserved::new(&["sluice".into()], &["bridge".into()], client_id, has_group)
    }

    #[test]
    fn a_name_that_a_loose_comparison_takes_for_a_reserved_one_is_reserved() {
        let reserved = reserved("sluice-a", false);
        for name in [
            "sluice",
            "SLUICE",
            "Sluice ",
            " sluice",
            "slu\u{200b}ice",
            "ſluice",
            "sluıce",
            "ｓｌｕｉｃｅ",
            "slüice",
            "slu\u{301}ice",
            "bridge",
            "Bridge",
            "guest-",
            "guest-x",
            "GUEST-0123456789abcdef0123456789abcdef",
            "\u{feff}sluice",
        ] {
            assert!(reserved.is_name(name), "{name:?}");
        }
        for name in ["sluice-b", "sluicer", "luice", "alice", "guest", "guests", "", "Сергей", "søren"] {
            assert!(!reserved.is_name(name), "{name:?}");
        }
        assert!(reserved.is_exactly("sluice") && reserved.is_exactly("bridge") && !reserved.is_exactly("Sluice"));
    }

    #[test]
    fn the_names_and_client_ids_of_replicas_are_reserved_once_they_are_read() {
        let reserved = reserved("one", true);
        assert_eq!(["one", "bridge", "other", "alice"].map(|id| reserved.client_id(id)), {
            use Taken::{Unknown, Yes};
            [Yes, Yes, Unknown, Unknown]
        });
        let replica = |client_id: &str, username: Option<&str>| Replica {
            client_id: client_id.into(),
            username: username.map(Into::into),
        };
        reserved.learn(vec![replica("one", Some("sluice")), replica("other", Some("gate")), replica("old", None)]);
        assert_eq!(["one", "other", "old", "Other"].map(|id| reserved.client_id(id)), {
            use Taken::{No, Yes};
            [Yes, Yes, Yes, No]
        });
        assert!(reserved.is_name("gate") && reserved.is_exactly("gate") && !reserved.is_name("other"));
        reserved.learn(vec![replica("one", None)]);
        assert_eq!(reserved.client_id("other"), Taken::No);
    }

    #[test]
    fn in_a_share_group_the_own_client_id_stands_for_those_with_another_ordinal() {
        for own in ["sluice", "sluice-0", "sluice-b", "sluice_12", "sluice.3", "sluice7"] {
            let reserved = reserved(own, true);
            for id in ["sluice", "sluice-1", "sluice-c", "sluice_b", "sluice99", "sluice-00012"] {
                assert_eq!(reserved.client_id(id), Taken::Yes, "{id} beside {own}");
            }
            reserved.learn(Vec::new());
            for id in ["sluice-dashboard", "sluice-", "sluice-ab", "sluice-123456", "Sluice-1", "pump-1", "1", "b", ""]
            {
                assert_eq!(reserved.client_id(id), Taken::No, "{id} beside {own}");
            }
        }
        let alone = reserved("sluice", false);
        assert_eq!([alone.client_id("sluice"), alone.client_id("sluice-1")], [Taken::Yes, Taken::No]);
    }
}
