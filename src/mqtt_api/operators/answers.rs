//! Remembers the responses to changes for a minute: a request that arrives again gets the same
//! response and changes nothing.
//!
//! It is bounded in entries and bytes, and belongs to one replica: a restart forgets it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::domain::time::Timestamp;
use crate::http::ApiReply;

/// Responses that are remembered.
const ENTRIES_MAX: usize = 1000;

/// Bytes of remembered responses.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long a response is remembered, in seconds.
const SECONDS_MAX: f64 = 60.0;

/// Which request it is: equal requests have equal keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AnswerKey {
    topic: Bytes,
    id: Bytes,
    hash: [u8; 32],
}

/// The remembered responses.
#[derive(Debug, Default)]
pub(super) struct AnswerMemory {
    remembered: Mutex<RememberedAnswers>,
}

#[derive(Debug, Default)]
struct RememberedAnswers {
    slots: HashMap<AnswerKey, Arc<OnceCell<ApiReply>>>,
    /// In the order of their requests.
    order: VecDeque<(AnswerKey, Timestamp)>,
    /// Of all responses that are there.
    bytes: usize,
}

// === impl AnswerKey ===

impl AnswerKey {
    /// The key of a request with this identifier.
    pub(super) fn new(topic: Bytes, id: Bytes, payload: &[u8]) -> Self {
        Self { topic, id, hash: Sha256::digest(payload).into() }
    }
}

// === impl AnswerMemory ===

impl AnswerMemory {
    /// The response to the request of this key. `answer` runs only if there is none; an equal
    /// request waits for the end of the first one. A failure is not remembered: the request can be
    /// tried again.
    pub(super) async fn answer_once(
        &self,
        key: AnswerKey,
        now: Timestamp,
        answer: impl Future<Output = ApiReply>,
    ) -> ApiReply {
        let (slot, key) = (self.slot(&key, now), &key);
        let result = slot.get_or_try_init(|| async move {
            let reply = answer.await;
            if is_lasting(reply.status) {
                self.count(key, reply.body.len());
                Ok(reply)
            } else {
                Err(reply)
            }
        });
        match result.await {
            Ok(reply) => reply.clone(),
            Err(reply) => reply,
        }
    }

    fn slot(&self, key: &AnswerKey, now: Timestamp) -> Arc<OnceCell<ApiReply>> {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.forget_old(now);
        if let Some(slot) = remembered.slots.get(key) {
            return Arc::clone(slot);
        }
        if remembered.slots.len() == ENTRIES_MAX {
            remembered.forget_oldest();
        }
        let slot = Arc::default();
        remembered.slots.insert(key.clone(), Arc::clone(&slot));
        remembered.order.push_back((key.clone(), now));
        slot
    }

    fn count(&self, key: &AnswerKey, bytes: usize) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if !remembered.slots.contains_key(key) {
            return;
        }
        remembered.bytes += bytes;
        while remembered.bytes > BYTES_MAX && remembered.forget_oldest() {}
    }
}

// === impl RememberedAnswers ===

impl RememberedAnswers {
    fn forget_old(&mut self, now: Timestamp) {
        // A clock that was set back ends no entry early.
        while self.order.front().is_some_and(|(_, at)| now.seconds_since(*at) > SECONDS_MAX) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((key, _)) = self.order.pop_front() else { return false };
        let slot = self.slots.remove(&key);
        let bytes = slot.and_then(|slot| slot.get().map(|reply| reply.body.len()));
        self.bytes = self.bytes.saturating_sub(bytes.unwrap_or_default());
        true
    }
}

// === private helpers ===

/// Whether the same request would get the same response again.
const fn is_lasting(status: u16) -> bool {
    status < 500 && status != 429
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000 * seconds)
    }

    fn reply(status: u16, bytes: usize) -> ApiReply {
        let body = Bytes::from(vec![b'x'; bytes]);
        ApiReply { status, content_type: String::new(), headers: vec![], body, route: None }
    }

    fn key(id: usize) -> AnswerKey {
        AnswerKey::new(Bytes::from_static(b"t"), id.to_string().into(), b"p")
    }

    /// Asks with this key, and returns whether the answer was made for it.
    async fn is_made(memory: &AnswerMemory, id: usize, now: Timestamp, reply: ApiReply) -> bool {
        let made = AtomicUsize::new(0);
        let answer = async {
            made.fetch_add(1, Ordering::Relaxed);
            reply
        };
        memory.answer_once(key(id), now, answer).await;
        made.into_inner() == 1
    }

    #[tokio::test]
    async fn a_change_is_made_once_a_minute_and_a_failure_is_tried_again() {
        let memory = AnswerMemory::default();
        assert!(is_made(&memory, 1, at(0), reply(201, 1)).await);
        assert!(!is_made(&memory, 1, at(60), reply(201, 1)).await);
        assert!(is_made(&memory, 1, at(61), reply(201, 1)).await);
        for status in [503, 504, 429] {
            let id = usize::from(status);
            assert!(is_made(&memory, id, at(61), reply(status, 1)).await, "{status}");
            assert!(is_made(&memory, id, at(61), reply(200, 1)).await, "{status}");
            assert!(!is_made(&memory, id, at(61), reply(200, 1)).await, "{status}");
        }
    }

    #[tokio::test]
    async fn an_equal_request_waits_for_the_first_one() {
        let memory = AnswerMemory::default();
        let (end, first_ends) = tokio::sync::oneshot::channel::<()>();
        let first = memory.answer_once(key(1), at(0), async {
            first_ends.await.unwrap();
            reply(201, 1)
        });
        let second = memory.answer_once(key(1), at(0), async { panic!("it ran twice") });
        let ending = async { end.send(()).unwrap() };
        let (first, second, ()) = tokio::join!(first, second, ending);
        assert_eq!(first, second);
    }

    #[tokio::test]
    async fn it_is_bounded_in_entries_and_in_bytes() {
        let memory = AnswerMemory::default();
        for id in 0..=ENTRIES_MAX {
            assert!(is_made(&memory, id, at(0), reply(200, 1)).await);
        }
        assert!(!is_made(&memory, 1, at(0), reply(200, 1)).await);
        assert!(is_made(&memory, 0, at(0), reply(200, 1)).await, "the oldest is forgotten");
        for id in 5000..5010 {
            assert!(is_made(&memory, id, at(0), reply(200, BYTES_MAX / 4)).await);
        }
        let remembered = memory.remembered.lock().unwrap();
        assert!(remembered.bytes <= BYTES_MAX && remembered.slots.len() <= 5);
        assert_eq!(remembered.slots.len(), remembered.order.len());
    }
}
