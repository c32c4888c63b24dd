//! Steps 8 to 12: the credentials, TLS, the clock, the websocket and CONNACK of one connection.
//!
//! One connect shows all of them. Without credentials it connects all the same, without a login, for what
//! TLS and the server's clock show.

use super::connack;
use super::report::CheckStep;
use super::server_clock;
use super::suspects::{self, Suspicion};
use super::tls_facts;
use crate::broker::error::BrokerError;
use crate::broker::remote::facts::{RemoteFacts, UpgradeFacts};
use crate::broker::remote::target::RemoteTarget;
use crate::clock;
use crate::domain::time::Timestamp;
use crate::link::aws::credentials::{CredentialError, CredentialSource};
use crate::link::aws::signing_keys::AwsCredentials;
use crate::link::explain::codes::of_code;
use crate::link::explain::errors::{of_error, of_login};
use crate::link::explain::{CodePacket, LinkExplanation};
use crate::link::kind::LinkKind;
use crate::link::login::{LinkLoginError, LoginSource};
use crate::link::settings::{LinkAuth, LinkSettings};
use crate::link::visit::{self, LinkVisit};

/// Codes that Event Grid may give when an authentication name has too many sessions.
const SESSION_CODES: [u8; 2] = [0x87, 0x97];

/// What one connect showed.
pub struct ConnectOutcome {
    /// The login.
    pub login: LoginSource,
    /// For a login with a signed URL.
    pub credentials: Option<Result<AwsCredentials, CredentialError>>,
    /// What was seen on the way.
    pub facts: RemoteFacts,
    /// Where it went; `None`: there is no login.
    pub target: Option<RemoteTarget>,
    /// How long a session would be kept, in seconds, for a link that needs one.
    pub session_expiry: Option<u32>,
    /// How it ended.
    pub result: Result<LinkVisit, ConnectFault>,
}

/// Why there is no session.
#[derive(Debug)]
pub enum ConnectFault {
    /// There is no login.
    Login(LinkLoginError),
    /// The connection failed.
    Broker(BrokerError),
}

/// Gets the credentials and connects.
pub async fn connect(link: &LinkSettings, client_id: &str) -> ConnectOutcome {
    let login = visit::login(link);
    let credentials = match login.credentials() {
        Some(source) => Some(source.current().await),
        None => None,
    };
    let mut facts = RemoteFacts::default();
    match visit::target(link, &login, client_id).await {
        Ok(target) => {
            let mut session_expiry = None;
            let opened = open(link, &target, &mut facts, &mut session_expiry).await;
            let result = opened.map_err(ConnectFault::Broker);
            let target = Some(target);
            ConnectOutcome { login, credentials, facts, target, session_expiry, result }
        }
        Err(error) => {
            without_login(link, client_id, &mut facts).await;
            let result = Err(ConnectFault::Login(error));
            let (target, session_expiry) = (None, None);
            ConnectOutcome { login, credentials, facts, target, session_expiry, result }
        }
    }
}

/// The steps of a connect, and the session if there is one.
pub async fn steps(
    link: &LinkSettings,
    outcome: ConnectOutcome,
    suspicion: Suspicion,
) -> (Vec<CheckStep>, Option<LinkVisit>) {
    let ConnectOutcome { login, credentials, facts, target, session_expiry, result } = outcome;
    let fault = result.as_ref().err();
    let stage = fault.map_or(0, |fault| stage(link, &facts, fault));
    let explained = fault.map(|fault| match fault {
        ConnectFault::Login(error) => of_login(link, error),
        ConnectFault::Broker(error) => of_error(link, error),
    });
    let mut steps = vec![tls_facts::tls(link, &facts, explained.as_ref().filter(|_| stage == 8))];
    let date = facts.upgrade.as_ref().and_then(|upgrade| upgrade.date.as_deref());
    let source = login.credentials();
    let difference = source.and_then(CredentialSource::clock_difference);
    let is_guest = source.is_some_and(|source| source.guest().is_some());
    let has_answer = is_guest && matches!(credentials, Some(Ok(_)));
    steps.push(server_clock::clock(link, date, difference, has_answer));
    steps.push(credentials_step(source, credentials.as_ref()));
    steps.push(upgrade(link, facts.upgrade.as_ref(), explained.as_ref().filter(|_| stage == 11)));
    let step = match (&result, explained) {
        (Ok(visit), _) => connack::accepted(link, visit.granted(), session_expiry),
        (Err(_), _) if stage < 12 => {
            CheckStep::skipped(12, "CONNACK", format!("step {stage} failed"))
        }
        (Err(fault), explained) => {
            refused(link, fault, explained, target.as_ref(), suspicion).await
        }
    };
    steps.push(step);
    (steps, result.ok())
}

// === private helpers ===

/// A visit has no session. For a link that needs one a connection before it shows how long a session
/// would be kept; with the session of the daemon the visit itself shows it.
async fn open(
    link: &LinkSettings,
    target: &RemoteTarget,
    facts: &mut RemoteFacts,
    session_expiry: &mut Option<u32>,
) -> Result<LinkVisit, BrokerError> {
    if link.ingest.is_empty() {
        return LinkVisit::open(target, link, facts).await;
    }
    if target.clean_start {
        *session_expiry = Some(visit::granted_expiry(target, link, facts).await?);
    }
    let visit = LinkVisit::open(target, link, facts).await?;
    session_expiry.get_or_insert(visit.granted().session_expiry);
    Ok(visit)
}

/// Connects for what TLS and HTTP show; the other broker refuses it.
async fn without_login(link: &LinkSettings, client_id: &str, facts: &mut RemoteFacts) {
    let anonymous = LinkSettings { auth: LinkAuth::Anonymous, ..link.clone() };
    let login = visit::login(&anonymous);
    let Ok(target) = visit::target(&anonymous, &login, client_id).await else { return };
    if let Ok(visit) = LinkVisit::open(&target, link, facts).await {
        visit.close().await;
    }
}

/// The number of the step that a fault belongs to.
fn stage(link: &LinkSettings, facts: &RemoteFacts, fault: &ConnectFault) -> u8 {
    let error = match fault {
        ConnectFault::Broker(error) => error,
        ConnectFault::Login(_) if is_signed(&link.auth) => return 10,
        ConnectFault::Login(_) => return 12,
    };
    match error {
        BrokerError::TlsFile { .. } | BrokerError::Tls { .. } => 8,
        BrokerError::Upgrade { .. } | BrokerError::NotUpgraded(_) => 11,
        _ if link.transport.is_encrypted() && facts.tls.is_none() => 8,
        _ if link.transport.is_websocket() && facts.upgrade.is_none() => 11,
        _ => 12,
    }
}

const fn is_signed(auth: &LinkAuth) -> bool {
    matches!(auth, LinkAuth::SigV4 { .. } | LinkAuth::Cognito { .. })
}

/// Step 10.
fn credentials_step(
    source: Option<&CredentialSource>,
    found: Option<&Result<AwsCredentials, CredentialError>>,
) -> CheckStep {
    let (Some(source), Some(found)) = (source, found) else {
        return CheckStep::skipped(10, "credentials", "this login needs no credentials of AWS");
    };
    let mut step = CheckStep::new(10, "credentials");
    match found {
        Ok(credentials) => {
            if let Some(guest) = source.guest() {
                step.note(format!(
                    "{} answers GetId and GetCredentialsForIdentity",
                    guest.endpoint()
                ));
            }
            step.note(described(credentials, clock::now()));
        }
        Err(error) => {
            step.fail(error.to_string(), error.advice());
            for field in match error {
                CredentialError::Cognito(_) => ["identity_pool_id", "region"].as_slice(),
                _ => &["credentials_file"],
            } {
                step.field(*field);
            }
        }
    }
    step
}

fn described(credentials: &AwsCredentials, now: Timestamp) -> String {
    let id: String = credentials.access_key_id.chars().take(4).collect();
    let token = if credentials.session_token.is_some() { "with" } else { "without" };
    let end = match credentials.expires {
        Some(_) => format!("valid for {:.0} s", credentials.seconds_left(now)),
        None => "without an end that is known".to_owned(),
    };
    format!("access key {id}..., {token} a session token, {end}")
}

/// Step 11.
fn upgrade(
    link: &LinkSettings,
    facts: Option<&UpgradeFacts>,
    fault: Option<&LinkExplanation>,
) -> CheckStep {
    if !link.transport.is_websocket() {
        return CheckStep::skipped(11, "websocket", "the link uses no websocket");
    }
    let mut step = CheckStep::new(11, "websocket");
    let Some(answer) = facts else {
        if let Some(why) = fault {
            step.fail(why.to_string(), why.advice.clone());
            return step;
        }
        return CheckStep::skipped(11, "websocket", "an earlier step failed");
    };
    let kind = answer.error_type.as_deref().map(|kind| format!(" {kind}")).unwrap_or_default();
    let said = answer.message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
    step.note(format!("HTTP status {}{kind}{said}", answer.status));
    if let Some(why) = fault {
        step.fail(why.to_string(), why.advice.clone());
        if answer.status == 403 && link.kind == LinkKind::AwsIot {
            forbidden(&mut step, link);
        }
    }
    step
}

/// What a 403 can mean, in the order in which it is checked.
fn forbidden(step: &mut CheckStep, link: &LinkSettings) {
    step.note("403 has four causes: the clock (step 9), the credentials (step 10), the region, the policy");
    step.advice.push(format!(
        "compare region with the host {}: the signature names the region",
        link.host
    ));
    step.advice.push(
        "the policy of the credentials must allow iot:Connect for the client id; guests need client ids public-* and \
         topics public/*"
            .to_owned(),
    );
    step.field("region").field("client_id");
}

/// Step 12, refused or without an answer.
async fn refused(
    link: &LinkSettings,
    fault: &ConnectFault,
    explained: Option<LinkExplanation>,
    target: Option<&RemoteTarget>,
    suspicion: Suspicion,
) -> CheckStep {
    let mut step = CheckStep::new(12, "CONNACK");
    let why = match fault {
        ConnectFault::Broker(BrokerError::Refused { code, reason, server }) => {
            if let Some(reason) = reason {
                step.note(format!("the other broker says: {reason}"));
            }
            if let Some(server) = server {
                step.note(format!("the other broker names the server {server}"));
            }
            if link.kind == LinkKind::EventGrid && SESSION_CODES.contains(code) {
                step.note(format!(
                    "the check has a session of its own, and Event Grid counts those of one authentication name: \
                     --client-id {} connects in place of the daemon, which loses its connection and then connects again",
                    link.client_id_of(0)
                ));
            }
            of_code(link, CodePacket::ConnAck, *code, None)
        }
        _ => match explained {
            Some(why) => why,
            None => return step,
        },
    };
    step.fail(why.to_string(), why.advice);
    if let (ConnectFault::Broker(error), Some(target)) = (fault, target)
        && suspects::concerns(error)
    {
        suspects::search(&mut step, link, target, suspicion).await;
    }
    step
}
