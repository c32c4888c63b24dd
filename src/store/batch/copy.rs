//! The binary form of COPY, written by hand: into one buffer that is kept from batch to batch, and column by column for a
//! statement that takes its rows as arrays ([`super::columns`]).
//!
//! It allocates nothing per field and knows no table; whoever writes a row writes exactly the fields it announced.

use uuid::Uuid;

use crate::domain::device::TokenHash;
use crate::domain::time::Timestamp;
use crate::store::registry::token_hex::to_hex;

/// Signature, flags, length of the header's extension: none.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A field count of -1 ends the data.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// The length of NULL.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// The version byte in front of binary jsonb.
const JSONB_VERSION: u8 = 1;

/// 2000-01-01T00:00:00Z, where Postgres counts from, in microseconds of the Unix epoch.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// The earliest moment Postgres keeps (4714-11-24 BC), in its own count. Its latest lies beyond ours.
const EARLIEST: i64 = -211_813_488_000_000_000;

/// What the buffer keeps between batches; a huge message does not hold its memory for ever.
const KEEP_BYTES: usize = 1 << 20;

/// Rows in the form COPY takes.
#[derive(Debug, Default)]
pub struct CopyBuffer {
    bytes: Vec<u8>,
}

// === impl CopyBuffer ===

impl CopyBuffer {
    /// Forgets what it held and begins anew.
    pub fn start(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES);
        self.bytes.extend_from_slice(HEADER);
    }

    /// Ends the data.
    pub fn finish(&mut self) {
        self.bytes.extend_from_slice(&TRAILER);
    }

    /// Forgets what has been sent.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// What was written so far and not sent.
    pub fn written(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins a row of that many fields.
    pub fn row(&mut self, fields: usize) {
        self.bytes.extend_from_slice(&i16::try_from(fields).unwrap_or(i16::MAX).to_be_bytes());
    }

    /// NULL.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(&NULL);
    }

    /// text or bytea, as it is.
    pub fn bytes(&mut self, value: &[u8]) {
        self.length(value.len());
        self.bytes.extend_from_slice(value);
    }

    /// text or bytea, as it is, or NULL.
    pub fn bytes_or_null(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bytes(value),
            None => self.null(),
        }
    }

    /// A hash as hex digits, or NULL.
    pub fn hash_or_null(&mut self, hash: Option<&TokenHash>) {
        match hash {
            Some(hash) => self.bytes(&to_hex(hash)),
            None => self.null(),
        }
    }

    /// text that may hold NUL, which Postgres has no place for: U+FFFD stands in.
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

    /// The same, or NULL.
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
            Some(value) => self.eight(value),
            None => self.null(),
        }
    }

    /// timestamptz. A moment Postgres cannot keep is sent as one it refuses, never as infinity.
    pub fn timestamp(&mut self, value: Timestamp) {
        self.eight(value.micros().saturating_sub(POSTGRES_EPOCH).max(i64::MIN + 1));
    }

    /// timestamptz; NULL also for a moment Postgres cannot keep.
    pub fn timestamp_or_null(&mut self, value: Option<Timestamp>) {
        match value {
            Some(value) if keeps(value) => self.timestamp(value),
            _ => self.null(),
        }
    }

    /// uuid.
    pub fn uuid(&mut self, value: Uuid) {
        self.length(16);
        self.bytes.extend_from_slice(value.as_bytes());
    }

    fn eight(&mut self, value: i64) {
        self.length(8);
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn length(&mut self, length: usize) {
        self.bytes.extend_from_slice(&length_prefix(length));
    }
}

/// Lengths are below 2^31: payloads are bounded far lower. One that were not is refused by Postgres as malformed.
fn length_prefix(length: usize) -> [u8; 4] {
    i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes()
}

/// Whether Postgres has a place for this moment.
fn keeps(value: Timestamp) -> bool {
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
        expected.extend_from_slice(&[0, 0, 0, 3, 1, b'{', b'}', 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xff]);
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
    fn no_moment_becomes_infinity() {
        for extreme in [i64::MIN, i64::MAX] {
            let mut buffer = CopyBuffer::default();
            buffer.timestamp(Timestamp::from_micros(extreme));
            assert_ne!(buffer.bytes[4..], i64::MIN.to_be_bytes());
            assert_ne!(buffer.bytes[4..], i64::MAX.to_be_bytes());
            assert_eq!(keeps(Timestamp::from_micros(extreme)), extreme > 0);
        }
    }
}
