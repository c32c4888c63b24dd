//! What a connection shows on the board of its link.
//!
//! It changes nothing else.

use std::time::Duration;

use tokio::time::Instant;

use super::board::LaneState;
use super::receiving::LaneReceiving;
use super::serving::LaneConnection;
use crate::link::explain::codes::of_code;
use crate::link::explain::{CodePacket, LinkExplanation};

/// Time between two updates of the state.
const SHOW_PERIOD: Duration = Duration::from_millis(200);

// === impl LaneConnection ===

impl LaneConnection<'_> {
    /// Shows the state on the board, not more often than people can read.
    pub(super) fn show_state(&mut self) {
        let now = Instant::now();
        // Before the answer to SUBSCRIBE nothing is received: the lane is not up.
        let is_subscribing =
            self.lane.receiving.as_ref().is_some_and(LaneReceiving::is_subscribing);
        if now < self.show_at || is_subscribing {
            return;
        }
        self.show_at = now + SHOW_PERIOD;
        let settings = &self.context.settings;
        let refusal = self.lane.receiving.as_ref().and_then(|it| it.refusal(settings));
        if let Some(explained) = self.blocked.as_ref().or(refusal.as_ref()) {
            return self.lane.show(LaneState::Refused, Some(explained));
        }
        if let Some(rate) = self.lane.pace.throttled_rate() {
            let what = format!("the other broker limits the rate: {rate:.0} messages a second now");
            let throttled = of_code(settings, CodePacket::PubAck, 0x97, None);
            let explained = LinkExplanation { what, cause: None, ..throttled };
            return self.lane.show(LaneState::Throttled, Some(&explained));
        }
        let waiting = self.lane.refused.example().map(|(topic, fault)| {
            let (topics, messages) = self.lane.refused.counts();
            let explained = fault.explained(settings, Some(topic));
            let what = format!("{messages} messages of {topics} topics wait: {}", explained.what);
            LinkExplanation { what, ..explained }
        });
        self.lane.show(LaneState::Up, waiting.as_ref());
    }
}
