//! Tests of a websocket as bytes: frames in every form a server may send, and those it may not.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::web_socket::WebSocketBytes;
use super::web_socket_fault::WebSocketFault;

/// Largest message of these tests.
const LIMIT: usize = 4096;

const CONTINUED: u8 = 0x00;
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const BINARY_BEGINS: u8 = 0x02;
const LAST: u8 = 0x80;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

fn client(room: usize) -> (WebSocketBytes<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(room);
    (WebSocketBytes::of_client(near, Vec::new(), LIMIT), far)
}

/// A frame of a server: without a mask.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => bytes.push(u8::try_from(length).unwrap()),
        Ok(length) => {
            bytes.push(126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(127);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// The next frame of the client, unmasked: its first byte and its payload.
async fn sent(far: &mut DuplexStream) -> (u8, Vec<u8>) {
    let first = far.read_u8().await.unwrap();
    let length = far.read_u8().await.unwrap();
    assert!(length & 0x80 != 0, "a client masks its frames");
    let length = match length & 0x7f {
        126 => far.read_u16().await.unwrap().into(),
        127 => usize::try_from(far.read_u64().await.unwrap()).unwrap(),
        short => usize::from(short),
    };
    let mut mask = [0; 4];
    far.read_exact(&mut mask).await.unwrap();
    let mut payload = vec![0; length];
    far.read_exact(&mut payload).await.unwrap();
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    (first, payload)
}

/// All that the client reads of these bytes of a server, and the fault at the end.
async fn received(bytes: &[u8]) -> (Vec<u8>, Option<WebSocketFault>) {
    let (mut near, mut far) = client(64 * 1024);
    far.write_all(bytes).await.unwrap();
    far.shutdown().await.unwrap();
    let mut read = Vec::new();
    let fault = near.read_to_end(&mut read).await.err().map(|error| {
        let inner = error.into_inner().unwrap();
        *inner.downcast::<WebSocketFault>().unwrap()
    });
    (read, fault)
}

#[tokio::test]
async fn packets_span_frames_and_share_them_in_every_form() {
    let long = vec![b'x'; 3000];
    let bytes = [
        frame(BINARY, b"one"),
        frame(BINARY, b""),
        frame(BINARY_BEGINS, b"tw"),
        frame(PING, b"between"),
        frame(CONTINUED, b"o-thr"),
        frame(CONTINUED | LAST, b"ee"),
        frame(PONG, b"unasked"),
        frame(BINARY, &long),
    ]
    .concat();
    let (read, fault) = received(&bytes).await;
    assert_eq!(fault, None);
    assert_eq!(read, [&b"onetwo-three"[..], &long].concat());
}

#[tokio::test]
async fn bytes_behind_the_upgrade_are_read_first() {
    let (near, mut far) = duplex(1024);
    let mut near = WebSocketBytes::of_client(near, frame(BINARY, b"be"), LIMIT);
    far.write_all(&frame(BINARY, b"gun")).await.unwrap();
    let mut read = [0; 5];
    near.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"begun");
}

#[tokio::test]
async fn what_is_written_is_one_masked_binary_frame() {
    let (mut near, mut far) = client(1024);
    near.write_all(b"connect").await.unwrap();
    near.flush().await.unwrap();
    assert_eq!(sent(&mut far).await, (BINARY, b"connect".to_vec()));
}

#[tokio::test]
async fn a_write_waits_for_room_and_loses_nothing() {
    let (mut near, mut far) = client(1000);
    let much: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let reading = async {
        let mut read = Vec::new();
        while read.len() < much.len() {
            let (first, payload) = sent(&mut far).await;
            assert_eq!(first, BINARY);
            read.extend(payload);
        }
        read
    };
    let writing = async {
        near.write_all(&much).await.unwrap();
        near.flush().await.unwrap();
    };
    let ((), read) = tokio::join!(writing, reading);
    assert!(read == much);
}

#[tokio::test]
async fn a_ping_is_answered_and_many_of_them_hold_up_no_message() {
    let (mut near, mut far) = client(64 * 1024);
    far.write_all(&frame(PING, b"who")).await.unwrap();
    far.write_all(&frame(PING, b"").repeat(1000)).await.unwrap();
    far.write_all(&frame(BINARY, b"there")).await.unwrap();
    let mut read = [0; 5];
    near.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"there");
    assert_eq!(sent(&mut far).await, (PONG, b"who".to_vec()));
}

#[tokio::test]
async fn a_close_is_answered_and_is_an_end_or_an_error_with_its_reason() {
    for (payload, fault) in [
        (&b""[..], None),
        (b"\x03\xe8", None),
        (b"\x03\xf0no", Some(WebSocketFault::Closed { code: 1008, reason: "no".to_owned() })),
    ] {
        let (read, found) =
            received(&[frame(BINARY, b"last"), frame(CLOSE, payload)].concat()).await;
        assert_eq!((&read[..], found), (&b"last"[..], fault));
    }
    let (mut near, mut far) = client(1024);
    far.write_all(&frame(CLOSE, b"\x03\xe8")).await.unwrap();
    assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(sent(&mut far).await, (CLOSE, b"\x03\xe8".to_vec()));
    assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0, "the end stays");
}

#[tokio::test]
async fn a_shutdown_sends_a_close_frame() {
    let (mut near, mut far) = client(1024);
    near.write_all(b"bye").await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(sent(&mut far).await, (BINARY, b"bye".to_vec()));
    assert_eq!(sent(&mut far).await.0, CLOSE);
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn what_no_server_may_send_is_an_error() {
    let text = received(&frame(TEXT, b"hello")).await.1;
    assert_eq!(text, Some(WebSocketFault::Text));
    let masked = [BINARY, 0x81, 1, 2, 3, 4, b'x'];
    let reserved = frame(0xf2, b"x");
    let unknown = frame(0x83, b"x");
    let unstarted = frame(CONTINUED | LAST, b"x");
    let interrupted = [frame(BINARY_BEGINS, b"x"), frame(BINARY, b"y")].concat();
    let long_ping = frame(PING, &[0; 126]);
    for bytes in [&masked[..], &reserved, &unknown, &unstarted, &interrupted, &long_ping] {
        let fault = received(bytes).await.1;
        assert!(matches!(fault, Some(WebSocketFault::Protocol(_))), "{bytes:?}: {fault:?}");
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_an_error_before_it_is_there() {
    let too_large = Some(WebSocketFault::TooLarge { limit: LIMIT });
    let announced = &frame(BINARY, &vec![0; 70_000])[..20];
    assert_eq!(received(announced).await.1, too_large);
    let in_parts = [frame(BINARY_BEGINS, &[0; 3000]), frame(CONTINUED | LAST, &[0; 3000])].concat();
    assert_eq!(received(&in_parts).await.1, too_large);
    assert_eq!(received(&frame(BINARY, &[0; LIMIT])).await.0.len(), LIMIT);
}

#[tokio::test]
async fn a_cut_at_any_byte_is_an_end_or_an_error_and_never_a_wait() {
    let bytes = [frame(BINARY, &[7; 200]), frame(PING, b"p"), frame(CLOSE, b"\x03\xf0no")].concat();
    for cut in 0..bytes.len() {
        let (read, _) = received(&bytes[..cut]).await;
        assert!(read.len() <= 200);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_wait(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(received(&bytes));
    }
}
