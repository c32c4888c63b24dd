//! The binary format of COPY, in one buffer that is reused for each batch.
//! [`crate::store::batch::columns`] uses the same format for arrays.
//!
//! It allocates nothing per field and knows no table. The caller writes exactly the number of
//! fields it gave to `row`.

use uuid::Uuid;

use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;

/// Signature, flags, length of the header's extension: none.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A field count of -1 ends the data.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// The length of NULL.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// The version byte in front of binary jsonb.
const JSONB_VERSION: u8 = 1;

/// 2000-01-01T00:00:00Z, the epoch of Postgres, in microseconds of the Unix epoch.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// The earliest timestamp of Postgres (4714-11-24 BC), in microseconds of its epoch. Its latest is
/// beyond `i64`.
const EARLIEST: i64 = -211_813_488_000_000_000;

/// Capacity kept between batches, so that one huge message does not keep its memory.
const KEEP_BYTES: usize = 1 << 20;

/// Rows in the binary format of COPY.
#[derive(Debug, Default)]
pub struct CopyBuffer {
    bytes: Vec<u8>,
}

// === impl CopyBuffer ===

impl CopyBuffer {
    /// Clears the buffer and writes the header.
    pub fn start(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES);
        self.bytes.extend_from_slice(HEADER);
    }

    /// Writes the trailer.
    pub fn finish(&mut self) {
        self.bytes.extend_from_slice(&TRAILER);
    }

    /// Clears the bytes that were sent.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The bytes written and not yet sent.
    pub fn written(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins a row of `fields` fields.
    pub fn row(&mut self, fields: usize) {
        self.bytes.extend_from_slice(&i16::try_from(fields).unwrap_or(i16::MAX).to_be_bytes());
    }

    /// NULL.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(&NULL);
    }

    /// text or bytea, unchanged.
    pub fn bytes(&mut self, value: &[u8]) {
        self.length(value.len());
        self.bytes.extend_from_slice(value);
    }

    /// text or bytea, unchanged, or NULL.
    pub fn bytes_or_null(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bytes(value),
            None => self.null(),
        }
    }

    /// A hash as hex digits, or NULL.
    pub fn hash_or_null(&mut self, hash: Option<&TokenHash>) {
        match hash {
            Some(hash) => self.bytes(&hash.hex_digits()),
            None => self.null(),
        }
    }

    /// text; each NUL, which Postgres cannot store, becomes U+FFFD.
    pub fn clean_text(&mut self, value: &str) {
        if memchr::memchr(0, value.as_bytes()).is_none() {
            return self.bytes(value.as_bytes());
        }
        let start = self.bytes.len();
        self.length(0);
        for (place, part) in value.split('\0').enumerate() {
            if place > 0 {
                self.bytes.extend_from_slice("\u{fffd}".as_bytes());
            }
            self.bytes.extend_from_slice(part.as_bytes());
        }
        let written = self.bytes.len() - start - 4;
        self.bytes[start..start + 4].copy_from_slice(&length_prefix(written));
    }

    /// Like [`Self::clean_text`], or NULL.
    pub fn clean_text_or_null(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.clean_text(value),
            None => self.null(),
        }
    }

    /// jsonb, from its text.
    pub fn jsonb(&mut self, text: &[u8]) {
        self.length(text.len() + 1);
        self.bytes.push(JSONB_VERSION);
        self.bytes.extend_from_slice(text);
    }

    /// jsonb, from its text, or NULL.
    pub fn jsonb_or_null(&mut self, text: Option<&[u8]>) {
        match text {
            Some(text) => self.jsonb(text),
            None => self.null(),
        }
    }

    /// bigint or NULL.
    pub fn bigint_or_null(&mut self, value: Option<i64>) {
        match value {
            Some(value) => self.eight_bytes(value),
            None => self.null(),
        }
    }

    /// timestamptz. A time that Postgres cannot store is sent as one it refuses, never as infinity.
    pub fn timestamp(&mut self, value: Timestamp) {
        self.eight_bytes(value.micros().saturating_sub(POSTGRES_EPOCH).max(i64::MIN + 1));
    }

    /// timestamptz; NULL also for a time that Postgres cannot store.
    pub fn timestamp_or_null(&mut self, value: Option<Timestamp>) {
        match value {
            Some(value) if is_storable(value) => self.timestamp(value),
            _ => self.null(),
        }
    }

    /// uuid.
    pub fn uuid(&mut self, value: Uuid) {
        self.length(16);
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// uuid or NULL.
    pub fn uuid_or_null(&mut self, value: Option<Uuid>) {
        match value {
            Some(value) => self.uuid(value),
            None => self.null(),
        }
    }

    fn eight_bytes(&mut self, value: i64) {
        self.length(8);
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn length(&mut self, length: usize) {
        self.bytes.extend_from_slice(&length_prefix(length));
    }
}

/// Lengths stay below 2^31, because payloads are bounded. Postgres would refuse a longer one as
/// malformed.
fn length_prefix(length: usize) -> [u8; 4] {
    i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes()
}

/// Whether Postgres can store this time.
fn is_storable(value: Timestamp) -> bool {
    value.micros().saturating_sub(POSTGRES_EPOCH) >= EARLIEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_written_as_the_manual_says() {
        let mut buffer = CopyBuffer::default();
        buffer.start();
        buffer.row(5);
        buffer.bytes(b"ab");
        buffer.null();
        buffer.bigint_or_null(Some(-2));
        buffer.jsonb(b"{}");
        buffer.timestamp(Timestamp::from_micros(POSTGRES_EPOCH + 3));
        let mut expected = HEADER.to_vec();
        expected.extend_from_slice(&[0, 5, 0, 0, 0, 2, b'a', b'b', 0xff, 0xff, 0xff, 0xff]);
        expected.extend_from_slice(&[0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]);
        expected.extend_from_slice(&[
            0, 0, 0, 3, 1, b'{', b'}', 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xff,
        ]);
        buffer.finish();
        assert_eq!(buffer.written(), expected);
    }

    #[test]
    fn nul_in_text_becomes_the_replacement_character_and_the_length_counts_it() {
        let mut buffer = CopyBuffer::default();
        buffer.clean_text("a\0b\0");
        assert_eq!(buffer.bytes, [&[0, 0, 0, 8], "a\u{fffd}b\u{fffd}".as_bytes()].concat());
    }

    #[test]
    fn no_timestamp_becomes_infinity() {
        for extreme in [i64::MIN, i64::MAX] {
            let mut buffer = CopyBuffer::default();
            buffer.timestamp(Timestamp::from_micros(extreme));
            assert_ne!(buffer.bytes[4..], i64::MIN.to_be_bytes());
            assert_ne!(buffer.bytes[4..], i64::MAX.to_be_bytes());
            assert_eq!(is_storable(Timestamp::from_micros(extreme)), extreme > 0);
        }
    }
}
