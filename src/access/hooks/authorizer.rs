//! The door: who asks, and may it? One answer to each question of the broker.
//!
//! It answers from memory. Only who is not known there is looked up, within a bound: the broker stands still meanwhile. What
//! cannot be found out is denied.

use std::future::Future;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::caller::{Caller, Claim};
use super::denial::Denial;
use super::guest::GuestRefusal;
use super::logins::{Holder, LoginAnswer, Logins};
use super::reserved_names::{Reserved, Taken};
use super::subject::Subject;
use crate::access::policy::decision::Because;
use crate::access::policy::reloading::ActivePolicy;
use crate::access::tokens::cache::Tokens;
use crate::domain::broker_login::BrokerLogin;
use crate::domain::device::{Device, RegistryAnswer};
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::{Clock, Timestamp};

/// Whom the door asks what it does not know. Each answers within the broker's patience, or with an outage.
pub trait HookLookup: Send + Sync + 'static {
    /// What the registry says of a device.
    fn standing(&self, device: &DeviceKey) -> impl Future<Output = Result<RegistryAnswer, Outage>> + Send;

    /// The login under these names.
    fn login(
        &self,
        username: &str,
        client_id: &str,
    ) -> impl Future<Output = Result<Option<BrokerLogin>, Outage>> + Send;

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
pub struct HookAuthorizer<K> {
    knowledge: K,
    tokens: Tokens,
    logins: Logins,
    rulebook: ActivePolicy,
    clock: Clock,
    /// What is Sluice's own at the broker: whoever took it would have Sluice's rights, or end its session.
    reserved: Reserved,
    /// A device by certificate is believed while one of its certificates in the registry is good.
    certificates_count: bool,
}

/// The end of a login that stands for itself at each question, or of one that has to be remembered.
enum Identity {
    EachTime(Arc<Subject>),
    AtLogin(Arc<Subject>),
}

// === impl Door ===

impl<K: HookLookup> HookAuthorizer<K> {
    /// A door that asks these.
    pub fn new(
        knowledge: K,
        tokens: Tokens,
        logins: Logins,
        rulebook: ActivePolicy,
        clock: Clock,
        reserved: Reserved,
        certificates_count: bool,
    ) -> Self {
        Self { knowledge, tokens, logins, rulebook, clock, reserved, certificates_count }
    }

    /// May it log in? A device by certificate is never asked about here: the broker has let it in by itself.
    pub async fn user(&self, caller: Caller<'_>, password: Option<&str>) -> Result<(), Denial> {
        let claim = caller.claim();
        self.check_client_id(&claim, caller.client_id)?;
        if let Claim::Token { token, name } = claim {
            let proof = self.tokens.login(token, self.clock).await?;
            return check_name(name, &proof.subject);
        }
        let password = password.filter(|password| !password.is_empty()).ok_or(Denial::NoPassword);
        let username = match &claim {
            // Ahead of everything else: no token makes anybody a device.
            Claim::Device(device) => {
                self.check_reserved_name(&caller)?;
                return self.device_by_token(device, password?).await;
            }
            // By its certificate alone, about which nobody asks here.
            Claim::Probe => return Err(Denial::NoToken),
            Claim::Guest(username) | Claim::Name(username) => *username,
            Claim::Nobody | Claim::Token { .. } => return self.nameless(password.map_err(|_| Denial::Nobody)?).await,
        };
        let holder = match claim {
            Claim::Guest(_) => self.guest(username, password?, caller.client_id).await?,
            _ => self.stranger(username, password?).await?,
        };
        self.check_names(username, caller.client_id, &holder).await?;
        let known = holder.clone();
        let keeps_them = |other: &Holder| self.is_another(other, &known);
        self.logins.remember(username, caller.client_id, holder, (self.clock)(), keeps_them)
    }

    /// Is everything open to it? Then the broker asks about no topic.
    pub fn superuser(&self, caller: Caller<'_>) -> Result<(), Denial> {
        // A user name alone tells no login: whoever is a superuser by a password's token is told so at each topic.
        let Claim::Token { token, name } = caller.claim() else { return Err(Denial::NoSuperuser) };
        let proof = self.tokens.verify(token, (self.clock)())?;
        check_name(name, &proof.subject)?;
        if self.rulebook.policy().is_superuser(&proof.subject) { Ok(()) } else { Err(Denial::NoSuperuser) }
    }

    /// May it do that with these topics?
    pub async fn acl(&self, caller: Caller<'_>, acc: u8, topic: &str) -> Result<(), Denial> {
        self.check_reserved(&caller)?;
        let proved = self.who(caller).await?;
        let policy = self.rulebook.policy();
        let (Identity::AtLogin(subject) | Identity::EachTime(subject)) = &proved;
        let decision = policy.decide(subject, caller.client_id, acc, topic);
        // A superuser by a password's token lacks no rule; what is denied, or makes no sense, stays so.
        let lacks_a_rule = matches!(decision.because, Because::NoRule | Because::NotCapable);
        let is_superuser = matches!(proved, Identity::AtLogin(_)) && lacks_a_rule && policy.is_superuser(subject);
        if decision.allowed || is_superuser { Ok(()) } else { Err(Denial::Policy(decision.to_string())) }
    }

    /// The broker ends the session that has the same client id: nobody takes that of a device or of a replica. Whose it is
    /// goes by the proof that is offered, never by a name beside a token.
    fn check_client_id(&self, claim: &Claim<'_>, client_id: &str) -> Result<(), Denial> {
        // A guest's are bounded more narrowly, where its credential is looked at, and then here.
        if matches!(claim, Claim::Guest(_)) {
            return Ok(());
        }
        let is_another = DeviceKey::of_common_name(client_id)
            .is_ok_and(|named| !matches!(claim, Claim::Device(device) if *device == named));
        if is_another { Err(Denial::ClientId) } else { self.check_reserved_client_id(client_id) }
    }

    fn check_reserved_client_id(&self, client_id: &str) -> Result<(), Denial> {
        match self.reserved.client_id(client_id) {
            Taken::No => Ok(()),
            Taken::Yes => Err(Denial::ClientId),
            Taken::Unknown => Err(Denial::Fault(Outage("the replicas' client ids have not been read yet".into()))),
        }
    }

    /// For each topic: what was let in before a replica was known, or by another backend of the broker, does nothing here.
    fn check_reserved(&self, caller: &Caller<'_>) -> Result<(), Denial> {
        if self.reserved.client_id(caller.client_id) == Taken::Yes {
            return Err(Denial::ClientId);
        }
        let is_reserved = caller.username().is_some_and(|name| self.reserved.is_exactly(name));
        if is_reserved { Err(Denial::ReservedName) } else { Ok(()) }
    }

    fn check_reserved_name(&self, caller: &Caller<'_>) -> Result<(), Denial> {
        let is_reserved = caller.username().is_some_and(|name| self.reserved.is_name(name));
        if is_reserved { Err(Denial::ReservedName) } else { Ok(()) }
    }

    /// At a topic the broker tells nothing but these names, so two who are in at once must not share them. Who else has
    /// them has to be known; while it cannot be, nobody new gets them.
    async fn check_names(&self, username: &str, client_id: &str, holder: &Holder) -> Result<(), Denial> {
        let now = (self.clock)();
        let known = match self.logins.recall(username, client_id, now) {
            LoginAnswer::Somebody(known) => Some(known),
            LoginAnswer::Nobody => None,
            LoginAnswer::Unknown => {
                let found = self.knowledge.login(username, client_id).await.map_err(Denial::Fault)?;
                self.logins.learned(username, client_id, found, now)
            }
        };
        let is_another = known.is_some_and(|known| self.is_another(&known, holder));
        if is_another { Err(Denial::NamesTaken) } else { Ok(()) }
    }

    /// Whether the names of a login stay with it when this one asks for them.
    fn is_another(&self, known: &Holder, asking: &Holder) -> bool {
        !known.is(asking) && !self.is_withdrawn(known)
    }

    /// Whether the issuer has withdrawn the key that signed its token.
    fn is_withdrawn(&self, holder: &Holder) -> bool {
        holder.signer.is_some_and(|signer| !self.tokens.trusts(&signer))
    }

    async fn who(&self, caller: Caller<'_>) -> Result<Identity, Denial> {
        let now = (self.clock)();
        let username = match caller.claim() {
            Claim::Token { token, name } => {
                let proof = self.tokens.verify(token, now)?;
                check_name(name, &proof.subject)?;
                return Ok(Identity::EachTime(proof.subject.clone()));
            }
            Claim::Device(device) => {
                return self.device_of_broker(device, now).await.map(|subject| Identity::EachTime(Arc::new(subject)));
            }
            Claim::Probe => return Ok(Identity::EachTime(Arc::new(Subject::of_device(DeviceKey::of_probe())))),
            Claim::Guest(username) | Claim::Name(username) => username,
            Claim::Nobody => return Err(Denial::Nobody),
        };
        let holder = match self.logins.recall(username, caller.client_id, now) {
            LoginAnswer::Somebody(holder) => holder,
            LoginAnswer::Nobody => return Err(Denial::NoLogin),
            LoginAnswer::Unknown => {
                let found = self.knowledge.login(username, caller.client_id).await.map_err(Denial::Fault)?;
                self.logins.learned(username, caller.client_id, found, now).ok_or(Denial::NoLogin)?
            }
        };
        if self.is_withdrawn(&holder) { Err(Denial::KeyWithdrawn) } else { Ok(Identity::AtLogin(holder.subject)) }
    }

    async fn guest(&self, username: &str, password: &str, client_id: &str) -> Result<Holder, Denial> {
        let asked = self.knowledge.guest(username, password, client_id, (self.clock)());
        let subject = Arc::new(asked.await.map_err(Denial::Guest)?);
        self.check_reserved_client_id(client_id)?;
        Ok(Holder { subject, signer: None })
    }

    /// Neither a device nor a guest: a bearer of a token, under the name the token says.
    async fn stranger(&self, username: &str, password: &str) -> Result<Holder, Denial> {
        // A slash is for the names of devices, also for those that are misspelled.
        if !Tokens::is_token(password) || username.contains('/') {
            return Err(Denial::NoToken);
        }
        let proof = self.tokens.login(password, self.clock).await?;
        check_name(Some(username), &proof.subject)?;
        // The issuer does not know which names mean something at the broker.
        if self.reserved.is_name(username) {
            return Err(Denial::ReservedName);
        }
        Ok(Holder { subject: proof.subject.clone(), signer: Some(proof.signer) })
    }

    /// A token as password beside no name: nothing is remembered, for at a topic nothing would tell whose question it is.
    async fn nameless(&self, password: &str) -> Result<(), Denial> {
        if Tokens::is_token(password) {
            return self.tokens.login(password, self.clock).await.map(drop).map_err(Denial::from);
        }
        Err(Denial::Nobody)
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
        Ok(Subject::of_device(device))
    }
}

// === private helpers ===

/// Another backend of the broker decides by the user name as well, so it is the token's own, or is not there.
fn check_name(name: Option<&str>, subject: &Subject) -> Result<(), Denial> {
    if name.is_none_or(|name| *name == *subject.id) { Ok(()) } else { Err(Denial::OtherName) }
}

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
