//! What simulated devices measure: the two values of each profile, and how they change from message
//! to message.
//!
//! Every value has a fixed width, so that it can be patched in place. It knows no topic prefix and
//! no packet.

use serde_json::{Map, Value, json};

/// What a device measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PayloadProfile {
    /// Temperature and humidity: a random walk
    Climate,
    /// Speed and oil temperature of an engine: a random walk
    Engine,
    /// Power and a counter of energy
    Meter,
    /// A door that opens and closes
    Door,
    /// The uptime, in the heartbeats of the demo's devices
    #[value(skip)]
    Heartbeat,
}

/// An xorshift generator; a random walk needs no better one.
#[derive(Clone, Debug)]
pub struct PayloadRng(u64);

/// How one value changes from message to message.
#[derive(Clone, Copy, Debug)]
pub(super) enum PayloadDigits {
    /// A random walk between `low` and `high`, which have the same number of digits.
    Walk { name: &'static str, low: u32, high: u32, step: u32, decimals: usize },
    /// Grows by at most `step`; restarts at `low` before it needs another digit.
    Count { name: &'static str, low: u32, step: u32 },
    /// One of two words of the same length.
    Either { name: &'static str, words: [&'static str; 2] },
}

const CLIMATE: [PayloadDigits; 2] = [
    PayloadDigits::Walk { name: "temperature_c", low: 1000, high: 4500, step: 15, decimals: 2 },
    PayloadDigits::Walk { name: "humidity_pct", low: 2000, high: 9500, step: 40, decimals: 2 },
];
const ENGINE: [PayloadDigits; 2] = [
    PayloadDigits::Walk { name: "rpm", low: 1000, high: 7200, step: 90, decimals: 0 },
    PayloadDigits::Walk { name: "oil_temperature_c", low: 600, high: 999, step: 3, decimals: 1 },
];
const METER: [PayloadDigits; 2] = [
    PayloadDigits::Walk { name: "power_w", low: 1000, high: 9999, step: 300, decimals: 1 },
    PayloadDigits::Count { name: "energy_wh", low: 10_000_000, step: 7 },
];
const DOOR: [PayloadDigits; 2] = [
    PayloadDigits::Either { name: "door", words: ["opened", "closed"] },
    PayloadDigits::Count { name: "passages", low: 10_000_000, step: 3 },
];
const HEARTBEAT: [PayloadDigits; 2] = [
    PayloadDigits::Count { name: "uptime_s", low: 10_000, step: 90 },
    PayloadDigits::Walk {
        name: "free_memory_kib",
        low: 10_000,
        high: 90_000,
        step: 300,
        decimals: 0,
    },
];

// === impl PayloadProfile ===

impl PayloadProfile {
    /// All that measure something.
    pub const ALL: [Self; 4] = [Self::Climate, Self::Engine, Self::Meter, Self::Door];

    /// The topic's path after the device.
    pub(super) const fn msg_type(self) -> &'static str {
        match self {
            Self::Climate => "telemetry",
            Self::Engine => "telemetry/engine",
            Self::Meter => "telemetry/power",
            Self::Door => "event",
            Self::Heartbeat => "heartbeat",
        }
    }

    pub(super) const fn digits(self) -> &'static [PayloadDigits; 2] {
        match self {
            Self::Climate => &CLIMATE,
            Self::Engine => &ENGINE,
            Self::Meter => &METER,
            Self::Door => &DOOR,
            Self::Heartbeat => &HEARTBEAT,
        }
    }

    pub(super) fn metrics(self) -> Map<String, Value> {
        let [one, other] = self.digits();
        let mut metrics = Map::new();
        metrics.insert(one.name().into(), one.first());
        metrics.insert(other.name().into(), other.first());
        metrics.insert("battery_v".into(), json!(3.71));
        metrics.insert("rssi_dbm".into(), json!(-67));
        metrics
    }
}

// === impl PayloadDigits ===

impl PayloadDigits {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Walk { name, .. } | Self::Count { name, .. } | Self::Either { name, .. } => name,
        }
    }

    /// Its value in a new payload.
    fn first(&self) -> Value {
        match *self {
            Self::Walk { low, decimals: 0, .. } | Self::Count { low, .. } => json!(low),
            // Not a multiple of ten, so that every decimal is written.
            Self::Walk { low, decimals: 1, .. } => json!(f64::from(low + 1) / 10.0),
            Self::Walk { low, .. } => json!(f64::from(low + 1) / 100.0),
            Self::Either { words, .. } => json!(words[0]),
        }
    }

    /// Advances the value by a random step and writes it to `place`.
    pub(super) fn advance(&self, value: &mut u32, rng: &mut PayloadRng, place: &mut [u8]) {
        match *self {
            Self::Walk { low, high, step, decimals, .. } => {
                let up = *value + rng.below(2 * step + 1);
                *value = up.clamp(low + step, high + step) - step;
                write_decimal(&mut place[..width(high, decimals)], u64::from(*value), decimals);
            }
            Self::Count { low, step, .. } => {
                *value =
                    if *value >= 10 * low - step - 1 { low } else { *value + 1 + rng.below(step) };
                write_decimal(&mut place[..width(low, 0)], u64::from(*value), 0);
            }
            Self::Either { words, .. } => {
                *value ^= 1;
                let word = words[(*value & 1) as usize].as_bytes();
                // Skips the quotation mark.
                place[1..=word.len()].copy_from_slice(word);
            }
        }
    }

    pub(super) const fn start(&self) -> u32 {
        match self {
            Self::Walk { low, high, .. } => low.midpoint(*high),
            Self::Count { low, .. } => *low,
            Self::Either { .. } => 0,
        }
    }
}

// === impl PayloadRng ===

impl PayloadRng {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 to below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(bound)) >> 32) as u32
    }
}

// === private helpers ===

/// Characters of a value, decimal point included.
const fn width(value: u32, decimals: usize) -> usize {
    value.ilog10() as usize + 1 + if decimals > 0 { 1 } else { 0 }
}

/// Fills `place` with the number, from the last digit.
pub(super) fn write_decimal(place: &mut [u8], mut value: u64, decimals: usize) {
    let point = if decimals > 0 { place.len() - 1 - decimals } else { usize::MAX };
    for at in (0..place.len()).rev() {
        if at == point {
            place[at] = b'.';
        } else {
            place[at] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
}
