//! The exchange logs in as the session does: over TLS with a certificate, and with tokens that it
//! renews.

use sluice::config::sections::broker::JwtPlace;
use sluice::domain::exchange::ExchangeOutcome;

use super::exchange_harness::{ExchangeHarness, message, of_devices};
use crate::broker::peer::{Peer, packet};
use crate::broker::tls::{Authority, over_tls};
use crate::broker::tokens::{Signer, connect};

#[test]
fn it_connects_over_tls_with_a_client_certificate() {
    let authority = Authority::new();
    let broker = authority.broker();
    let identity = authority.sign("sluice");
    let settings = over_tls(&broker, authority.path("ca.crt"), Some(identity));
    let exchange = ExchangeHarness::start_well(&settings, of_devices());
    assert_eq!(exchange.publish(message("a", "{}")), ExchangeOutcome::Accepted);
}

#[test]
fn its_token_is_the_password_and_a_new_connection_brings_a_new_one() {
    let (signer, peer) = (Signer::new(), Peer::listen());
    let settings = signer.config(peer.port(), JwtPlace::Password);
    let mut wanted = of_devices();
    (wanted.marker, wanted.writes) = (None, Vec::new());
    let exchange = ExchangeHarness::start(&settings, wanted);
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let mut caller = peer.accept();
        let (packet_of_connect, login) = connect(&mut caller);
        assert!(packet_of_connect.clean_start && packet_of_connect.client_id.ends_with("-api"));
        assert_eq!(packet_of_connect.keep_alive, 5);
        tokens.push(login.unwrap().password);
        caller.send(&packet(0x20, &[0, 0, 0]));
        assert_eq!(caller.expect(0x82)[..2], [0, 2]);
        caller.send(&packet(0x90, &[0, 2, 0, 1]));
        exchange.wait_until_well();
        // Its pings, until it leaves for a new token.
        while caller.packet().0 == 0xc0 {
            caller.send(&packet(0xd0, &[]));
        }
    }
    assert_eq!(exchange.trouble(), None);
    // A busy machine takes its time to check them.
    let ends: Vec<_> = tokens.iter().map(|token| signer.checks(token)).collect();
    assert!(ends[0] < ends[1], "{ends:?}");
}
