//! A broker that sends one byte after the other: it is not silent, and it answers nothing.

use std::thread;
use std::time::Duration;

use sluice::broker::error::BrokerError;
use sluice::broker::remote::event::RemoteEvent;

use super::wire::{next, opened, run};
use super::wire_lies::{PUBLISH, granted};
use crate::broker::peer::{PUBACK, publish};

#[test]
fn a_packet_that_never_ends_is_noticed_although_its_bytes_keep_coming() {
    // Whole, and beyond the limit: then its head is kept, and the rest is dropped as it comes.
    for (announced, first_part) in [(0x0fff_u32, 20_usize), (0x00ff_ffff, 300_000)] {
        let (mut target, peer) = granted(b"", move |caller| {
            // A slow packet that ends is a message.
            for byte in publish(PUBLISH, 1, b"", b"slow") {
                caller.send(&[byte]);
                thread::sleep(Duration::from_millis(10));
            }
            caller.expect_answer(PUBACK, 1);
            let mut head = vec![PUBLISH];
            let mut left = announced;
            while left >= 0x80 {
                head.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
                left >>= 7;
            }
            head.push(u8::try_from(left).unwrap());
            head.extend_from_slice(&publish(PUBLISH, 2, b"", b"x")[2..]);
            head.resize(head.len() + first_part, b'x');
            caller.send(&head);
            while caller.try_send(b"x") {
                thread::sleep(Duration::from_millis(20));
            }
        });
        target.packet_patience = Duration::from_secs(3);
        target.broker.max_packet_bytes = 100_000;
        run(async {
            let mut connection = opened(&target).await;
            let error = loop {
                match next(&mut connection).await {
                    Ok(RemoteEvent::Message(message)) => {
                        assert!(connection.acknowledge(&message.ack.unwrap()));
                    }
                    Ok(other) => panic!("{other:?}"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, BrokerError::PacketStalled { seconds: 3 }), "{error:?}");
            drop(connection);
        });
        peer.join().unwrap();
    }
}
