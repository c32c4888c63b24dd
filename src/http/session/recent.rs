//! The people whose sessions were valid lately, for the time in which Postgres does not answer: they
//! may look at what needs no Postgres.
//!
//! It is bounded, holds no secret, and proves nothing while Postgres answers.

use std::collections::VecDeque;

use crate::domain::operator::Person;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;

/// The most people that are remembered.
const PEOPLE_MAX: usize = 64;

/// How long a session counts after Postgres has last confirmed it.
const VALID_SECONDS: f64 = 900.0;

/// The people, the one that was confirmed last at the end.
#[derive(Debug, Default)]
pub(super) struct RecentPeople(VecDeque<RecentPerson>);

#[derive(Debug)]
struct RecentPerson {
    session: TokenHash,
    person: Person,
    confirmed_at: Timestamp,
}

// === impl RecentPeople ===

impl RecentPeople {
    /// Postgres has just confirmed or refused this session.
    pub(super) fn note(&mut self, session: TokenHash, person: Option<&Person>, now: Timestamp) {
        self.0.retain(|recent| recent.session != session);
        let Some(person) = person else { return };
        if self.0.len() == PEOPLE_MAX {
            self.0.pop_front();
        }
        self.0.push_back(RecentPerson { session, person: person.clone(), confirmed_at: now });
    }

    /// The person of a session that was valid lately.
    pub(super) fn find(&self, session: TokenHash, now: Timestamp) -> Option<&Person> {
        let recent = self.0.iter().find(|recent| recent.session == session)?;
        let age = now.seconds_since(recent.confirmed_at);
        (age <= VALID_SECONDS).then_some(&recent.person)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::CallerRole;

    fn person(name: &str) -> Person {
        Person { name: name.into(), role: CallerRole::Viewer, tenant: None }
    }

    #[test]
    fn a_session_counts_until_it_is_refused_or_old() {
        let (one, now) = (TokenHash([1; 32]), Timestamp::from_micros(0));
        let mut people = RecentPeople::default();
        people.note(one, Some(&person("alice")), now);
        assert!(people.find(one, now.plus_seconds(900)).is_some());
        assert!(people.find(one, now.plus_seconds(901)).is_none());
        assert!(people.find(TokenHash([2; 32]), now).is_none());
        people.note(one, None, now);
        assert!(people.find(one, now).is_none());
    }

    #[test]
    fn the_oldest_makes_room() {
        let now = Timestamp::from_micros(0);
        let mut people = RecentPeople::default();
        for at in 0..=PEOPLE_MAX {
            let byte = u8::try_from(at).unwrap();
            people.note(TokenHash([byte; 32]), Some(&person("alice")), now);
        }
        assert_eq!(people.0.len(), PEOPLE_MAX);
        assert!(people.find(TokenHash([0; 32]), now).is_none());
    }
}
