//! Any bytes as frames of the plugin or of the daemon: no panic, and a frame that is read can be written
//! and read again.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_shared::frames::codec::{FrameBuffer, encode};
use sluice_shared::frames::from_daemon::FromDaemon;
use sluice_shared::frames::from_plugin::FromPlugin;

/// Panics if a property does not hold for these bytes.
pub fn check(bytes: &[u8]) {
    check_as::<FromPlugin>(bytes);
    check_as::<FromDaemon>(bytes);
    // The bytes as the content of one frame: a fuzzer seldom finds the right length.
    let Ok(length) = u32::try_from(bytes.len()) else { return };
    let framed = [&length.to_be_bytes(), bytes].concat();
    check_as::<FromPlugin>(&framed);
    check_as::<FromDaemon>(&framed);
}

fn check_as<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let mut buffer = FrameBuffer::default();
    buffer.push(bytes);
    while let Ok(Some(frame)) = buffer.take::<T>() {
        let Ok(written) = encode(&frame) else { continue };
        let mut again = FrameBuffer::default();
        again.push(&written);
        assert_eq!(again.take::<T>().unwrap(), Some(frame));
    }
}
