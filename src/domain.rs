//! Types that the wings share. Nothing here does IO, uses a runtime, or reads a clock.
//!
//! Names, secrets and time: [`ids`], [`topic`], [`token`], [`hex`], [`time`], [`time_range`],
//! [`clocks`], [`rate_limit`], [`enrolment`]. What people search for: [`search`],
//! [`device_search`], [`certificate_search`], [`live`]. JSON: [`merge_patch`]. A message and its outcome: [`message`], [`device`],
//! [`publisher`], [`refusal`], [`batch`], [`quarantine_sampling`], [`redact`]. To devices: [`command`]. Requests and
//! responses: [`exchange`], [`base64_text`], [`caller`], [`operator`]. Links to other brokers: [`link`],
//! [`forwarding`], [`outbox`], [`remote`]. Between the wings: [`ports`] (traits),
//! [`registry_change`], [`broker_login`], [`broker_subscription`], [`replica`], [`shard`], [`probe`],
//! [`finding`].

pub mod base64_text;
pub mod batch;
pub(crate) mod broker_login;
pub mod broker_subscription;
pub mod caller;
pub mod certificate_search;
pub mod clocks;
pub mod command;
pub mod device;
pub mod device_search;
pub mod device_topics;
pub mod enrolment;
pub mod exchange;
pub mod finding;
pub mod forwarding;
pub(crate) mod hex;
pub mod link;
pub mod live;
pub(crate) mod merge_patch;
pub mod message;
pub mod operator;
pub mod outbox;
pub mod ports;
pub mod publisher;
pub mod quarantine_sampling;
pub(crate) mod rate_limit;
pub mod redact;
pub mod refusal;
pub mod registry_change;
pub mod remote;
pub mod replica;
pub mod search;
pub mod shard;
pub(crate) mod time_range;
pub mod token;
pub mod topic;

// Shared with the broker's plugin (plugin/shared): names, times and the probe mean the same in both.
pub(crate) use sluice_shared::probe;
pub use sluice_shared::{ids, time};
