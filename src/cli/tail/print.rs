//! Prints decisions: a line each for people, one JSON object a line for programs.
//!
//! What is said about the stream itself goes to standard error, so that standard output has only
//! decisions.

use std::io::{self, Write};

use super::events::TailEvent;
use crate::command::table::{OutputFormat, note};
use crate::command::text::{NONE, cell, printable};
use crate::http::{LiveLineView, SamplingView};

/// Prints the events of a stream.
#[derive(Debug)]
pub(super) struct Printer {
    output: OutputFormat,
    /// Decisions until the end; `None`: there is no end.
    left: Option<u64>,
    /// What was said last about the choice of lines.
    one_in: u64,
}

// === impl Printer ===

impl Printer {
    pub(super) fn new(output: OutputFormat, count: Option<u64>) -> Self {
        Self { output, left: count, one_in: 1 }
    }

    /// Prints an event; true when it was the last one that is wanted.
    pub(super) fn print(&mut self, event: TailEvent) -> io::Result<bool> {
        match event {
            TailEvent::Decision(line) => return self.print_line(&line),
            TailEvent::Sampling(sampling) => self.note_sampling(sampling),
            TailEvent::Dropped(dropped) => {
                note!(
                    "sluice tail: {} lines were dropped: the output is read too slowly",
                    dropped.lines
                );
            }
            TailEvent::Troubles(troubles) if troubles.troubles.is_empty() => {
                note!("sluice tail: the daemon works again");
            }
            TailEvent::Troubles(troubles) => {
                for (component, why) in troubles.troubles {
                    note!("sluice tail: {component}: {}", printable(&why));
                }
            }
            // The caller says why the stream ended.
            TailEvent::End(_) | TailEvent::Other => {}
        }
        Ok(false)
    }

    fn print_line(&mut self, line: &LiveLineView) -> io::Result<bool> {
        match self.output {
            OutputFormat::Json => writeln!(io::stdout(), "{}", serde_json::to_string(line)?)?,
            OutputFormat::Table => writeln!(io::stdout(), "{}", text_of(line))?,
        }
        let Some(left) = &mut self.left else { return Ok(false) };
        *left = left.saturating_sub(1);
        Ok(*left == 0)
    }

    /// Says once how many decisions a line stands for, until that changes by half.
    fn note_sampling(&mut self, sampling: SamplingView) {
        let SamplingView { one_in, matched, .. } = sampling;
        let is_similar = one_in.abs_diff(self.one_in) * 2 <= self.one_in;
        if is_similar && (one_in > 1) == (self.one_in > 1) {
            return;
        }
        self.one_in = one_in;
        if one_in > 1 {
            note!("sluice tail: sampled 1 in {one_in} ({matched} decisions in the last second)");
        } else {
            note!("sluice tail: every decision is shown");
        }
    }
}

// === private helpers ===

/// `11:04:02.123  refused    acme/pump-7  telemetry  TOKEN_INVALID: detail  {"metrics": ...}`
fn text_of(line: &LiveLineView) -> String {
    let sender = match (&line.tenant_id, &line.device_id) {
        (Some(tenant), Some(device)) => format!("{tenant}/{device}"),
        _ => cell(&line.topic),
    };
    let time = line.received_at.format("%H:%M:%S%.3fZ");
    let msg_type = line.msg_type.as_deref().map_or_else(|| NONE.to_owned(), printable);
    let payload = line.payload.as_deref().map(printable).unwrap_or_default();
    let more = if line.payload_cut && !payload.is_empty() { "\u{2026}" } else { "" };
    let why = line.reason.as_deref().map(|reason| {
        format!("  {reason}: {}", printable(line.detail.as_deref().unwrap_or_default()))
    });
    let outcome = &line.outcome;
    format!(
        "{time}  {outcome:9}  {sender:24}  {msg_type:12}  {:>6} B{}  {payload}{more}",
        line.bytes,
        why.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_message_stays_one_line() {
        let line = LiveLineView {
            received_at: "2026-11-01T11:04:02.123Z".parse().unwrap(),
            outcome: "refused".into(),
            tenant_id: None,
            device_id: None,
            msg_type: None,
            reason: Some("BAD_TOPIC_FORMAT".into()),
            detail: Some("a\u{1b}[2Jb".into()),
            bytes: 5,
            topic: "x\ny".into(),
            payload: Some("\u{1b}]0;title\u{7}\r\n".into()),
            payload_cut: true,
            link: None,
        };
        let text = text_of(&line);
        assert!(text.chars().all(|character| !character.is_control()), "{text:?}");
        assert!(text.starts_with("11:04:02.123Z  refused    x\\ny"), "{text}");
        assert!(text.ends_with('\u{2026}'), "{text}");
    }
}
