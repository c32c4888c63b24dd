//! What the broker refuses to the exchange, with the access rule that is missing.
//!
//! A refusal is no reason to reconnect: it is tried again from time to time. It publishes nothing.
//! A topic that a request names does not count: a try of the same filter shows whether the line is
//! missing. Else each caller could make Sluice unready.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::needed_writes::NeededWrite;
use crate::config::sections::broker::SHARE_PREFIX;
use crate::domain::exchange::{NOT_AUTHORIZED, PublishTopic};

/// How often what was refused is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How long a refusal counts that only a message of a caller can try again.
const UNTRIED: Duration = Duration::from_mins(1);

/// Most refusals that are kept; a custom response topic makes one each.
const MAX: usize = 16;

/// What the broker refuses, by the missing line.
#[derive(Debug)]
pub struct Refusals {
    username: Option<String>,
    by_line: BTreeMap<String, Refused>,
    /// Tries of filters of which a topic that a request named was refused.
    doubted: BTreeSet<PublishTopic>,
    /// When the log last named such a topic.
    logged_at: Option<Instant>,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Refused {
    /// A topic or filter.
    what: String,
    is_subscription: bool,
    code: u8,
    /// Where an empty message shows whether it is still refused.
    try_topic: Option<PublishTopic>,
    at: Instant,
}

// === impl Refusals ===

impl Refusals {
    /// None yet; the rules are those of this user.
    pub fn new(username: Option<String>) -> Self {
        let (by_line, doubted) = (BTreeMap::new(), BTreeSet::new());
        Self { username, by_line, doubted, logged_at: None, retry_at: None }
    }

    /// Forgets them all: a new connection tries again.
    pub fn forget(&mut self) {
        self.by_line.clear();
        self.doubted.clear();
        self.retry_at = None;
    }

    /// Records a refused subscription.
    pub fn subscription_refused(&mut self, filter: &str, code: u8, now: Instant) {
        let refused = Refused {
            what: filter.to_owned(),
            is_subscription: true,
            code,
            try_topic: None,
            at: now,
        };
        self.record(read_line(filter), refused, now);
    }

    /// Records a granted subscription.
    pub fn subscription_granted(&mut self, filter: &str) {
        self.by_line.remove(&read_line(filter));
    }

    /// Records a refused message, if access rules refused it.
    pub fn write_refused(
        &mut self,
        topic: &PublishTopic,
        code: u8,
        writes: &[NeededWrite],
        now: Instant,
    ) {
        if code != NOT_AUTHORIZED {
            return;
        }
        let needed = writes.iter().find(|write| write.covers(topic));
        if let Some(write) = needed.filter(|write| write.is_named_by_requests)
            && let Some(try_topic) = write.try_topic.as_ref().filter(|&tried| tried != topic)
        {
            self.doubt(topic, try_topic, now);
            return;
        }
        let line =
            needed.map_or_else(|| NeededWrite::untried(topic.as_str()).line(), NeededWrite::line);
        let refused = Refused {
            what: topic.as_str().to_owned(),
            is_subscription: false,
            code,
            try_topic: needed.and_then(|write| write.try_topic.clone()),
            at: now,
        };
        self.record(line, refused, now);
    }

    /// Records an accepted message.
    pub fn write_accepted(&mut self, topic: &PublishTopic, writes: &[NeededWrite]) {
        if self.by_line.is_empty() {
            return;
        }
        self.by_line.remove(&NeededWrite::untried(topic.as_str()).line());
        if let Some(write) = writes.iter().find(|write| write.covers(topic)) {
            self.by_line.remove(&write.line());
        }
    }

    /// Whether a filter is refused.
    pub fn is_subscription_refused(&self, filter: &str) -> bool {
        self.by_line.get(&read_line(filter)).is_some_and(|refused| refused.is_subscription)
    }

    /// Whether any subscription is refused.
    pub fn has_subscription(&self) -> bool {
        self.by_line.values().any(|refused| refused.is_subscription)
    }

    /// When to try again.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The topics to try again now; `None`: it is too early.
    pub fn due(&mut self, now: Instant) -> Option<Vec<PublishTopic>> {
        self.retry_at.filter(|&at| at <= now)?;
        self.by_line.retain(|_, refused| {
            refused.is_subscription || refused.try_topic.is_some() || now < refused.at + UNTRIED
        });
        self.retry_at = (!self.by_line.is_empty()).then(|| now + RETRY);
        let mut tries = std::mem::take(&mut self.doubted);
        tries.extend(self.by_line.values().filter_map(|refused| refused.try_topic.clone()));
        Some(tries.into_iter().collect())
    }

    /// One sentence with each refusal and its line; `None`: there is none.
    pub fn sentence(&self) -> Option<String> {
        if self.by_line.is_empty() {
            return None;
        }
        let user =
            self.username.as_ref().map_or("this user".to_owned(), |name| format!("user {name}"));
        let each = self.by_line.iter().map(|(line, refused)| {
            let Refused { what, code, .. } = refused;
            let verb = if refused.is_subscription { "the subscription to" } else { "messages to" };
            format!(
                "the broker refuses {verb} {what} (code 0x{code:02X}): \
                 add the access rule `{line}` for {user}"
            )
        });
        Some(each.collect::<Vec<_>>().join("; "))
    }

    /// A topic that a request named is refused: the try shows whether the line is missing.
    fn doubt(&mut self, topic: &PublishTopic, try_topic: &PublishTopic, now: Instant) {
        if self.logged_at.is_none_or(|at| at + UNTRIED <= now) {
            self.logged_at = Some(now);
            tracing::warn!(
                topic = %topic,
                "a response is not published: the broker's access rules refuse the topic that the \
                 request names; Sluice tries another topic of the same rule"
            );
        }
        if !self.doubted.contains(try_topic) {
            self.doubted.insert(try_topic.clone());
        }
        self.retry_at = self.retry_at.or(Some(now + RETRY));
    }

    fn record(&mut self, line: String, refused: Refused, now: Instant) {
        // The first topic stays, so that one refusal has one sentence.
        if let Some(known) = self.by_line.get_mut(&line) {
            known.at = now;
        } else if self.by_line.len() < MAX {
            self.by_line.insert(line, refused);
        }
        self.retry_at = self.retry_at.or(Some(now + RETRY));
    }
}

// --- private helpers ---

/// The line that lets Sluice read the topics of a filter, shared or not.
fn read_line(filter: &str) -> String {
    let plain = filter
        .strip_prefix(SHARE_PREFIX)
        .and_then(|rest| rest.split_once('/'))
        .map_or(filter, |(_, plain)| plain);
    format!("topic read {plain}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::exchange::needed_writes;

    fn topic(text: &str) -> PublishTopic {
        PublishTopic::new(text).unwrap()
    }

    #[test]
    fn the_sentence_names_topic_line_and_user_until_the_broker_accepts() {
        let (writes, now) = (needed_writes::to_devices(), Instant::now());
        let mut refusals = Refusals::new(Some("sluice".to_owned()));
        assert_eq!(refusals.sentence(), None);
        let command = topic("tenant/acme/device/pump-1/commands");
        refusals.write_refused(&command, 0x97, &writes, now);
        assert_eq!(refusals.sentence(), None, "a quota is no access rule");
        refusals.write_refused(&command, 0x87, &writes, now);
        assert_eq!(
            refusals.sentence().unwrap(),
            "the broker refuses messages to tenant/acme/device/pump-1/commands (code 0x87): \
             add the access rule `topic write tenant/+/device/+/commands` for user sluice"
        );
        assert_eq!(refusals.due(now), None);
        let tries = refusals.due(now + RETRY).unwrap();
        assert_eq!(tries, [topic("tenant/$sluice/device/probe/commands")]);
        refusals.write_accepted(&tries[0], &writes);
        assert_eq!(refusals.sentence(), None);
        assert_eq!(refusals.due(now + RETRY * 2), Some(Vec::new()));
        assert_eq!(refusals.retry_at(), None);
    }

    #[test]
    fn a_refused_topic_that_a_request_named_counts_only_if_the_try_is_refused_too() {
        let now = Instant::now();
        let writes = [needed_writes::to_devices(), vec![NeededWrite::to_callers("a/response/#")]];
        let writes = writes.concat();
        let mut refusals = Refusals::new(None);
        for named in ["tenant/acme/device/pump-1/response/x/y", "a/response/me/x", "a/response/me"]
        {
            refusals.write_refused(&topic(named), 0x87, &writes, now);
        }
        assert_eq!((refusals.sentence(), refusals.due(now)), (None, None));
        let tries = refusals.due(now + RETRY).unwrap();
        assert_eq!(
            tries,
            [topic("a/response/$sluice"), topic("tenant/$sluice/device/probe/response/probe")]
        );
        refusals.write_accepted(&tries[0], &writes);
        assert_eq!((refusals.sentence(), refusals.retry_at()), (None, None));
        refusals.write_refused(&tries[1], 0x87, &writes, now);
        let sentence = refusals.sentence().unwrap();
        assert!(sentence.contains("`topic write tenant/+/device/+/response/#`"), "{sentence}");
        assert!(!sentence.contains("a/response"), "{sentence}");
    }

    #[test]
    fn a_refused_subscription_is_named_without_its_share_group() {
        let mut refusals = Refusals::new(None);
        let filter = "$share/g/tenant/+/device/+/request/#";
        refusals.subscription_refused(filter, 0x87, Instant::now());
        assert!(refusals.is_subscription_refused(filter) && refusals.has_subscription());
        let sentence = refusals.sentence().unwrap();
        assert!(
            sentence.ends_with("`topic read tenant/+/device/+/request/#` for this user"),
            "{sentence}"
        );
        refusals.subscription_granted(filter);
        assert_eq!(refusals.sentence(), None);
    }

    #[test]
    fn a_refused_topic_without_a_try_is_forgotten_after_a_minute_and_their_number_is_bounded() {
        let now = Instant::now();
        let mut refusals = Refusals::new(None);
        for caller in 0..100 {
            refusals.write_refused(&topic(&format!("answers/{caller}")), 0x87, &[], now);
        }
        assert_eq!(refusals.by_line.len(), MAX);
        assert_eq!(refusals.due(now + RETRY), Some(Vec::new()));
        assert!(refusals.sentence().is_some());
        assert_eq!(refusals.due(now + UNTRIED), Some(Vec::new()));
        assert_eq!((refusals.sentence(), refusals.retry_at()), (None, None));
    }
}
