//! A visit at the other broker: one connection without session state, for commands and checks.
//!
//! It forwards nothing, stores nothing and never reconnects. Messages that arrive are acknowledged when
//! they are taken. With the client id of the daemon it leaves the daemon's session as it is.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::timeout;

use crate::broker::error::BrokerError;
use crate::broker::remote::connection::RemoteConnection;
use crate::broker::remote::event::RemoteEvent;
use crate::broker::remote::facts::RemoteFacts;
use crate::broker::remote::grants::RemoteGrants;
use crate::broker::remote::target::RemoteTarget;
use crate::broker::transport::publish_encoder::Unpublishable;
use crate::clock;
use crate::domain::exchange::{OutgoingMessage, PublishTopicError};
use crate::domain::message::ConnectionId;
use crate::domain::remote::RemoteMessage;
use crate::domain::time::Clock;
use crate::link::aws::identity::IdentityKeeper;
use crate::link::login::{LinkLoginError, LoginSource};
use crate::link::settings::LinkSettings;

/// How long the other broker may take to answer a SUBSCRIBE, a PUBLISH or an AUTH.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// Messages that may arrive while an answer is awaited; the oldest is dropped beyond that.
const ARRIVED_MAX: usize = 1000;

/// Messages that the other broker may send without an acknowledgement. Event Grid stops at 16.
const RECEIVE_MAXIMUM: u16 = 16;

/// The connection number of a visit: it is the only one of its process.
const VISIT: ConnectionId = ConnectionId::of_link(0, 0);

/// One connection.
pub struct LinkVisit {
    connection: RemoteConnection,
    arrived: VecDeque<RemoteMessage>,
    filters_per_subscribe: usize,
    keeps_session: bool,
}

/// Why a visit failed.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// There is no login.
    #[error(transparent)]
    Login(#[from] LinkLoginError),
    /// The connection failed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The topic is no topic.
    #[error(transparent)]
    Topic(#[from] PublishTopicError),
    /// No answer.
    #[error("the other broker did not answer {packet} within {} s", ANSWER_PATIENCE.as_secs())]
    NoAnswer {
        /// The packet without an answer.
        packet: &'static str,
    },
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisitAnswer {
    /// The code of PUBACK; 0x80 and above: refused. Also the code for what exceeds the limits of CONNACK,
    /// which is not sent.
    pub code: u8,
    /// The reason text of PUBACK.
    pub reason: Option<String>,
}

/// The login of a command. Without a database, the user's cache keeps the identity of a guest.
pub fn login(link: &LinkSettings) -> LoginSource {
    LoginSource::new(link, IdentityKeeper::of_user(&link.name), clock::now)
}

/// Whether the daemon connects with this client id.
pub fn is_of_daemon(link: &LinkSettings, client_id: &str) -> bool {
    (0..link.lanes.max(1)).any(|lane| link.client_id_of(lane) == client_id)
}

/// Whether the daemon has a session with this client id that holds messages.
fn has_session(link: &LinkSettings, client_id: &str) -> bool {
    !link.ingest.is_empty() && link.client_id_of(0) == client_id
}

/// Where a visit connects, and as which client.
pub async fn target(
    link: &LinkSettings,
    login: &LoginSource,
    client_id: &str,
) -> Result<RemoteTarget, LinkLoginError> {
    let own = LinkSettings { client_id: client_id.to_owned(), lanes: 1, ..link.clone() };
    let mut target = login.target(&own, 0).await?;
    target.broker.receive_maximum = RECEIVE_MAXIMUM;
    // The session of the daemon holds messages for it: the visit takes over, and leaves them there.
    target.clean_start = !has_session(link, client_id);
    if target.clean_start {
        target.broker.session_expiry_seconds = 0;
    }
    Ok(target)
}

/// How long the other broker keeps a session of a client of its own that wants it for as long as the
/// link does. The session is empty, and ends with this call: also if it fails, nothing waits in it.
pub async fn granted_expiry(
    target: &RemoteTarget,
    link: &LinkSettings,
    facts: &mut RemoteFacts,
) -> Result<u32, BrokerError> {
    let mut target = target.clone();
    target.broker.session_expiry_seconds = link.limits.session_expiry_seconds;
    let connection = RemoteConnection::open(&target, clock::now, VISIT, facts).await?;
    let granted = connection.granted().session_expiry;
    connection.close_session().await;
    Ok(granted)
}

/// The client id of a visit: that of the link with a suffix, so that the daemon keeps its session.
pub fn client_id(link: &LinkSettings, suffix: &str) -> String {
    format!("{}-{suffix}", link.client_id)
}

// === impl LinkVisit ===

impl LinkVisit {
    /// Connects; `facts` holds what was seen, also after a failure.
    pub async fn open(
        target: &RemoteTarget,
        link: &LinkSettings,
        facts: &mut RemoteFacts,
    ) -> Result<Self, BrokerError> {
        Self::open_by(clock::now, target, link, facts).await
    }

    /// The same by another clock: its time is that of the token.
    pub async fn open_by(
        clock: Clock,
        target: &RemoteTarget,
        link: &LinkSettings,
        facts: &mut RemoteFacts,
    ) -> Result<Self, BrokerError> {
        let connection = RemoteConnection::open(target, clock, VISIT, facts).await?;
        let filters_per_subscribe = link.limits.filters_per_subscribe.max(1);
        let (arrived, keeps_session) = (VecDeque::new(), !target.clean_start);
        Ok(Self { connection, arrived, filters_per_subscribe, keeps_session })
    }

    /// Whether the session is the daemon's: a subscription stays in it, and a message that is taken is
    /// lost to the daemon.
    pub const fn keeps_session(&self) -> bool {
        self.keeps_session
    }

    /// What CONNACK granted.
    pub fn granted(&self) -> &RemoteGrants {
        self.connection.granted()
    }

    /// Subscribes to all filters at QoS 1 and waits for every SUBACK; the code of each filter.
    pub async fn subscribe(&mut self, filters: &[String]) -> Result<Vec<u8>, VisitError> {
        let mut codes = Vec::with_capacity(filters.len());
        for part in filters.chunks(self.filters_per_subscribe) {
            let wanted: Vec<(&str, u8)> = part.iter().map(|filter| (filter.as_str(), 1)).collect();
            let own = self.connection.subscribe(&wanted)?;
            let answer = self.answer("SUBSCRIBE", |event| match event {
                RemoteEvent::Granted { packet_id, codes } if *packet_id == own => {
                    Some(codes.clone())
                }
                _ => None,
            });
            codes.extend(answer.await?);
        }
        Ok(codes)
    }

    /// Publishes at QoS 1 and waits for PUBACK.
    pub async fn publish(&mut self, message: &OutgoingMessage) -> Result<VisitAnswer, VisitError> {
        let own = match self.connection.publish(message) {
            Ok(own) => own,
            Err(Unpublishable(code)) => return Ok(VisitAnswer { code, reason: None }),
        };
        self.answer("PUBLISH", |event| match event {
            RemoteEvent::Answered { packet_id, code, reason } if *packet_id == own => {
                Some(VisitAnswer { code: *code, reason: reason.clone() })
            }
            _ => None,
        })
        .await
    }

    /// Renews the login on the connection and waits for the answer.
    pub async fn renew(&mut self) -> Result<(), VisitError> {
        self.connection.renew_now();
        self.answer("AUTH", |event| matches!(event, RemoteEvent::Renewed).then_some(())).await
    }

    /// The next message. Waits as long as the connection lives; cancel safe.
    pub async fn message(&mut self) -> Result<RemoteMessage, BrokerError> {
        loop {
            if let Some(message) = self.arrived.pop_front() {
                if let Some(ack) = &message.ack {
                    self.connection.acknowledge(ack);
                }
                return Ok(message);
            }
            if let RemoteEvent::Message(message) = self.connection.next().await? {
                self.arrived.push_back(message);
            }
        }
    }

    /// Says DISCONNECT and closes the connection.
    pub async fn close(self) {
        self.connection.close().await;
    }

    /// Waits for one event; messages that arrive meanwhile are kept.
    async fn answer<T>(
        &mut self,
        packet: &'static str,
        read: impl Fn(&RemoteEvent) -> Option<T>,
    ) -> Result<T, VisitError> {
        let wait = async {
            loop {
                let event = self.connection.next().await?;
                if let Some(answer) = read(&event) {
                    return Ok(answer);
                }
                if let RemoteEvent::Message(message) = event {
                    if self.arrived.len() == ARRIVED_MAX {
                        self.arrived.pop_front();
                    }
                    self.arrived.push_back(message);
                }
            }
        };
        timeout(ANSWER_PATIENCE, wait).await.map_err(|_| VisitError::NoAnswer { packet })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::file::parse;

    async fn visited(file: &str, client_id: &str) -> (bool, u32) {
        let link = parse(file).unwrap().links.remove(0);
        let target = target(&link, &login(&link), client_id).await.unwrap();
        (target.clean_start, target.broker.session_expiry_seconds)
    }

    #[tokio::test]
    async fn only_the_session_of_the_daemon_is_kept() {
        let base = "[link.x]\nkind = 'mqtt'\nhost = 'h'\nclient_id = 'c'\nauth = 'none'\n\
            session_expiry = '1h'\npublish = [{ from = '#', to = 'a' }]\n";
        let ingest = "ingest = [{ filter = 'b', tenant = 't', device = 'd' }]\n";
        let both = format!("{base}{ingest}");
        assert_eq!(visited(&both, "c").await, (false, 3600));
        assert_eq!(visited(&both, "c-check").await, (true, 0));
        assert_eq!(visited(base, "c").await, (true, 0));
        let lanes = format!("{both}lanes = 2\n");
        assert_eq!(visited(&lanes, "c-0").await, (false, 3600));
        assert_eq!(visited(&lanes, "c-1").await, (true, 0));
        let link = parse(&lanes).unwrap().links.remove(0);
        assert!(is_of_daemon(&link, "c-1") && !is_of_daemon(&link, "c"));
    }
}
