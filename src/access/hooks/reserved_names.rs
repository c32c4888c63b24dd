//! User names and client ids that no login at the hooks may use: those of Sluice and its replicas,
//! and configured ones.
//!
//! Sluice itself does not log in at the hooks, so a client with such a name is another one. User
//! names are compared loosely, because another backend of the broker may do so; client ids exactly,
//! as every broker does.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sluice_shared::client_ids::{EXCHANGE_SUFFIX, is_of_share_group, replica_of, share_group_stem};
use sluice_shared::frames::from_daemon::ReservedNames as NamesFrame;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::ports::{Outage, Replica, Roster};
use crate::lifecycle::health_reporter::{HealthReporter, HealthTexts};

/// How often the replicas are read: the client id of a new replica can stay free for this long.
const READ_INTERVAL: Duration = Duration::from_secs(2);

/// How long one read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Failed reads before a log line: at the first start the table does not exist yet.
const QUIET_FAILURES: u32 = 5;

const HEALTH_TEXTS: HealthTexts = HealthTexts {
    failed: "reading the replicas' client ids from broker_sessions failed",
    action: "retrying; the client ids that were read before stay reserved",
    recovered: "the replicas' client ids are readable again",
};

/// The prefix of guests' names.
const GUEST_PREFIX: &str = "guest-";

/// The reserved user names and client ids. Clones share them.
#[derive(Clone, Debug)]
pub struct ReservedNames(Arc<SharedNames>);

#[derive(Debug)]
struct SharedNames {
    /// Sluice's own user names, and the configured ones.
    names: Vec<FoldedName>,
    /// Sluice's own client id, and the configured ones.
    client_ids: HashSet<Box<str>>,
    /// The common stem of the client ids in the share group. `None` means no share group.
    share_group_stem: Option<Box<str>>,
    /// `None` means not read yet.
    replicas: RwLock<Option<Replicas>>,
}

#[derive(Debug, Default)]
struct Replicas {
    names: Vec<FoldedName>,
    client_ids: HashSet<Box<str>>,
}

/// A name as written, and in the folded form that a loose comparison uses.
#[derive(Debug)]
struct FoldedName {
    text: Box<str>,
    folded: Vec<char>,
}

/// Whether a client id is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// It is free.
    No,
    /// It is reserved.
    Yes,
    /// The members of the share group have not been read yet.
    Unknown,
}

// === impl ReservedNames ===

impl ReservedNames {
    /// Reserves Sluice's own names, the `listed` ones and `own_client_id`. `has_group` means that
    /// replicas share the subscription; they are unknown until the first read.
    pub fn new(
        own_names: &[String],
        listed: &[String],
        own_client_id: &str,
        has_group: bool,
    ) -> Self {
        let names = own_names.iter().chain(listed).map(|name| FoldedName::new(name)).collect();
        let client_ids =
            listed.iter().map(String::as_str).chain([own_client_id]).map(Box::from).collect();
        let share_group_stem = has_group.then(|| share_group_stem(own_client_id).into());
        Self(Arc::new(SharedNames {
            names,
            client_ids,
            share_group_stem,
            replicas: RwLock::default(),
        }))
    }

    /// Whether `name` resembles a reserved name, so that no login may use it.
    pub fn resembles_name(&self, name: &str) -> bool {
        let folded = folded(name);
        let is_guest = folded.len() >= GUEST_PREFIX.len()
            && folded.iter().zip(GUEST_PREFIX.chars()).all(|(one, other)| *one == other);
        is_guest || self.has_name(|reserved| resembles(&reserved.folded, &folded))
    }

    /// Whether `name` equals a reserved name; cheap enough for each topic.
    pub fn contains_name(&self, name: &str) -> bool {
        self.has_name(|reserved| *reserved.text == *name)
    }

    /// The user names and the client ids that are known now, sorted, for a reader that compares both
    /// exactly, and the stem of the share group.
    pub fn known(&self) -> NamesFrame {
        let shared = &self.0;
        let replicas = shared.replicas.read().unwrap_or_else(PoisonError::into_inner);
        let (names, sessions) = replicas
            .as_ref()
            .map_or((&[][..], None), |replicas| (&replicas.names[..], Some(&replicas.client_ids)));
        let names = shared.names.iter().chain(names).map(|name| name.text.to_string());
        let sessions = shared.client_ids.iter().chain(sessions.into_iter().flatten());
        let client_ids = sessions.flat_map(|id| [id.to_string(), format!("{id}{EXCHANGE_SUFFIX}")]);
        NamesFrame {
            usernames: sorted(names.collect()),
            client_ids: sorted(client_ids.collect()),
            share_group_stem: shared.share_group_stem.as_deref().map(str::to_owned),
        }
    }

    /// Whether `client_id` is reserved. The exchange of a replica connects as well.
    pub fn client_id(&self, client_id: &str) -> Reservation {
        let session = replica_of(client_id);
        match self.own_client_id(client_id) {
            Reservation::No if session != client_id => self.own_client_id(session),
            reservation => reservation,
        }
    }

    fn own_client_id(&self, client_id: &str) -> Reservation {
        let shared = &self.0;
        let stem = shared.share_group_stem.as_deref();
        let is_sibling = stem.is_some_and(|stem| is_of_share_group(client_id, stem));
        if is_sibling || shared.client_ids.contains(client_id) {
            return Reservation::Yes;
        }
        match shared.replicas.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(replicas) if replicas.client_ids.contains(client_id) => Reservation::Yes,
            None if shared.share_group_stem.is_some() => Reservation::Unknown,
            _ => Reservation::No,
        }
    }

    /// Reads the replicas periodically until `stop`. After a failed read, the earlier ones stay
    /// reserved.
    pub async fn follow<R: Roster>(self, roster: R, stop: CancellationToken) {
        let mut health = HealthReporter::log_only("reserved names", HEALTH_TEXTS);
        let mut failures = 0;
        loop {
            let timed_out = |_| {
                Err(Outage(format!("Postgres did not answer within {} s", READ_TIMEOUT.as_secs())))
            };
            let read = tokio::select! {
                () = stop.cancelled() => return,
                read = timeout(READ_TIMEOUT, roster.replicas()) => read.unwrap_or_else(timed_out),
            };
            match read {
                Ok(replicas) => {
                    self.replace_replicas(replicas);
                    failures = 0;
                    health.worked(Instant::now());
                }
                Err(outage) => {
                    failures += 1;
                    if failures >= QUIET_FAILURES {
                        health.failed(&outage.0, Instant::now());
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(READ_INTERVAL) => {}
            }
        }
    }

    /// Replaces the replicas read before.
    pub fn replace_replicas(&self, replicas: Vec<Replica>) {
        let mut read = Replicas::default();
        for Replica { client_id, username } in replicas {
            read.client_ids.insert(client_id);
            read.names.extend(username.map(|name| FoldedName::new(&name)));
        }
        *self.0.replicas.write().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }

    fn has_name(&self, is_it: impl Fn(&FoldedName) -> bool) -> bool {
        let replicas = self.0.replicas.read().unwrap_or_else(PoisonError::into_inner);
        let names = replicas.as_ref().map_or(&[][..], |replicas| &replicas.names);
        self.0.names.iter().chain(names).any(is_it)
    }
}

// === impl FoldedName ===

impl FoldedName {
    fn new(text: &str) -> Self {
        Self { text: text.into(), folded: folded(text) }
    }
}

// === private helpers ===

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

/// Folds a name: without case, spaces and invisible characters, and with full-width letters as
/// ASCII.
fn folded(name: &str) -> Vec<char> {
    let narrow = |letter: char| match u32::from(letter) {
        code @ 0xff01..=0xff5e => char::from_u32(code - 0xfee0).unwrap_or(letter),
        _ => letter,
    };
    let letters =
        name.chars().map(narrow).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    letters.filter(|letter| !is_invisible(*letter)).collect()
}

fn is_invisible(letter: char) -> bool {
    let format = matches!(
        letter,
        '\u{ad}' | '\u{300}'..='\u{36f}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
    );
    format || letter.is_whitespace() || letter.is_control()
}

/// Whether a loose comparison could equate both: an accented Latin letter matches any ASCII letter.
fn resembles(reserved: &[char], name: &[char]) -> bool {
    let is_accented =
        |letter: char| matches!(letter, '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}');
    let matches =
        |one: char, other: char| one == other || is_accented(other) && one.is_ascii_alphabetic();
    reserved.len() == name.len()
        && reserved.iter().zip(name).all(|(one, other)| matches(*one, *other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved(client_id: &str, has_group: bool) -> ReservedNames {
        ReservedNames::new(&["sluice".into()], &["bridge".into()], client_id, has_group)
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
            assert!(reserved.resembles_name(name), "{name:?}");
        }
        for name in
            ["sluice-b", "sluicer", "luice", "alice", "guest", "guests", "", "Сергей", "søren"]
        {
            assert!(!reserved.resembles_name(name), "{name:?}");
        }
        assert!(
            reserved.contains_name("sluice")
                && reserved.contains_name("bridge")
                && !reserved.contains_name("Sluice")
        );
    }

    #[test]
    fn the_names_and_client_ids_of_replicas_are_reserved_once_they_are_read() {
        let reserved = reserved("one", true);
        assert_eq!(["one", "bridge", "other", "alice"].map(|id| reserved.client_id(id)), {
            use Reservation::{Unknown, Yes};
            [Yes, Yes, Unknown, Unknown]
        });
        let replica = |client_id: &str, username: Option<&str>| Replica {
            client_id: client_id.into(),
            username: username.map(Into::into),
        };
        reserved.replace_replicas(vec![
            replica("one", Some("sluice")),
            replica("other", Some("gate")),
            replica("old", None),
        ]);
        assert_eq!(["one-api", "old-api", "pump-api"].map(|id| reserved.client_id(id)), {
            use Reservation::{No, Yes};
            [Yes, Yes, No]
        });
        assert_eq!(["one", "other", "old", "Other"].map(|id| reserved.client_id(id)), {
            use Reservation::{No, Yes};
            [Yes, Yes, Yes, No]
        });
        assert!(
            reserved.resembles_name("gate")
                && reserved.contains_name("gate")
                && !reserved.resembles_name("other")
        );
        let known = reserved.known();
        assert_eq!(known.usernames, ["bridge", "gate", "sluice"]);
        assert_eq!(known.client_ids.len(), 8, "each with its exchange: {known:?}");
        assert!(known.client_ids.contains(&"other-api".to_owned()));
        assert_eq!(known.share_group_stem.as_deref(), Some("one"));
        reserved.replace_replicas(vec![replica("one", None)]);
        assert_eq!(reserved.client_id("other"), Reservation::No);
    }

    #[test]
    fn in_a_share_group_the_own_client_id_stands_for_those_with_another_ordinal() {
        for own in ["sluice", "sluice-0", "sluice-b", "sluice_12", "sluice.3", "sluice7"] {
            let reserved = reserved(own, true);
            for id in ["sluice", "sluice-1", "sluice-c", "sluice_b", "sluice99", "sluice-00012"] {
                assert_eq!(reserved.client_id(id), Reservation::Yes, "{id} beside {own}");
            }
            reserved.replace_replicas(Vec::new());
            for id in [
                "sluice-dashboard",
                "sluice-",
                "sluice-ab",
                "sluice-123456",
                "Sluice-1",
                "pump-1",
                "1",
                "b",
                "",
            ] {
                assert_eq!(reserved.client_id(id), Reservation::No, "{id} beside {own}");
            }
        }
        let alone = reserved("sluice", false);
        assert_eq!(
            [alone.client_id("sluice"), alone.client_id("sluice-1")],
            [Reservation::Yes, Reservation::No]
        );
    }
}
