//! The connection of `listen`, `send` and `broadcast-demo`: who connects, and what its end means.
//!
//! It uses a client id of its own, so that the daemon keeps its session.

use crate::broker::remote::facts::RemoteFacts;
use crate::command::failure::{Exit, Failure};
use crate::command::text::printable;
use crate::domain::link::LinkName;
use crate::link::explain::codes::of_code;
use crate::link::explain::errors::{of_error, of_login};
use crate::link::explain::{CodePacket, LinkExplanation};
use crate::link::login::LoginSource;
use crate::link::settings::LinkSettings;
use crate::link::visit::{self, LinkVisit, VisitError};

/// The first code of a refusal.
pub const REFUSED: u8 = 0x80;

/// The client id of a command: the one of `--client-id`, or that of the link with a random suffix.
pub fn client_id(link: &LinkSettings, chosen: Option<&str>, verb: &str) -> String {
    if let Some(id) = chosen {
        return id.to_owned();
    }
    let random = getrandom::u32().unwrap_or_default() & 0xffff;
    visit::client_id(link, &format!("{verb}-{random:04x}"))
}

/// Refuses to subscribe as the daemon: the subscription would stay in its session, and the command would
/// take its messages.
pub fn may_subscribe(link: &LinkSettings, client_id: &str) -> Result<(), Failure> {
    if visit::is_of_daemon(link, client_id) {
        return Err(Failure::usage(format!(
            "the daemon connects as {client_id}: choose another --client-id, or leave it out"
        )));
    }
    Ok(())
}

/// Refuses what exceeds the limits of the link: the other broker would end the connection, without an
/// answer.
pub fn check_limits(link: &LinkSettings, topic: &str, payload: &[u8]) -> Result<(), Failure> {
    let limits = &link.limits;
    limits.check_topic(link.kind, topic).map_err(|error| Failure::usage(error.to_string()))?;
    if payload.len() > limits.payload_bytes {
        return Err(Failure::usage(format!(
            "the payload has {} bytes, at most {} are allowed",
            payload.len(),
            limits.payload_bytes
        )));
    }
    Ok(())
}

/// Connects as `client_id`.
pub async fn connect(
    link: &LinkSettings,
    login: &LoginSource,
    client_id: &str,
) -> Result<LinkVisit, Failure> {
    let target = visit::target(link, login, client_id).await;
    let target = target.map_err(|error| lost(link, client_id, &error.into()))?;
    let opened = LinkVisit::open(&target, link, &mut RemoteFacts::default()).await;
    opened.map_err(|error| lost(link, client_id, &error.into()))
}

/// Subscribes to all filters; one that is refused fails the command.
pub async fn subscribe(
    visit: &mut LinkVisit,
    link: &LinkSettings,
    client_id: &str,
    filters: &[String],
) -> Result<(), Failure> {
    let codes = visit.subscribe(filters).await;
    let codes = codes.map_err(|error| lost(link, client_id, &error))?;
    for (filter, code) in filters.iter().zip(codes) {
        if code >= REFUSED {
            let why = of_code(link, CodePacket::SubAck, code, Some(filter));
            return Err(refused(&link.name, client_id, &why));
        }
    }
    Ok(())
}

/// A refusal that the other broker has answered.
pub fn refused(link: &LinkName, client_id: &str, why: &LinkExplanation) -> Failure {
    Failure::new(
        Exit::Negative,
        format!("link {link} (client id {client_id}): {}", printable(&whole(why))),
    )
}

/// The connection ended, or there was none.
pub fn lost(link: &LinkSettings, client_id: &str, error: &VisitError) -> Failure {
    let why = match error {
        VisitError::Broker(error) => whole(&of_error(link, error)),
        VisitError::Login(error) => whole(&of_login(link, error)),
        other => other.to_string(),
    };
    let text = format!(
        "link {} (client id {client_id}): {}; `sluice link check {}` checks each step",
        link.name,
        printable(&why),
        link.name
    );
    let exit = match error {
        VisitError::Topic(_) => Exit::Usage,
        _ => Exit::Negative,
    };
    Failure::new(exit, text)
}

// === private helpers ===

/// What happened, the likely cause, and what to do.
fn whole(why: &LinkExplanation) -> String {
    format!("{why}; {}", why.advice)
}
