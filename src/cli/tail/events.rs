//! Reads the events of a stream of decisions from its bytes, in whatever pieces they come.
//!
//! It prints nothing, and ignores events that it does not know.

use serde::de::DeserializeOwned;

use crate::http::{DroppedView, EndView, LiveLineView, SamplingView, TroublesView};

/// The longest event, in bytes.
const MAX_EVENT: usize = 256 * 1024;

/// An event of the stream.
#[derive(Debug)]
pub(super) enum TailEvent {
    /// A decision about a message.
    Decision(Box<LiveLineView>),
    /// Of how many decisions a line was made.
    Sampling(SamplingView),
    /// Lines were lost.
    Dropped(DroppedView),
    /// Components do not work, or work again.
    Troubles(TroublesView),
    /// The stream ends.
    End(EndView),
    /// An event that says nothing here.
    Other,
}

/// What has come of the next event.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    rest: Vec<u8>,
}

// === impl EventReader ===

impl EventReader {
    /// The events that are complete with these bytes; `None`: this is no stream of Sluice.
    pub(super) fn read(&mut self, chunk: &[u8]) -> Option<Vec<TailEvent>> {
        self.rest.extend_from_slice(chunk);
        let mut events = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = self.rest.drain(..end + 2).collect();
            events.push(TailEvent::of(std::str::from_utf8(&event).ok()?)?);
        }
        (self.rest.len() <= MAX_EVENT).then_some(events)
    }
}

// === impl TailEvent ===

impl TailEvent {
    /// The event of a text; `None`: it is none.
    fn of(text: &str) -> Option<Self> {
        let (mut name, mut data) = ("", "");
        for line in text.lines() {
            if let Some(value) = line.strip_prefix("event: ") {
                name = value;
            } else if let Some(value) = line.strip_prefix("data: ") {
                data = value;
            }
        }
        match name {
            "decision" => parsed(data).map(Self::Decision),
            "sampling" => parsed(data).map(Self::Sampling),
            "dropped" => parsed(data).map(Self::Dropped),
            "troubles" => parsed(data).map(Self::Troubles),
            "end" => parsed(data).map(Self::End),
            "" => None,
            _ => Some(Self::Other),
        }
    }
}

// === private helpers ===

fn parsed<T: DeserializeOwned>(data: &str) -> Option<T> {
    serde_json::from_str(data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_any_pieces() {
        let text = "event: open\ndata: {\"at\":1}\n\nevent: sampling\ndata: {\"one_in\":4,\"matched\":80,\"shown\":20}\n\n\
            event: end\ndata: {\"reason\":\"stopping\",\"detail\":\"the daemon stops\"}\n\n";
        for size in [1, 7, 1_000] {
            let mut reader = EventReader::default();
            let chunks = text.as_bytes().chunks(size);
            let events: Vec<_> = chunks.flat_map(|chunk| reader.read(chunk).unwrap()).collect();
            let [TailEvent::Other, TailEvent::Sampling(sampling), TailEvent::End(end)] =
                &events[..]
            else {
                panic!("{events:?}")
            };
            assert_eq!((sampling.one_in, end.detail.as_str()), (4, "the daemon stops"));
        }
    }

    #[test]
    fn another_text_is_no_stream() {
        assert!(EventReader::default().read(b"<html>\n\n</html>").is_none());
        assert!(EventReader::default().read(b"event: decision\ndata: {}\n\n").is_none());
        assert!(EventReader::default().read("x".repeat(MAX_EVENT + 1).as_bytes()).is_none());
    }
}
