//! Sessions by client, client id and identity, and their ends.

use std::ffi::CStr;

use sluice_shared::frames::from_plugin::ClosedWhy;
use sluice_shared::time::Timestamp;

use crate::request::ClientKey;
use crate::sessions::{Holder, NewSession, OFFLINE_MAX, Sessions};

fn new(client: usize, client_id: &str, identity: &CStr, until: Option<i64>) -> NewSession {
    NewSession {
        client: ClientKey(client),
        client_id: client_id.into(),
        holder: Holder::Broker,
        identity: identity.to_owned(),
        fingerprint: None,
        until: until.map(Timestamp::from_micros),
        address: None,
        is_stored: false,
        is_confirmed: true,
        username: None,
        is_offline: false,
    }
}

#[test]
fn a_reused_address_is_another_session() {
    let mut sessions = Sessions::default();
    sessions.open(new(16, "one", c"a", None));
    assert!(sessions.get(ClientKey(16), b"one").is_some());
    assert!(sessions.get(ClientKey(16), b"two").is_none());
    sessions.open(new(16, "two", c"b", None));
    assert!(sessions.get(ClientKey(16), b"one").is_none());
    assert!(sessions.of_client_id("one").is_none() && sessions.of_identity("a").is_empty());
    assert_eq!(sessions.online(), 1);
}

#[test]
fn the_later_session_of_a_client_id_supersedes_the_earlier() {
    let mut sessions = Sessions::default();
    sessions.open(new(16, "one", c"a", None));
    sessions.open(new(32, "one", c"a", None));
    let old = sessions.get(ClientKey(16), b"one").unwrap();
    assert!(old.is_superseded);
    let new = sessions.get(ClientKey(32), b"one").unwrap();
    assert!(!new.is_superseded);
    sessions.disconnect(ClientKey(16));
    sessions.remove(ClientKey(16));
    assert_eq!(sessions.of_client_id("one").map(|(client, _)| client), Some(ClientKey(32)));
}

#[test]
fn ends_come_in_order_and_only_once() {
    let mut sessions = Sessions::default();
    sessions.open(new(16, "one", c"a", Some(30)));
    sessions.open(new(32, "two", c"a", Some(20)));
    assert_eq!(sessions.next_end(), Some(Timestamp::from_micros(20)));
    sessions.set_until(ClientKey(32), Some(Timestamp::from_micros(40)));
    assert_eq!(sessions.due(Timestamp::from_micros(30)), [ClientKey(16)]);
    assert!(sessions.end(ClientKey(16), ClosedWhy::Expired).is_some());
    assert!(sessions.end(ClientKey(16), ClosedWhy::Expired).is_none());
    assert_eq!(sessions.next_end(), Some(Timestamp::from_micros(40)));
    sessions.remove(ClientKey(32));
    assert_eq!(sessions.next_end(), None);
}

#[test]
fn entries_of_ended_sessions_are_bounded() {
    let mut sessions = Sessions::default();
    for client in 1..=OFFLINE_MAX + 5 {
        sessions.open(new(client, &client.to_string(), c"a", None));
        sessions.disconnect(ClientKey(client));
    }
    assert_eq!((sessions.iter().count(), sessions.online()), (OFFLINE_MAX, 0));
    assert!(sessions.of_client(ClientKey(1)).is_none());
}
