//! The links, as their lanes report them, and what waits for them.
//!
//! It connects to no other broker: `sluice link check` does. It reads the links file to find links that
//! are no longer in it; faults of the file are in another check.

use std::path::Path;

use chrono::SecondsFormat;

use crate::clock;
use crate::disk;
use crate::domain::finding::Finding;
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::link::file;
use crate::link::overview::{self, LaneOverview, LinkOverview};
use crate::link::settings::LinkSet;
use crate::store::connection::database::Database;
use crate::store::links::refused::RefusedFilter;
use crate::store::links::refused_detail;

/// A message that waits longer than this is a warning, in seconds.
const WAITS_LONG: f64 = 60.0;

/// A day.
const DAY_SECONDS: i64 = 86_400;

/// Judges every link that the daemon knows. `path` is the links file.
pub(super) async fn check(
    database: &Database,
    path: Option<&Path>,
) -> Result<Vec<Finding>, Outage> {
    let links = overview::list(database).await?;
    if links.is_empty() {
        return Ok(vec![Finding::ok("there are no links to other brokers")]);
    }
    let now = clock::now();
    let set = match path.map(Path::to_owned) {
        None => Some(LinkSet::default()),
        Some(path) => {
            let own = path.clone();
            disk::run(&path, move || file::load(&own)).await.ok().and_then(Result::ok)
        }
    };
    let is_gone = |link: &LinkOverview| {
        link.state == overview::UNKNOWN
            && set.as_ref().is_some_and(|set| set.find(&link.link).is_none())
    };
    let judge_one = |link| if is_gone(link) { vec![gone(link)] } else { judge(link, now) };
    let mut findings: Vec<Finding> = links.iter().flat_map(judge_one).collect();
    for link in &links {
        let filter = RefusedFilter {
            link: link.link.parse().ok(),
            since: Some(now.plus_seconds(-DAY_SECONDS)),
            ..RefusedFilter::default()
        };
        let messages = refused_detail::count(database.pool(), &filter).await?;
        findings.extend((messages > 0).then(|| refused(&link.link, messages)));
    }
    Ok(findings)
}

// === private helpers ===

fn refused(name: &str, messages: u64) -> Finding {
    Finding::warning(
        format!("link {name} did not accept {messages} messages in the last day"),
        format!(
            "`sluice link refused list --link {name}` lists them; correct the cause and retry them"
        ),
    )
}

/// The links file does not have the link, and no daemon reports it.
fn gone(link: &LinkOverview) -> Finding {
    let LinkOverview { link: name, waiting, gap_messages, refused, .. } = link;
    Finding::warning(
        format!(
            "link {name} is not in the links file: {waiting} messages wait for it, {gap_messages} are in its gap, and it has \
             {refused} dead letters"
        ),
        format!(
            "add it to the links file again to send them, or delete all that belongs to it: `sluice link forget {name} --yes`"
        ),
    )
}

fn judge(link: &LinkOverview, now: Timestamp) -> Vec<Finding> {
    let name = &link.link;
    let mut findings = Vec::new();
    match link.state.as_str() {
        overview::UP | "standby" => {
            findings.push(Finding::ok(format!("link {name} is {}", link.state)));
        }
        overview::UNKNOWN => findings.push(Finding::warning(
            format!("no lane of link {name} has reported for a minute"),
            "start the daemon, or reload it: `systemctl reload sluice`",
        )),
        state => {
            let lane = link.lanes.iter().find(|lane| lane.state == state);
            let why = lane.and_then(|lane| lane.detail.clone()).unwrap_or_default();
            let what = format!("link {name} is {state}: {why}");
            findings.push(Finding::warning(what, advice(name, lane)));
        }
    }
    let waits = link.oldest.map(|oldest| now.seconds_since(Timestamp::from(oldest)));
    if let Some(seconds) = waits.filter(|seconds| *seconds > WAITS_LONG) {
        findings.push(Finding::warning(
            format!(
                "{} messages wait for link {name}, the oldest for {seconds:.0} s",
                link.waiting
            ),
            format!("`sluice link check {name}` finds out why the link does not hold"),
        ));
    }
    if let Some(gap) = link.gap_since {
        findings.push(Finding::warning(
            format!(
                "the backlog of link {name} was full: {} messages since {} are in telemetry only",
                link.gap_messages,
                gap.to_rfc3339_opts(SecondsFormat::Secs, true)
            ),
            "the daemon queues them when there is room; raise backlog_max_bytes if that happens often",
        ));
    }
    if link.lost > 0 {
        findings.push(Finding::warning(
            format!("{} messages of earlier gaps of link {name} could not be read back", link.lost),
            "raise backlog_max_bytes or TELEMETRY_RETENTION_DAYS",
        ));
    }
    findings
}

fn advice(name: &str, lane: Option<&LaneOverview>) -> String {
    let known = lane.and_then(|lane| lane.advice.clone());
    known.unwrap_or_else(|| format!("`sluice link check {name}` checks each step"))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::finding::Severity;

    fn link() -> LinkOverview {
        LinkOverview {
            link: "azure".into(),
            state: "up".into(),
            since: None,
            sent_per_second: None,
            sent_since: None,
            waiting: 0,
            waiting_bytes: 0,
            oldest: None,
            gap_since: None,
            gap_messages: 0,
            lost: 0,
            refused: 0,
            lanes: Vec::new(),
        }
    }

    #[test]
    fn a_link_that_is_gone_is_named_with_what_it_has() {
        let found = gone(&LinkOverview { waiting: 7, refused: 2, ..link() });
        assert!(found.what.contains("7 messages wait"), "{found:?}");
        assert!(found.advice.is_some_and(|text| text.contains("sluice link forget azure")));
    }

    #[test]
    fn a_link_that_is_up_and_empty_is_fine_and_each_illness_is_a_warning() {
        let now = Timestamp::from_micros(100_000_000);
        let one = judge(&link(), now);
        assert_eq!((one.len(), one[0].level), (1, Severity::Ok));
        for (ill, words) in [
            (LinkOverview { state: "refused".into(), ..link() }, "is refused"),
            (LinkOverview { state: "unknown".into(), ..link() }, "no lane"),
            (LinkOverview { oldest: Some(DateTime::UNIX_EPOCH), ..link() }, "the oldest for 100 s"),
            (LinkOverview { gap_since: Some(DateTime::UNIX_EPOCH), ..link() }, "backlog"),
            (LinkOverview { lost: 3, ..link() }, "3 messages"),
        ] {
            let found = judge(&ill, now);
            let warned = found.iter().find(|it| it.level == Severity::Warning).unwrap();
            assert!(warned.what.contains(words), "{found:?}");
        }
    }
}
