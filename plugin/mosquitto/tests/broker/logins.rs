//! Who gets a session.

use sluice_shared::frames::from_daemon::Verdict;
use sluice_shared::frames::from_plugin::QuestionKind;

use crate::client::{Client, Connect};
use crate::daemon::{Daemon, subject, user};
use crate::mosquitto::{Config, Mosquitto};
use crate::wait;

const NOT_AUTHORIZED: Option<u8> = Some(0x87);
const BAD_METHOD: Option<u8> = Some(0x8c);

fn login<'a>(client_id: &'a str, username: &'a str, password: &'a str) -> Connect<'a> {
    Connect { client_id, username: Some(username), password: Some(password), ..Connect::default() }
}

#[test]
fn the_daemon_decides_about_passwords() {
    let daemon = Daemon::start();
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    assert!(Client::connect(&broker, &login("c1", "alice", "good")).is_ok());
    let refused = Client::connect(&broker, &login("c2", "alice", "bad")).err();
    assert_eq!(refused, Some(NOT_AUTHORIZED));
    wait::until("the log says why", || broker.log().contains("the password is wrong"));
    assert!(!broker.log().contains("good"), "no password is in the log");
    let anonymous = Connect { client_id: "c3", ..Connect::default() };
    assert_eq!(Client::connect(&broker, &anonymous).err(), Some(NOT_AUTHORIZED));
}

#[test]
fn the_registry_decides_about_the_exact_certificate() {
    let daemon = Daemon::start();
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    let [first, second] = [(); 2].map(|()| broker.authority().issue("acme/device/pump-1"));
    daemon.certify("acme/device/pump-1", &[&first]);
    let connect = Connect { client_id: "acme/device/pump-1", ..Connect::default() };
    let mut device = Client::connect_tls(&broker, &first, &connect).unwrap();
    let own = "tenant/acme/device/pump-1/telemetry";
    assert_eq!(device.publish(own, "{}", &[]), Some(0x10), "accepted; nobody subscribes");
    let foreign = "tenant/acme/device/pump-2/telemetry";
    assert_eq!(device.publish(foreign, "{}", &[]), Some(0x87));
    // The same common name from the same authority, and not in the registry.
    let refused = Client::connect_tls(&broker, &second, &connect).err();
    assert_eq!(refused, Some(NOT_AUTHORIZED));
    assert!(device.ping().is_some(), "the session with the same client id goes on");
}

#[test]
fn a_certificate_that_the_registry_lacks_is_not_left_to_the_password_file() {
    let daemon = Daemon::start();
    let config = Config::default().option("unknown defer");
    let broker = Mosquitto::start(&daemon.socket(), &config);
    daemon.wait_connected();
    let unknown = broker.authority().issue("acme/device/pump-1");
    let connect = Connect { client_id: "c", ..Connect::default() };
    assert_eq!(Client::connect_tls(&broker, &unknown, &connect).err(), Some(NOT_AUTHORIZED));
    // Without a certificate the password file decides, which lets everybody in here.
    assert!(Client::connect(&broker, &connect).is_ok());
    let device = login("c2", "acme/device/pump-1", "bad");
    assert_eq!(Client::connect(&broker, &device).err(), Some(NOT_AUTHORIZED));
}

#[test]
fn a_client_id_of_a_device_or_of_sluice_is_its_owners() {
    let daemon = Daemon::start();
    let config = Config::default().user("sluice", "own").user("alice", "x");
    let broker = Mosquitto::start(&daemon.socket(), &config);
    daemon.wait_connected();
    daemon.reserve(&["sluice"], &["sluice-0"]);
    wait::until("Sluice itself logs in by the password file", || {
        Client::connect(&broker, &login("sluice-0", "sluice", "own")).is_ok()
    });
    assert_eq!(
        Client::connect(&broker, &login("sluice-0", "sluice", "bad")).err(),
        Some(NOT_AUTHORIZED),
        "the password file checks the password"
    );
    for client_id in ["acme/device/pump-1", "acme/pump-1", "sluice-0"] {
        let refused = Client::connect(&broker, &login(client_id, "alice", "good")).err();
        assert_eq!(refused, Some(NOT_AUTHORIZED), "{client_id}");
    }
    let identity = broker.authority().issue("acme/device/pump-2");
    daemon.certify("acme/device/pump-2", &[&identity]);
    let connect = Connect { client_id: "acme/device/pump-1", ..Connect::default() };
    assert_eq!(Client::connect_tls(&broker, &identity, &connect).err(), Some(NOT_AUTHORIZED));
}

#[test]
fn a_client_id_in_use_belongs_to_its_identity() {
    let daemon = Daemon::start();
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    let mut alice = Client::connect(&broker, &login("shared", "alice", "good")).unwrap();
    let refused = Client::connect(&broker, &login("shared", "bob", "good")).err();
    assert_eq!(refused, Some(NOT_AUTHORIZED));
    assert!(alice.ping().is_some());
    let again = Client::connect(&broker, &login("shared", "alice", "good"));
    assert!(again.is_ok(), "the same identity takes its own session over");
    alice.ended();
}

#[test]
fn extended_authentication_by_token() {
    let daemon = Daemon::start();
    daemon.answer(|question| {
        let token = question.secret.as_ref().map(|secret| secret.expose().to_owned());
        assert_eq!(question.kind, QuestionKind::Extended);
        Some(match token.as_deref() {
            Some("alice" | "alice-again") => user("alice"),
            Some("bob") => user("bob"),
            _ => Verdict::Denied { reason: "no token".into() },
        })
    });
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    let connect = |client_id, auth| Connect { client_id, auth: Some(auth), ..Connect::default() };
    let mut alice = Client::connect(&broker, &connect("c1", ("CUSTOM-JWT", "alice"))).unwrap();
    assert_eq!(alice.publish("a/b", "x", &[]), Some(0x10));
    let refused = Client::connect(&broker, &connect("c2", ("CUSTOM-JWT", "wrong"))).err();
    assert_eq!(refused, Some(NOT_AUTHORIZED));
    let refused = Client::connect(&broker, &connect("c3", ("OTHER", "alice"))).err();
    assert_eq!(refused, Some(BAD_METHOD));
    let answer = alice.authenticate_again("CUSTOM-JWT", "alice-again").unwrap();
    assert_eq!((answer.head, answer.body.first().copied()), (0xf0, Some(0)));
    assert_eq!(alice.publish("a/b", "x", &[]), Some(0x10));
    // Mosquitto 2.0.11 answers with a CONNACK, later ones with a DISCONNECT.
    let answer = alice.authenticate_again("CUSTOM-JWT", "bob").unwrap();
    assert!(matches!(answer.head, 0x20 | 0xe0), "{answer:?}");
}

#[test]
fn a_reload_of_the_broker_ends_no_session_and_asks_nothing() {
    let daemon = Daemon::start();
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    let mut alice = Client::connect(&broker, &login("c1", "alice", "good")).unwrap();
    let identity = broker.authority().issue("acme/device/pump-1");
    daemon.certify("acme/device/pump-1", &[&identity]);
    let connect = Connect { client_id: "acme/device/pump-1", ..Connect::default() };
    let mut device = Client::connect_tls(&broker, &identity, &connect).unwrap();
    daemon.answer(|_| panic!("nothing is asked"));
    broker.signal("-HUP");
    wait::until("the broker reloads", || broker.log().contains("Reloading config"));
    assert!(alice.ping().is_some() && device.ping().is_some());
    assert_eq!(alice.publish("a/b", "x", &[]), Some(0x10));
}

#[test]
fn an_identity_with_a_wildcard_is_refused() {
    let daemon = Daemon::start();
    daemon.answer(|question| Some(subject("user", question.username.as_deref()?, None)));
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    for name in ["a+b", "#", "a#"] {
        assert!(Client::connect(&broker, &login("c", name, "good")).is_err(), "{name}");
    }
    assert!(Client::connect(&broker, &login("c", "a b/c", "good")).is_ok());
}

#[test]
fn nobody_but_a_device_gets_the_identity_of_a_device() {
    let daemon = Daemon::start();
    daemon.answer(|question| {
        let kind = question.secret.as_ref()?.expose();
        Some(subject(kind, "acme/device/pump-1", None))
    });
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    for kind in ["user", "service", "guest"] {
        let refused = Client::connect(&broker, &login("c", "alice", kind)).err();
        assert_eq!(refused, Some(NOT_AUTHORIZED), "{kind}");
    }
    assert!(Client::connect(&broker, &login("c", "acme/device/pump-1", "device")).is_ok());
}

#[test]
fn no_token_gives_a_name_of_sluice() {
    let daemon = Daemon::start();
    daemon.reserve(&["sluice"], &[]);
    daemon.answer(|_| Some(user("sluice")));
    let broker = Mosquitto::start(&daemon.socket(), &Config::default());
    daemon.wait_connected();
    let auth = Some(("CUSTOM-JWT", "token"));
    let connect = Connect { client_id: "c", auth, ..Connect::default() };
    assert_eq!(Client::connect(&broker, &connect).err(), Some(NOT_AUTHORIZED));
    let as_username = login("c", "a.token.of-sluice", "x");
    assert_eq!(Client::connect(&broker, &as_username).err(), Some(NOT_AUTHORIZED));
}
