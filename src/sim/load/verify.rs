//! Compares what was sent with what the tables hold: missing and doubled numbers by range, refusals
//! by reason.
//!
//! It waits while the tables change, and only reads.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::store::reads::simulation_readback::{NumberRange, Readback};

/// Longest wait without a change in the tables; then missing messages count as lost.
const PATIENCE: Duration = Duration::from_secs(15);

/// Shortest wait between two reads; longer after a slow read.
const READ_EVERY: Duration = Duration::from_millis(500);

/// Most ranges listed; the counts cover all.
const LISTED: usize = 20;

/// Seconds before the start that are searched too: a device reads its clock before it numbers a
/// message.
const MARGIN_SECONDS: i64 = 5;

/// What a simulation sent, as far as verification needs it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// When it began, in microseconds since 1970.
    pub began_us: i64,
    /// Its tenants.
    pub tenants: Vec<String>,
    /// The numbers of the messages that must be stored: first and last of each connection.
    pub numbers: Vec<(i64, i64)>,
    /// Numbers among them that the broker refused.
    pub refused: Vec<i64>,
    /// How many messages must be quarantined, by reason.
    pub bad: BTreeMap<String, i64>,
    /// How many messages had been quarantined before, by reason.
    pub quarantined_before: BTreeMap<String, i64>,
}

/// The result of the comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VerifyFindings {
    /// Nothing is missing, nothing is doubled, and the refusals are those that were expected.
    pub complete: bool,
    /// Messages that should be stored.
    pub expected: u64,
    /// Those of them that are.
    pub stored: u64,
    /// Those that are not.
    pub missing: u64,
    /// Messages that are stored more than once.
    pub doubled: u64,
    /// The first missing numbers: from, to.
    pub missing_numbers: Vec<(i64, i64)>,
    /// The first doubled numbers: from, to, rows of each.
    pub doubled_numbers: Vec<(i64, i64, i64)>,
    /// Messages quarantined for each reason: expected, found.
    pub quarantined: BTreeMap<String, (i64, i64)>,
}

/// Reads the tables until they are complete or stop changing.
pub async fn verify(readback: &mut Readback, sent: &Sent) -> Result<VerifyFindings, Outage> {
    let (mut last, mut changed) = (None, Instant::now());
    loop {
        let started = Instant::now();
        let findings = compare_once(readback, sent).await?;
        if findings.complete || changed.elapsed() >= PATIENCE {
            return Ok(findings);
        }
        if last.as_ref() != Some(&findings) {
            (last, changed) = (Some(findings), Instant::now());
        }
        tokio::time::sleep(READ_EVERY.max(started.elapsed() * 2)).await;
    }
}

async fn compare_once(readback: &mut Readback, sent: &Sent) -> Result<VerifyFindings, Outage> {
    let since = Timestamp::from_micros(sent.began_us).plus_seconds(-MARGIN_SECONDS).to_utc();
    let first = sent.numbers.iter().map(|(first, _)| *first).min();
    let last = sent.numbers.iter().map(|(_, last)| *last).max();
    let found = match first.zip(last) {
        Some((first, last)) => readback.ranges(&sent.tenants, since, first..=last).await?,
        None => Vec::new(),
    };
    let quarantined = readback.refusals(&sent.tenants).await?;
    Ok(sent.compare(&found, &quarantined))
}

// === impl Sent ===

impl Sent {
    fn compare(
        &self,
        found: &[NumberRange],
        quarantined: &BTreeMap<String, i64>,
    ) -> VerifyFindings {
        let mut findings = VerifyFindings::default();
        let mut refused = self.refused.clone();
        refused.sort_unstable();
        for &(first, last) in &self.numbers {
            let own = found.iter().filter(|range| range.last >= first && range.first <= last);
            let mut next = first;
            for range in own {
                findings.miss(next, range.first - 1, &refused);
                findings.stored += count(range.first, range.last);
                if range.copies > 1 {
                    findings.doubled += count(range.first, range.last);
                    findings.doubled_numbers.push((range.first, range.last, range.copies));
                }
                next = range.last + 1;
            }
            findings.miss(next, last, &refused);
            findings.expected += count(first, last);
        }
        findings.expected -= refused.len() as u64;
        findings.missing_numbers.truncate(LISTED);
        findings.doubled_numbers.truncate(LISTED);
        let since = |reason: &String| {
            let before = self.quarantined_before.get(reason).copied().unwrap_or(0);
            quarantined.get(reason).copied().unwrap_or(0) - before
        };
        let reasons = self.bad.keys().chain(quarantined.keys().filter(|reason| since(reason) != 0));
        for reason in reasons {
            let expected = self.bad.get(reason).copied().unwrap_or(0);
            findings.quarantined.insert(reason.clone(), (expected, since(reason)));
        }
        let as_expected = findings.quarantined.values().all(|(expected, found)| expected == found);
        findings.complete = findings.missing == 0 && findings.doubled == 0 && as_expected;
        findings
    }
}

// === impl VerifyFindings ===

impl VerifyFindings {
    /// The findings as lines.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "verified     {} of {} stored, {} missing, {} doubled",
            self.stored, self.expected, self.missing, self.doubled
        )];
        let missing = self.missing_numbers.iter();
        lines.extend(
            missing.map(|(first, last)| format!("missing      seq {}", range(*first, *last))),
        );
        let doubled = self.doubled_numbers.iter();
        lines.extend(doubled.map(|(first, last, rows)| {
            format!("doubled      seq {}, {rows} rows each", range(*first, *last))
        }));
        for (reason, (expected, found)) in &self.quarantined {
            let verdict = if expected == found {
                "as expected".to_owned()
            } else {
                format!("{expected} expected")
            };
            lines.push(format!("quarantined  {reason} {found}, {verdict}"));
        }
        lines
    }

    /// Records the numbers `first..=last` as missing, without the `refused` ones. An empty range
    /// records nothing.
    fn miss(&mut self, first: i64, last: i64, refused: &[i64]) {
        let from = refused.partition_point(|number| *number < first);
        let to = refused.partition_point(|number| *number <= last);
        let mut next = first;
        for &number in &refused[from..to.max(from)] {
            self.miss_all(next, number - 1);
            next = number + 1;
        }
        self.miss_all(next, last);
    }

    fn miss_all(&mut self, first: i64, last: i64) {
        if first <= last {
            self.missing += count(first, last);
            self.missing_numbers.push((first, last));
        }
    }
}

// === private helpers ===

fn count(first: i64, last: i64) -> u64 {
    u64::try_from(last - first + 1).unwrap_or(0)
}

fn range(first: i64, last: i64) -> String {
    if first == last { first.to_string() } else { format!("{first} to {last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ranges: &[(i64, i64, i64)]) -> Vec<NumberRange> {
        ranges.iter().map(|&(first, last, copies)| NumberRange { first, last, copies }).collect()
    }

    #[test]
    fn missing_and_doubled_messages_are_reported_by_number() {
        let sent = Sent {
            numbers: vec![(100, 199), (500, 509)],
            refused: vec![150, 505],
            ..Sent::default()
        };
        let whole = found(&[(100, 149, 1), (151, 199, 1), (500, 504, 1), (506, 509, 1)]);
        let findings = sent.compare(&whole, &BTreeMap::new());
        assert!(findings.complete, "{findings:?}");
        assert_eq!((findings.expected, findings.stored), (108, 108));
        let torn =
            found(&[(100, 110, 1), (111, 112, 2), (120, 149, 1), (151, 199, 1), (500, 503, 1)]);
        let findings = sent.compare(&torn, &BTreeMap::new());
        assert_eq!(findings.missing_numbers, [(113, 119), (504, 504), (506, 509)]);
        assert_eq!(findings.doubled_numbers, [(111, 112, 2)]);
        assert_eq!((findings.missing, findings.doubled, findings.complete), (12, 2, false));
    }

    #[test]
    fn refusals_are_compared_with_those_before() {
        let reasons = |counts: &[(&str, i64)]| {
            counts
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect::<BTreeMap<_, _>>()
        };
        let sent = Sent {
            bad: reasons(&[("A", 3)]),
            quarantined_before: reasons(&[("A", 4), ("B", 1)]),
            ..Sent::default()
        };
        assert!(sent.compare(&[], &reasons(&[("A", 7), ("B", 1)])).complete);
        let findings = sent.compare(&[], &reasons(&[("A", 6), ("B", 2)]));
        assert_eq!(
            findings.quarantined,
            BTreeMap::from([("A".into(), (3, 2)), ("B".into(), (0, 1))])
        );
        assert!(!findings.complete);
    }
}
