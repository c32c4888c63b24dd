//! Which lane a device belongs to: by a hash, or where telemetry is distributed, by the node that has its
//! rows.
//!
//! By nodes, a batch of a lane has rows for few shards, and a node that is away holds only its lanes. The
//! map is made once: a device that changed its lane could overtake itself.

use std::hash::Hasher;

use xxhash_rust::xxh3::Xxh3;

use crate::domain::shard::{Shard, hash_of_text};
use crate::domain::topic::Owned;

/// The lanes, and which device belongs to which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneMap {
    lanes: usize,
    /// The first hash of each shard and its lane, in the order of the hashes. Empty: no shards.
    shards: Vec<(i32, usize)>,
}

// === impl LaneMap ===

impl LaneMap {
    /// A map of so many lanes. The shards of a node share lanes with no other node, if there are as many
    /// lanes as nodes.
    pub fn new(lanes: usize, shards: &[Shard]) -> Self {
        let lanes = lanes.max(1);
        let mut nodes: Vec<i32> = shards.iter().map(|shard| shard.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let mut seen = vec![0_usize; nodes.len()];
        let mut sorted = shards.to_vec();
        sorted.sort_unstable_by_key(|shard| shard.first_hash);
        let of_shard = |shard: Shard| {
            let node = nodes.partition_point(|node| *node < shard.node);
            // With fewer lanes than nodes a lane has several nodes, otherwise a node has several lanes.
            let own: Vec<usize> = (node % lanes..lanes).step_by(nodes.len()).collect();
            let lane = own[seen[node] % own.len()];
            seen[node] += 1;
            (shard.first_hash, lane)
        };
        Self { lanes, shards: sorted.into_iter().map(of_shard).collect() }
    }

    /// How many lanes there are.
    pub const fn lanes(&self) -> usize {
        self.lanes
    }

    /// The lane of a message. One without a readable topic belongs to the first.
    pub fn lane_of(&self, topic: &[u8]) -> usize {
        let Ok(topic) = Owned::parse(topic) else { return 0 };
        if self.shards.is_empty() {
            return self.by_hash(&topic);
        }
        let hash = hash_of_text(topic.device.as_bytes());
        let after = self.shards.partition_point(|(first, _)| *first <= hash);
        // The first shard begins at the least hash.
        self.shards[after.saturating_sub(1)].1
    }

    fn by_hash(&self, topic: &Owned<'_>) -> usize {
        let mut hasher = Xxh3::new();
        hasher.write(topic.tenant.as_bytes());
        // No name contains it.
        hasher.write_u8(b'/');
        hasher.write(topic.device.as_bytes());
        usize::try_from(hasher.finish() % (self.lanes as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(device: usize, kind: &str) -> Vec<u8> {
        format!("tenant/acme/device/pump-{device}/{kind}").into_bytes()
    }

    /// Eight shards of equal ranges, one after the other on these nodes.
    fn shards(nodes: &[i32]) -> Vec<Shard> {
        let shard = |number: i32, node: &i32| Shard {
            first_hash: i32::MIN.wrapping_add(number.wrapping_mul(1 << 29)),
            node: *node,
        };
        (0..8).zip(nodes.iter().cycle()).map(|(number, node)| shard(number, node)).collect()
    }

    #[test]
    fn a_device_keeps_its_lane_whatever_it_publishes_and_devices_spread() {
        for map in [LaneMap::new(4, &[]), LaneMap::new(4, &shards(&[7, 3]))] {
            let mut lanes = [0; 4];
            for device in 0..1_000 {
                let of = |kind| map.lane_of(&topic(device, kind));
                let lane = of("telemetry");
                assert_eq!([of("commands/ack"), of("a/b/c")], [lane, lane]);
                lanes[lane] += 1;
            }
            assert!(lanes.iter().all(|devices| *devices > 200), "{map:?}: {lanes:?}");
        }
    }

    #[test]
    fn tenant_and_device_are_told_apart_and_an_unreadable_topic_belongs_to_the_first_lane() {
        let of = |topic: &[u8], lanes| LaneMap::new(lanes, &[]).lane_of(topic);
        let same_text = [&b"tenant/a/device/bc/telemetry"[..], b"tenant/ab/device/c/telemetry"];
        assert!((2..40).any(|lanes| of(same_text[0], lanes) != of(same_text[1], lanes)));
        assert_eq!([of(b"$SYS/x", 4), of(b"\xff", 4), of(b"", 1), of(b"", 0)], [0, 0, 0, 0]);
        assert_eq!(LaneMap::new(2, &shards(&[1, 2])).lane_of(b"$SYS/x"), 0);
    }

    #[test]
    fn no_lane_has_two_nodes_if_there_are_as_many_lanes_as_nodes() {
        let nodes_of = |lanes: usize, nodes: &[i32]| {
            let shards = shards(nodes);
            let map = LaneMap::new(lanes, &shards);
            let mut of_lane = vec![Vec::new(); lanes];
            for ((_, lane), shard) in map.shards.iter().zip(&shards) {
                if !of_lane[*lane].contains(&shard.node) {
                    of_lane[*lane].push(shard.node);
                }
            }
            of_lane
        };
        assert_eq!(nodes_of(2, &[1, 2]), [[1], [2]]);
        assert_eq!(nodes_of(4, &[1, 2]), [[1], [2], [1], [2]]);
        assert_eq!(nodes_of(3, &[1, 2]), [[1], [2], [1]]);
        assert_eq!(nodes_of(3, &[9]), [[9], [9], [9]]);
        assert_eq!(nodes_of(2, &[1, 2, 3]), [vec![1, 3], vec![2]]);
        assert_eq!(nodes_of(1, &[1, 2]), [[1, 2]]);
    }

    #[test]
    fn a_hash_belongs_to_the_last_shard_that_begins_at_it_or_before() {
        let map = LaneMap::new(2, &shards(&[1, 2]));
        for device in 0..500 {
            let hash = i64::from(hash_of_text(format!("pump-{device}").as_bytes()));
            let shard = (hash - i64::from(i32::MIN)) >> 29;
            assert_eq!(map.lane_of(&topic(device, "t")), usize::try_from(shard % 2).unwrap());
        }
    }
}
