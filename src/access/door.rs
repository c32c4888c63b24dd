//! The door: who asks, and may it? One answer to each question of the broker.
//!
//! It answers from memory. Only who is not known there is looked up, within a bound: the broker stands still meanwhile. What
//! cannot be found out is denied.

use std::future::Future;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::decision::Because;
use super::denial::Denial;
use super::guest::{GuestId, GuestRefusal};
use super::logins::{Logins, Recalled};
use super::rulebook::Rulebook;
use super::subject::{Subject, SubjectKind};
use super::tokens::Tokens;
use crate::domain::device::{Device, Standing};
use crate::domain::ids::DeviceKey;
use crate::domain::login::Login;
use crate::domain::ports::Outage;
use crate::domain::time::{Clock, Timestamp};
use crate::domain::verdict::{Reason, Refusal};

/// Whom the door asks what it does not know. Each answers within the broker's patience, or with an outage.
pub trait Knowledge: Send + Sync + 'static {
    /// What the registry says of a device.
    fn standing(&self, device: &DeviceKey) -> impl Future<Output = Result<Standing, Outage>> + Send;

    /// The login under these names.
    fn login(&self, username: &str, client_id: &str) -> impl Future<Output = Result<Option<Login>, Outage>> + Send;

    /// Whether this name and token, under this client id, are a guest's.
    fn guest(
        &self,
        username: &str,
        token: &str,
        client_id: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<Subject, GuestRefusal>> + Send;
}

/// Answers the broker.
pub struct Door<K> {
    knowledge: K,
    tokens: Tokens,
    logins: Logins,
    rulebook: Rulebook,
    clock: Clock,
    /// Sluice's own at the broker: whoever took it would end Sluice's session.
    own_client_id: Box<str>,
    /// A device by certificate is believed while one of its certificates in the registry is good.
    certificates_count: bool,
}

/// By what somebody is known to the broker.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The token of an Authorization header.
    bearer: Option<&'a str>,
    /// The user name; with certificates, the common name.
    username: Option<&'a str>,
    client_id: &'a str,
}

/// The end of a login that stands for itself at each question, or of one that has to be remembered.
enum Proved {
    EachTime(Arc<Subject>),
    AtLogin(Arc<Subject>),
}

// === impl Door ===

impl<K: Knowledge> Door<K> {
    /// A door that asks these.
    pub fn new(
        knowledge: K,
        tokens: Tokens,
        logins: Logins,
        rulebook: Rulebook,
        clock: Clock,
        own_client_id: &str,
        certificates_count: bool,
    ) -> Self {
        let own_client_id = own_client_id.into();
        Self { knowledge, tokens, logins, rulebook, clock, own_client_id, certificates_count }
    }

    /// May it log in? A device by certificate is never asked about here: the broker has let it in by itself.
    pub async fn user(&self, caller: Caller<'_>, password: Option<&str>) -> Result<(), Denial> {
        self.check_client_id(caller)?;
        if let Some(token) = caller.token() {
            return self.tokens.login(token, self.clock).await.map(drop).map_err(Denial::from);
        }
        let username = caller.username.ok_or(Denial::Nobody)?;
        let password = password.filter(|password| !password.is_empty()).ok_or(Denial::NoPassword)?;
        // Ahead of everything else: no token makes anybody a device.
        if let Ok(device) = DeviceKey::of_common_name(username) {
            return self.device_by_token(&device, password).await;
        }
        let subject = self.stranger(username, password, caller.client_id).await?;
        self.check_names(username, caller.client_id, &subject).await?;
        Ok(self.logins.remember(username, caller.client_id, subject, (self.clock)())?)
    }

    /// Is everything open to it? Then the broker asks about no topic.
    pub fn superuser(&self, caller: Caller<'_>) -> Result<(), Denial> {
        // A user name alone tells no login: whoever is a superuser by a password's token is told so at each topic.
        let token = caller.token().ok_or(Denial::NoSuperuser)?;
        let subject = self.tokens.verify(token, (self.clock)())?;
        if self.rulebook.policy().is_superuser(&subject) { Ok(()) } else { Err(Denial::NoSuperuser) }
    }

    /// May it do that with these topics?
    pub async fn acl(&self, caller: Caller<'_>, acc: u8, topic: &str) -> Result<(), Denial> {
        let proved = self.who(caller).await?;
        let policy = self.rulebook.policy();
        let (Proved::AtLogin(subject) | Proved::EachTime(subject)) = &proved;
        let decision = policy.decide(subject, caller.client_id, acc, topic);
        // A superuser by a password's token lacks no rule; what is denied, or makes no sense, stays so.
        let lacks_a_rule = matches!(decision.because, Because::NoRule | Because::NotCapable);
        let is_superuser = matches!(proved, Proved::AtLogin(_)) && lacks_a_rule && policy.is_superuser(subject);
        if decision.allowed || is_superuser { Ok(()) } else { Err(Denial::Policy(decision.to_string())) }
    }

    /// The broker ends the session that has the same client id: nobody takes that of a device or of Sluice.
    fn check_client_id(&self, caller: Caller<'_>) -> Result<(), Denial> {
        let device = caller.username.and_then(|name| DeviceKey::of_common_name(name).ok());
        let named = DeviceKey::of_common_name(caller.client_id).ok();
        // A guest's are bounded more narrowly, where its credential is looked at.
        let is_guest = caller.username.is_some_and(|name| name.parse::<GuestId>().is_ok());
        let is_another = named.is_some() && named != device;
        let is_taken = !is_guest && (is_another || *caller.client_id == *self.own_client_id);
        if is_taken { Err(Denial::ClientId) } else { Ok(()) }
    }

    /// At a topic the broker tells nothing but these names, so two who are in at once must not share them. Who else has
    /// them has to be known; while it cannot be, nobody new gets them.
    async fn check_names(&self, username: &str, client_id: &str, subject: &Subject) -> Result<(), Denial> {
        let now = (self.clock)();
        let known = match self.logins.recall(username, client_id, now) {
            Recalled::Somebody(known) => Some(known),
            Recalled::Nobody => None,
            Recalled::Unknown => {
                let found = self.knowledge.login(username, client_id).await.map_err(Denial::Fault)?;
                self.logins.learned(username, client_id, found, now)
            }
        };
        let is_another = known.is_some_and(|known| known.kind != subject.kind || known.id != subject.id);
        if is_another { Err(Denial::NamesTaken) } else { Ok(()) }
    }

    async fn who(&self, caller: Caller<'_>) -> Result<Proved, Denial> {
        let now = (self.clock)();
        if let Some(token) = caller.token() {
            return Ok(Proved::EachTime(self.tokens.verify(token, now)?));
        }
        let username = caller.username.ok_or(Denial::Nobody)?;
        if let Ok(device) = DeviceKey::of_common_name(username) {
            return self.device_of_broker(device, now).await.map(|subject| Proved::EachTime(Arc::new(subject)));
        }
        let subject = match self.logins.recall(username, caller.client_id, now) {
            Recalled::Somebody(subject) => subject,
            Recalled::Nobody => return Err(Denial::NoLogin),
            Recalled::Unknown => {
                let found = self.knowledge.login(username, caller.client_id).await.map_err(Denial::Fault)?;
                self.logins.learned(username, caller.client_id, found, now).ok_or(Denial::NoLogin)?
            }
        };
        Ok(Proved::AtLogin(subject))
    }

    /// Not a device: a bearer of a token, or a guest.
    async fn stranger(&self, username: &str, password: &str, client_id: &str) -> Result<Arc<Subject>, Denial> {
        if username.parse::<GuestId>().is_ok() {
            let asked = self.knowledge.guest(username, password, client_id, (self.clock)());
            return asked.await.map(Arc::new).map_err(Denial::Guest);
        }
        // A slash is for the names of devices, also for those that are misspelled.
        if Tokens::is_token(password) && !username.contains('/') {
            return Ok(self.tokens.login(password, self.clock).await?);
        }
        Err(Denial::NoToken)
    }

    async fn device_by_token(&self, device: &DeviceKey, password: &str) -> Result<(), Denial> {
        let standing = self.knowledge.standing(device).await.map_err(Denial::Fault)?;
        let registered = standing.active().map_err(Denial::Device)?;
        check_token(registered, password).map_err(Denial::Device)
    }

    /// The broker says it is this device: by its certificate, or because we let it in by its token.
    async fn device_of_broker(&self, device: DeviceKey, now: Timestamp) -> Result<Subject, Denial> {
        let standing = self.knowledge.standing(&device).await.map_err(Denial::Fault)?;
        let registered = standing.active().map_err(Denial::Device)?;
        if self.certificates_count && registered.token.is_none() && !registered.holds_certificate_at(now) {
            let detail = "no certificate of the device is good now, and it has no token";
            return Err(Denial::Device(Refusal::new(Reason::TokenMissing, detail)));
        }
        let id = device.identity().into();
        let kind = SubjectKind::Device(device);
        Ok(Subject { kind, id, groups: Vec::new(), scopes: Vec::new(), expires_at: None })
    }
}

// === impl Caller ===

impl<'a> Caller<'a> {
    /// The plugin's jwt backend puts every user name where a token belongs, also a certificate's common name.
    pub fn new(bearer: Option<&'a str>, username: Option<&'a str>, client_id: &'a str) -> Self {
        let name = bearer.filter(|bearer| DeviceKey::of_common_name(bearer).is_ok());
        if name.is_some() {
            return Self { bearer: None, username: name, client_id };
        }
        Self { bearer, username, client_id }
    }

    /// The token by which it is known at each question.
    fn token(&self) -> Option<&'a str> {
        self.bearer.or(self.username.filter(|username| Tokens::is_token(username)))
    }
}

// === private helpers ===

fn check_token(device: &Device, password: &str) -> Result<(), Refusal> {
    let expected = device.token.as_ref().ok_or_else(|| {
        Refusal::new(Reason::TokenNotSet, "the registry holds no token for the device: sluice device set-token")
    })?;
    let given: [u8; 32] = Sha256::digest(password).into();
    if bool::from(given.ct_eq(&expected.0)) {
        Ok(())
    } else {
        Err(Refusal::new(Reason::TokenInvalid, "the password is not the device's provisioning token"))
    }
}
