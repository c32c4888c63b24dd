//! The shards of a distributed table: which node has the rows of a device.
//!
//! It knows the hash by which Citus assigns a row, and reads no catalog.

/// A shard: the rows whose hash is in a range, on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The first hash of its range; the range ends before the next shard's.
    pub first_hash: i32,
    /// The node, by the number that Citus gave it.
    pub node: i32,
}

/// The hash of a text in Postgres (`hashtext`), by which Citus assigns a row to its shard.
///
/// It is Bob Jenkins' lookup3, as Postgres has it since 8.4: the hash is stored in indexes and in the
/// metadata of Citus, so it does not change. A big-endian server has another one.
pub fn hash_of_text(text: &[u8]) -> i32 {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let first = 0x9e37_79b9_u32.wrapping_add(length).wrapping_add(3_923_095);
    let mut state = [first; 3];
    let (words, rest) = text.as_chunks::<12>();
    for word in words {
        let parts = word.as_chunks::<4>().0;
        for (value, part) in state.iter_mut().zip(parts) {
            *value = value.wrapping_add(u32::from_le_bytes(*part));
        }
        mix(&mut state);
    }
    for (place, byte) in rest.iter().enumerate() {
        // The lowest byte of the last word is not used: it was meant for the length.
        let place = if place < 8 { place } else { place + 1 };
        let value = &mut state[place / 4];
        *value = value.wrapping_add(u32::from(*byte) << (8 * (place % 4)));
    }
    last(&mut state).cast_signed()
}

// === private helpers ===

fn mix([a, b, c]: &mut [u32; 3]) {
    let round = |x: &mut u32, y: &mut u32, z: &mut u32, bits| {
        *x = x.wrapping_sub(*z) ^ z.rotate_left(bits);
        *z = z.wrapping_add(*y);
    };
    round(a, b, c, 4);
    round(b, c, a, 6);
    round(c, a, b, 8);
    round(a, b, c, 16);
    round(b, c, a, 19);
    round(c, a, b, 4);
}

fn last([a, b, c]: &mut [u32; 3]) -> u32 {
    let round = |x: &mut u32, y: u32, bits| {
        *x = (*x ^ y).wrapping_sub(y.rotate_left(bits));
    };
    round(c, *b, 14);
    round(a, *c, 11);
    round(b, *a, 25);
    round(c, *b, 16);
    round(a, *c, 4);
    round(b, *a, 14);
    round(c, *b, 24);
    *c
}
