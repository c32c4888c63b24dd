//! A histogram of microseconds with steps of three per cent: small, with a cheap `add`.
//!
//! It keeps no single values; a quantile is the upper edge of its step.

use serde::{Deserialize, Serialize};

/// Steps between a power of two and the next, as a power of two.
const STEP_BITS: u32 = 5;
const STEPS: u64 = 1 << STEP_BITS;

/// Largest distinct value, about an hour; larger ones count as this.
const LARGEST: u64 = 1 << 32;

/// Counts of values by step.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    largest: u64,
}

/// Quantiles of a histogram, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the unit is part of each name in the JSON summary")]
pub struct Quantiles {
    /// Half of the values are at most this.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// 999 of 1000.
    pub p999_ms: f64,
    /// The largest.
    pub max_ms: f64,
}

// === impl Histogram ===

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; place(LARGEST) + 1], total: 0, largest: 0 }
    }
}

impl Histogram {
    /// Adds a value.
    pub fn add(&mut self, micros: u64) {
        self.counts[place(micros.min(LARGEST))] += 1;
        self.total += 1;
        self.largest = self.largest.max(micros);
    }

    /// The quantiles; `None` while it is empty.
    pub fn quantiles(&self) -> Option<Quantiles> {
        (self.total > 0).then(|| Quantiles {
            p50_ms: self.quantile(500),
            p99_ms: self.quantile(990),
            p999_ms: self.quantile(999),
            max_ms: milliseconds(self.largest),
        })
    }

    fn quantile(&self, per_mille: u64) -> f64 {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        milliseconds(found.map_or(self.largest, edge).min(self.largest))
    }
}

// === private helpers ===

/// The step of a value: exact below `2 * STEPS`, then `STEPS` for each doubling.
#[expect(clippy::cast_possible_truncation, reason = "a few hundred")]
fn place(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = value.ilog2() - STEP_BITS;
    (u64::from(shift) * STEPS + (value >> shift)) as usize
}

/// The largest value of a step.
fn edge(place: usize) -> u64 {
    let place = place as u64;
    if place < 2 * STEPS {
        return place;
    }
    let shift = place / STEPS - 1;
    ((place % STEPS + STEPS + 1) << shift) - 1
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_lies_within_three_per_cent_of_its_steps_edge() {
        for value in (0..5_000).chain((0..31).map(|bits| (1_u64 << bits) + 7)).chain([LARGEST]) {
            let edge = edge(place(value));
            assert!(edge >= value && (edge - value) * 32 <= value, "{value} {edge}");
            assert!(value == 0 || super::edge(place(value - 1)) <= edge);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantiles(), None);
        (1..=1000).for_each(|value| histogram.add(value));
        let quantiles = histogram.quantiles().unwrap();
        assert!((quantiles.p50_ms - 0.5).abs() < 0.02, "{quantiles:?}");
        assert!((quantiles.p99_ms - 0.99).abs() < 0.04, "{quantiles:?}");
        assert!((quantiles.max_ms - 1.0).abs() < f64::EPSILON, "{quantiles:?}");
    }
}
