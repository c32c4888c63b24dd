//! Remembers the responses to changes for a minute: a request that arrives again gets the same
//! response and changes nothing.
//!
//! It is bounded in entries and bytes, and belongs to one replica: a restart forgets it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::caller::CallerShare;
use crate::domain::time::Timestamp;
use crate::http::ApiReply;

/// Responses that are remembered.
const ENTRIES_MAX: usize = 1000;

/// Bytes of remembered responses.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long a response is remembered, in seconds.
const SECONDS_MAX: f64 = 60.0;

/// Which request it is: equal requests have equal keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnswerKey {
    share: CallerShare,
    hash: RequestHash,
}

/// The hash of what tells a request from others of its share.
type RequestHash = [u8; 32];

/// The remembered responses.
#[derive(Debug, Default)]
pub(super) struct AnswerMemory {
    remembered: Mutex<RememberedAnswers>,
}

/// By share: one that fills the memory loses its own responses.
#[derive(Debug, Default)]
struct RememberedAnswers(HashMap<CallerShare, AnswersOfShare>);

#[derive(Debug, Default)]
struct AnswersOfShare {
    slots: HashMap<RequestHash, AnswerSlot>,
    /// In the order of their requests.
    order: VecDeque<(RequestHash, Timestamp)>,
    /// Of all responses that are there.
    bytes: usize,
}

#[derive(Debug, Default)]
struct AnswerSlot {
    answer: Arc<OnceCell<ApiReply>>,
    /// 0 until the response is there.
    bytes: usize,
}

// === impl AnswerKey ===

impl AnswerKey {
    /// The key of a request with this topic, identifier and payload.
    pub(super) fn new(share: CallerShare, parts: [&[u8]; 3]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self { share, hash: hash.finalize().into() }
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
        let result = slot.get_or_try_init(|| async {
            let reply = answer.await;
            if is_lasting(reply.status) {
                self.count(key, &slot, &reply);
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
        let known = remembered.0.get(&key.share).and_then(|share| share.slots.get(&key.hash));
        if let Some(slot) = known {
            return Arc::clone(&slot.answer);
        }
        if remembered.total(AnswersOfShare::entries) >= ENTRIES_MAX {
            remembered.forget_of_largest(AnswersOfShare::entries);
        }
        let share = remembered.0.entry(key.share.clone()).or_default();
        share.order.push_back((key.hash, now));
        Arc::clone(&share.slots.entry(key.hash).or_default().answer)
    }

    /// Counts the response that its slot is about to get, unless the slot has been forgotten.
    fn count(&self, key: &AnswerKey, answer: &Arc<OnceCell<ApiReply>>, reply: &ApiReply) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(share) = remembered.0.get_mut(&key.share) else { return };
        let slot = share.slots.get_mut(&key.hash);
        let Some(slot) = slot.filter(|slot| Arc::ptr_eq(&slot.answer, answer)) else { return };
        slot.bytes = size(reply);
        share.bytes += slot.bytes;
        while remembered.total(AnswersOfShare::bytes) > BYTES_MAX {
            remembered.forget_of_largest(AnswersOfShare::bytes);
        }
    }
}

// === impl RememberedAnswers ===

impl RememberedAnswers {
    fn total(&self, size: fn(&AnswersOfShare) -> usize) -> usize {
        self.0.values().map(size).sum()
    }

    fn forget_old(&mut self, now: Timestamp) {
        // A clock that was set back ends no entry early.
        let is_old = |at: Timestamp| now.seconds_since(at) > SECONDS_MAX;
        for share in self.0.values_mut() {
            while share.order.front().is_some_and(|(_, at)| is_old(*at)) {
                share.forget_oldest();
            }
        }
        self.0.retain(|_, share| !share.order.is_empty());
    }

    /// Forgets the oldest response of the share that has the most.
    fn forget_of_largest(&mut self, size: fn(&AnswersOfShare) -> usize) {
        if let Some(share) = self.0.values_mut().max_by_key(|share| size(share)) {
            share.forget_oldest();
        }
    }
}

// === impl AnswersOfShare ===

impl AnswersOfShare {
    fn entries(&self) -> usize {
        self.slots.len()
    }

    const fn bytes(&self) -> usize {
        self.bytes
    }

    fn forget_oldest(&mut self) {
        let slot = self.order.pop_front().and_then(|(hash, _)| self.slots.remove(&hash));
        self.bytes -= slot.map_or(0, |slot| slot.bytes);
    }
}

// === private helpers ===

/// Whether the same request would get the same response again.
const fn is_lasting(status: u16) -> bool {
    status < 500 && status != 429
}

fn size(reply: &ApiReply) -> usize {
    let headers = reply.headers.iter().map(|(_, value)| value.len());
    reply.body.len() + reply.content_type.len() + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000 * seconds)
    }

    fn reply(status: u16, bytes: usize) -> ApiReply {
        let body = Bytes::from(vec![b'x'; bytes]);
        ApiReply { status, content_type: String::new(), headers: vec![], body, route: None }
    }

    fn key(id: usize) -> AnswerKey {
        AnswerKey::new(CallerShare::Shared, [b"t", id.to_string().as_bytes(), b"p"])
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
        let share = &remembered.0[&CallerShare::Shared];
        assert!(share.bytes <= BYTES_MAX && share.slots.len() <= 5);
        assert_eq!(share.slots.len(), share.order.len());
    }

    #[tokio::test]
    async fn a_response_that_is_too_large_to_remember_leaves_the_memory_empty() {
        let memory = AnswerMemory::default();
        for id in 0..3 {
            assert!(is_made(&memory, id, at(0), reply(200, BYTES_MAX + 1)).await);
        }
        assert!(is_made(&memory, 3, at(0), reply(200, BYTES_MAX)).await);
        assert!(!is_made(&memory, 3, at(0), reply(200, 1)).await, "there is room again");
    }

    #[tokio::test]
    async fn a_caller_that_floods_loses_only_its_own() {
        let memory = AnswerMemory::default();
        let calm = || AnswerKey::new(CallerShare::Named("calm".into()), [b"t", b"1", b"p"]);
        memory.answer_once(calm(), at(0), async { reply(201, 1) }).await;
        for id in 0..2 * ENTRIES_MAX {
            assert!(is_made(&memory, id, at(0), reply(404, BYTES_MAX / 4)).await);
        }
        let kept = memory.answer_once(calm(), at(0), async { panic!("it was forgotten") });
        assert_eq!(kept.await.status, 201);
        let remembered = memory.remembered.lock().unwrap();
        assert!(remembered.total(AnswersOfShare::entries) <= ENTRIES_MAX);
    }

    #[test]
    fn what_stands_in_another_part_is_another_request() {
        let key = |parts| AnswerKey::new(CallerShare::Shared, parts);
        assert_eq!(key([b"t", b"ab", b"c"]), key([b"t", b"ab", b"c"]));
        assert_ne!(key([b"t", b"ab", b"c"]), key([b"t", b"a", b"bc"]));
    }
}
