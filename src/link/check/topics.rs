//! Steps 13 to 15: subscribe, publish with its echo, and renew the login on the connection.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::report::CheckStep;
use crate::broker::error::BrokerError;
use crate::config::sections::broker::JwtPlace;
use crate::domain::exchange::{OutgoingMessage, PublishTopic};
use crate::link::explain::codes::of_code;
use crate::link::explain::errors::of_error;
use crate::link::explain::{CodePacket, LinkExplanation};
use crate::link::receiver::addressing::plain_filter;
use crate::link::settings::{LinkAuth, LinkSettings};
use crate::link::visit::{LinkVisit, VisitError};

/// The first code of a refusal.
const REFUSED: u8 = 0x80;

/// How long the echo of a message may take.
const ECHO_PATIENCE: Duration = Duration::from_secs(10);

/// Step 13, and the filters that were granted.
pub async fn subscribe(
    visit: &mut LinkVisit,
    link: &LinkSettings,
    publish: Option<&str>,
) -> (CheckStep, Vec<String>) {
    let keeps_session = visit.keeps_session();
    // What is subscribed to besides the rules would stay in the daemon's session.
    let publish = publish.filter(|_| !keeps_session);
    let of_rules = link
        .ingest
        .iter()
        .map(|rule| if keeps_session { rule.filter.clone() } else { own_group(&rule.filter) });
    let mut filters: Vec<String> = of_rules.collect();
    if let Some(topic) = publish.filter(|topic| !filters.iter().any(|filter| filter == topic)) {
        filters.push(topic.to_owned());
    }
    if filters.is_empty() {
        let why = "the link has no ingest rules, and no --publish was given";
        return (CheckStep::skipped(13, "SUBACK", why), filters);
    }
    let mut step = CheckStep::new(13, "SUBACK");
    let codes = match visit.subscribe(&filters).await {
        Ok(codes) => codes,
        Err(error) => {
            ended(&mut step, link, &error);
            return (step, Vec::new());
        }
    };
    let mut granted = Vec::new();
    for (filter, code) in filters.into_iter().zip(codes) {
        match code {
            0 => {
                step.warn(
                    format!("{filter}: granted at QoS 0, where messages may be lost"),
                    "allow QoS 1 at the other broker",
                );
                granted.push(filter);
            }
            1..REFUSED => {
                step.note(format!("{filter}: granted at QoS {code}"));
                granted.push(filter);
            }
            _ if Some(filter.as_str()) == publish => {
                step.note(format!(
                    "{filter}: refused with code 0x{code:02X}, so the echo of --publish cannot be seen; \
                     a client that only publishes needs no right to subscribe"
                ));
            }
            _ => {
                refused(&mut step, &of_code(link, CodePacket::SubAck, code, Some(&filter)));
                step.field("ingest");
            }
        }
    }
    if keeps_session {
        // Messages that arrive are the daemon's: none is taken.
        granted.clear();
    }
    (step, granted)
}

/// Step 14.
pub async fn publish(
    visit: &mut LinkVisit,
    link: &LinkSettings,
    topic: Option<&str>,
    granted: &[String],
) -> CheckStep {
    let Some(topic) = topic else {
        return CheckStep::skipped(14, "PUBACK", "--publish TOPIC sends a message");
    };
    let mut step = CheckStep::new(14, "PUBACK");
    if let Err(error) = link.limits.check_topic(link.kind, topic) {
        step.fail(error.to_string(), "choose a shorter topic").field("publish");
        return step;
    }
    let random = getrandom::u64().unwrap_or_default();
    let text = format!("{{\"sluice_check\":\"{random:016x}\"}}");
    let message = match PublishTopic::at_other_broker(topic) {
        Ok(topic) => OutgoingMessage::json(topic, text.clone()),
        Err(error) => {
            step.fail(format!("{topic}: {error}"), "choose a valid topic");
            return step;
        }
    };
    let begun = Instant::now();
    match visit.publish(&message).await {
        Ok(answer) if answer.code < REFUSED => {
            let millis = begun.elapsed().as_millis();
            step.note(format!("{topic}: acknowledged after {millis} ms"));
        }
        Ok(answer) => {
            let why = of_code(link, CodePacket::PubAck, answer.code, Some(topic));
            refused(&mut step, &why);
            step.field("publish");
            return step;
        }
        Err(error) => {
            ended(&mut step, link, &error);
            return step;
        }
    }
    if granted.iter().any(|filter| filter == topic) {
        echo(visit, &mut step, link, &text, begun).await;
    } else {
        step.note("the echo cannot be seen: there is no subscription to the topic");
    }
    step
}

/// Step 15.
pub async fn renew(visit: &mut LinkVisit, link: &LinkSettings) -> CheckStep {
    let LinkAuth::Jwt { token, .. } = &link.auth else {
        return CheckStep::skipped(15, "renewal", "this login is not renewed on the connection");
    };
    if token.place != JwtPlace::Enhanced {
        let why = "only enhanced authentication is renewed on the connection; Sluice connects again with a new token";
        return CheckStep::skipped(15, "renewal", why);
    }
    let mut step = CheckStep::new(15, "renewal");
    match visit.renew().await {
        Ok(()) => {
            step.note("AUTH with a new token is accepted on the connection");
        }
        Err(error) => ended(&mut step, link, &error),
    }
    step
}

// === private helpers ===

/// The filter in a group of its own: the check gets copies, and takes no message of the daemon's group.
fn own_group(filter: &str) -> String {
    let plain = plain_filter(filter);
    if plain == filter { filter.to_owned() } else { format!("$share/sluice-check/{plain}") }
}

async fn echo(
    visit: &mut LinkVisit,
    step: &mut CheckStep,
    link: &LinkSettings,
    text: &str,
    begun: Instant,
) {
    let wait = async {
        loop {
            if visit.message().await?.payload == text.as_bytes() {
                return Ok::<_, BrokerError>(begun.elapsed().as_millis());
            }
        }
    };
    match timeout(ECHO_PATIENCE, wait).await {
        Ok(Ok(millis)) => {
            step.note(format!("the message came back after {millis} ms"));
        }
        Ok(Err(error)) => ended(step, link, &VisitError::Broker(error)),
        Err(_) => {
            step.warn(
                format!("the message did not come back within {} s", ECHO_PATIENCE.as_secs()),
                "the right to receive may be missing (iot:Receive at AWS), or a rule takes the message",
            );
        }
    }
}

/// The connection ended during a step.
fn ended(step: &mut CheckStep, link: &LinkSettings, error: &VisitError) {
    match error {
        VisitError::Broker(error) => refused(step, &of_error(link, error)),
        VisitError::NoAnswer { .. } => {
            step.fail(error.to_string(), "the other broker is overloaded, or drops the packet");
        }
        other => {
            step.fail(other.to_string(), "correct the topic");
        }
    }
}

fn refused(step: &mut CheckStep, why: &LinkExplanation) {
    step.fail(why.to_string(), why.advice.clone());
}

#[cfg(test)]
mod tests {
    use super::own_group;

    #[test]
    fn a_shared_filter_gets_a_group_of_its_own() {
        assert_eq!(own_group("$share/sluice/a/+/b"), "$share/sluice-check/a/+/b");
        assert_eq!(own_group("a/+/b"), "a/+/b");
    }
}
