//! The bytes of a frame, and whole frames out of received bytes.
//!
//! It does no IO: [`FrameBuffer`] gets bytes and returns frames.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use zeroize::{Zeroize, Zeroizing};

/// The longest frame, in bytes: the largest policy file fits.
pub const FRAME_MAX_BYTES: usize = 4 * 1024 * 1024;

const LENGTH_BYTES: usize = 4;

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The announced length is too large.
    #[error("a frame of {0} bytes is longer than {FRAME_MAX_BYTES}")]
    TooLong(usize),
    /// The JSON does not fit the type. The parser's own text may quote a value, and so a password.
    #[error("a frame could not be parsed ({0:?}, at its byte {1})")]
    Json(Category, usize),
}

/// Gathers received bytes, and returns whole frames.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    read: usize,
}

/// The frame as bytes, with its length.
pub fn encode<T: Serialize>(frame: &T) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let mut bytes = Zeroizing::new(vec![0; LENGTH_BYTES]);
    serde_json::to_writer(&mut *bytes, frame)?;
    let len = bytes.len() - LENGTH_BYTES;
    let announced = u32::try_from(len).ok().filter(|_| len <= FRAME_MAX_BYTES);
    let announced = announced.ok_or(FrameError::TooLong(len))?;
    bytes[..LENGTH_BYTES].copy_from_slice(&announced.to_be_bytes());
    Ok(bytes)
}

// === impl FrameError ===

impl From<serde_json::Error> for FrameError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.classify(), error.column())
    }
}

// === impl FrameBuffer ===

impl FrameBuffer {
    /// Adds received bytes.
    pub fn push(&mut self, received: &[u8]) {
        if self.read > 0 && self.read == self.bytes.len() {
            self.clear();
        }
        self.bytes.extend_from_slice(received);
    }

    /// The next whole frame, if it has arrived. After an error the connection must be closed.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let waiting = &self.bytes[self.read..];
        let Some((length, rest)) = waiting.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*length) as usize;
        if len > FRAME_MAX_BYTES {
            return Err(FrameError::TooLong(len));
        }
        let Some(json) = rest.get(..len) else {
            self.compact();
            return Ok(None);
        };
        let frame = serde_json::from_slice(json)?;
        self.read += LENGTH_BYTES + len;
        Ok(Some(frame))
    }

    fn compact(&mut self) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
    }

    /// Frames may contain passwords.
    fn clear(&mut self) {
        self.bytes.zeroize();
        self.bytes.clear();
        self.read = 0;
    }
}

impl Drop for FrameBuffer {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::PROTOCOL;
    use crate::frames::from_daemon::{DaemonHello, FromDaemon};
    use crate::frames::from_plugin::{FromPlugin, Question, QuestionKind};
    use crate::frames::secret::SecretText;
    use proptest::prelude::*;

    fn question() -> FromPlugin {
        FromPlugin::Ask(Question {
            id: 3,
            kind: QuestionKind::Password,
            client_id: "c".into(),
            username: Some("acme/device/pump-1".into()),
            secret: Some(SecretText::new("s3cret")),
        })
    }

    #[test]
    fn frames_arrive_whole_however_they_are_cut() {
        let frames = [question(), FromPlugin::Applied { version: 9 }, question()];
        let bytes: Vec<u8> =
            frames.iter().flat_map(|frame| encode(frame).unwrap().to_vec()).collect();
        for cut in 1..bytes.len() {
            let mut buffer = FrameBuffer::default();
            let mut received = Vec::new();
            for chunk in bytes.chunks(cut) {
                buffer.push(chunk);
                while let Some(frame) = buffer.take::<FromPlugin>().unwrap() {
                    received.push(frame);
                }
            }
            assert_eq!(received, frames, "cut at {cut}");
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_by_its_length_alone() {
        let mut buffer = FrameBuffer::default();
        buffer.push(&u32::MAX.to_be_bytes());
        assert!(matches!(buffer.take::<FromPlugin>(), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn an_unknown_frame_is_an_error() {
        let mut buffer = FrameBuffer::default();
        buffer.push(&encode(&serde_json::json!({"type": "future"})).unwrap());
        assert!(matches!(buffer.take::<FromDaemon>(), Err(FrameError::Json(..))));
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert!(!format!("{:?}", question()).contains("s3cret"));
        let hello = DaemonHello {
            protocol: PROTOCOL,
            build: "1".into(),
            key: Some(SecretText::new("k3y")),
        };
        assert!(!format!("{hello:?}").contains("k3y"));
    }

    #[test]
    fn an_error_quotes_nothing_of_the_frame() {
        let frame = serde_json::json!({"type": "ask", "id": "s3cret", "kind": "password", "client_id": "c"});
        let mut buffer = FrameBuffer::default();
        buffer.push(&encode(&frame).unwrap());
        let error = buffer.take::<FromPlugin>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = FrameBuffer::default();
            buffer.push(&bytes);
            while let Ok(Some(_)) = buffer.take::<FromDaemon>() {}
        }
    }
}
