//! Answers the requests of the broker: login, superuser, and access to a topic.
//!
//! It answers from memory. A lookup happens only on a miss, and is bounded, because the broker is
//! blocked meanwhile. A lookup that fails denies the request.

use std::future::Future;
use std::sync::Arc;

use super::caller::{Caller, Claim};
use super::denial::Denial;
use super::guest::GuestRefusal;
use super::logins::{Holder, LoginAnswer, Logins};
use super::reserved_names::{Reservation, ReservedNames};
use super::subject::{Subject, SubjectKind};
use crate::access::policy::reloading::ActivePolicy;
use crate::access::tokens::cache::TokenCache;
use crate::domain::broker_login::BrokerLogin;
use crate::domain::device::{Device, RegistryAnswer};
use crate::domain::ids::DeviceKey;
use crate::domain::ports::Outage;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::time::{Clock, Timestamp};

/// The lookups of [`HookAuthorizer`]. Each returns within the timeout of the broker, or returns an
/// outage.
pub trait HookLookup: Send + Sync + 'static {
    /// Looks up a device in the registry.
    fn answer(
        &self,
        device: &DeviceKey,
    ) -> impl Future<Output = Result<RegistryAnswer, Outage>> + Send;

    /// Looks up the login under `username` and `client_id`.
    fn login(
        &self,
        username: &str,
        client_id: &str,
    ) -> impl Future<Output = Result<Option<BrokerLogin>, Outage>> + Send;

    /// Verifies the credential of a guest that uses `client_id`.
    fn guest(
        &self,
        username: &str,
        token: &str,
        client_id: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<Subject, GuestRefusal>> + Send;
}

/// Decides the requests of the broker.
pub struct HookAuthorizer<K> {
    lookup: K,
    tokens: TokenCache,
    logins: Logins,
    active_policy: ActivePolicy,
    clock: Clock,
    /// The names of Sluice itself at the broker: another client with one would get its rights, or
    /// end its session.
    reserved: ReservedNames,
    /// Whether a device without a token needs a valid certificate in the registry.
    requires_certificate: bool,
}

/// An authenticated subject, and whether the request itself proved it or an earlier login did.
enum Identity {
    ByRequest(Arc<Subject>),
    ByLogin(Arc<Subject>),
}

// === impl HookAuthorizer ===

impl<K: HookLookup> HookAuthorizer<K> {
    /// An authorizer with these parts.
    pub fn new(
        lookup: K,
        tokens: TokenCache,
        logins: Logins,
        active_policy: ActivePolicy,
        clock: Clock,
        reserved: ReservedNames,
        requires_certificate: bool,
    ) -> Self {
        Self { lookup, tokens, logins, active_policy, clock, reserved, requires_certificate }
    }

    /// Decides a login, and returns whose it is. A device with a certificate never gets here: the broker
    /// authenticates it without asking.
    pub async fn login(
        &self,
        caller: Caller<'_>,
        password: Option<&str>,
    ) -> Result<Arc<Subject>, Denial> {
        let claim = caller.claim();
        let client_id = caller.client_id;
        self.check_client_id(&claim, client_id)?;
        let password = password.filter(|password| !password.is_empty());
        match claim {
            Claim::Token { token, name } => {
                let proof = self.tokens.login(token, self.clock).await?;
                check_name(name, &proof.subject)?;
                Ok(proof.subject.clone())
            }
            // The name of a device decides first: no issuer's token authenticates a device.
            Claim::Device(device) => {
                self.check_reserved_name(&caller)?;
                self.login_device(&device, password.ok_or(Denial::NoPassword)?).await?;
                Ok(Arc::new(Subject::of_device(device)))
            }
            // The probe authenticates by certificate only, which the broker checks.
            Claim::Probe => Err(Denial::NoToken),
            Claim::Anonymous => self.login_without_name(password.ok_or(Denial::Anonymous)?).await,
            Claim::Guest(username) => {
                let password = password.ok_or(Denial::NoPassword)?;
                let holder = self.login_guest(username, password, client_id).await?;
                self.store_login(username, client_id, holder).await
            }
            Claim::Name(username) => {
                let password = password.ok_or(Denial::NoPassword)?;
                let holder = self.login_by_token(username, password).await?;
                self.store_login(username, client_id, holder).await
            }
        }
    }

    /// Refuses a subject with a reserved name where its session gets the name of the subject, as at the
    /// broker's plugin: its issuer does not know which names have a meaning at the broker.
    pub fn check_session_name(&self, subject: &Subject) -> Result<(), Denial> {
        let is_named_by_issuer = matches!(subject.kind, SubjectKind::User | SubjectKind::Service);
        if is_named_by_issuer && self.reserved.resembles_name(&subject.id) {
            return Err(Denial::ReservedName);
        }
        Ok(())
    }

    /// Stores a login whose names no other live login has.
    async fn store_login(
        &self,
        username: &str,
        client_id: &str,
        holder: Holder,
    ) -> Result<Arc<Subject>, Denial> {
        self.check_names(username, client_id, &holder).await?;
        let new = holder.clone();
        let keeps_names = |current: &Holder| self.keeps_names(current, &new);
        self.logins.remember(username, client_id, holder, (self.clock)(), keeps_names)?;
        Ok(new.subject)
    }

    /// Decides whether the subject is a superuser, whose topics the broker does not check.
    pub fn superuser(&self, caller: Caller<'_>) -> Result<(), Denial> {
        // This request has no client id to find a login by, so a superuser by password is accepted
        // at each topic instead.
        let Claim::Token { token, name } = caller.claim() else { return Err(Denial::NoSuperuser) };
        let proof = self.tokens.verify(token, (self.clock)())?;
        check_name(name, &proof.subject)?;
        if self.active_policy.policy().is_superuser(&proof.subject) {
            Ok(())
        } else {
            Err(Denial::NoSuperuser)
        }
    }

    /// Decides access to a topic or a filter.
    pub async fn acl(&self, caller: Caller<'_>, acc: u8, topic: &str) -> Result<(), Denial> {
        self.check_reserved(&caller)?;
        let identity = self.authenticate(caller).await?;
        let policy = self.active_policy.policy();
        let (Identity::ByLogin(subject) | Identity::ByRequest(subject)) = &identity;
        let decision = policy.decide(subject, caller.client_id, acc, topic);
        if decision.allowed {
            return Ok(());
        }
        let is_by_login = matches!(identity, Identity::ByLogin(_));
        if is_by_login && policy.admits_superuser(subject, &decision) {
            return Ok(());
        }
        Err(Denial::Policy(decision.to_string()))
    }

    /// Refuses the client id of another device or of a replica, because the broker would end its
    /// session. The offered proof decides whose client id it is, never a name beside a token.
    fn check_client_id(&self, claim: &Claim<'_>, client_id: &str) -> Result<(), Denial> {
        // `login_guest` checks the client id of a guest more strictly, and then checks the reserved
        // ones.
        if matches!(claim, Claim::Guest(_)) {
            return Ok(());
        }
        match DeviceKey::of_common_name(client_id) {
            Ok(named) if !matches!(claim, Claim::Device(device) if *device == named) => {
                Err(Denial::ClientId)
            }
            _ => self.check_reserved_client_id(client_id),
        }
    }

    fn check_reserved_client_id(&self, client_id: &str) -> Result<(), Denial> {
        match self.reserved.client_id(client_id) {
            Reservation::No => Ok(()),
            Reservation::Yes => Err(Denial::ClientId),
            Reservation::Unknown => Err(Denial::Fault(Outage(
                "Sluice has not read the client ids of the replicas yet".into(),
            ))),
        }
    }

    /// Refuses a reserved name at each topic: the client may have logged in before the replica was
    /// known, or by another backend of the broker.
    fn check_reserved(&self, caller: &Caller<'_>) -> Result<(), Denial> {
        if self.reserved.client_id(caller.client_id) == Reservation::Yes {
            return Err(Denial::ClientId);
        }
        let is_reserved = caller.username().is_some_and(|name| self.reserved.contains_name(name));
        if is_reserved { Err(Denial::ReservedName) } else { Ok(()) }
    }

    fn check_reserved_name(&self, caller: &Caller<'_>) -> Result<(), Denial> {
        let is_reserved = caller.username().is_some_and(|name| self.reserved.resembles_name(name));
        if is_reserved { Err(Denial::ReservedName) } else { Ok(()) }
    }

    /// Refuses names that another live login has: at a topic the broker sends only the names, so
    /// two logins must not share them. While the lookup fails, no new login gets the names.
    async fn check_names(
        &self,
        username: &str,
        client_id: &str,
        holder: &Holder,
    ) -> Result<(), Denial> {
        let now = (self.clock)();
        let current = match self.logins.recall(username, client_id, now) {
            LoginAnswer::Held(current) => Some(current),
            LoginAnswer::NoLogin => None,
            LoginAnswer::Unknown => {
                let found = self.lookup.login(username, client_id).await.map_err(Denial::Fault)?;
                self.logins.apply_lookup(username, client_id, found, now)
            }
        };
        let is_taken = current.is_some_and(|current| self.keeps_names(&current, holder));
        if is_taken { Err(Denial::NamesTaken) } else { Ok(()) }
    }

    /// Whether the `current` holder keeps its names although a `new` login requests them.
    fn keeps_names(&self, current: &Holder, new: &Holder) -> bool {
        !current.is(new) && !self.is_withdrawn(current)
    }

    /// Whether the issuer has withdrawn the key that signed the holder's token.
    fn is_withdrawn(&self, holder: &Holder) -> bool {
        holder.signer.is_some_and(|signer| !self.tokens.trusts(&signer))
    }

    async fn authenticate(&self, caller: Caller<'_>) -> Result<Identity, Denial> {
        let now = (self.clock)();
        let username = match caller.claim() {
            Claim::Token { token, name } => {
                let proof = self.tokens.verify(token, now)?;
                check_name(name, &proof.subject)?;
                return Ok(Identity::ByRequest(proof.subject.clone()));
            }
            Claim::Device(device) => {
                return self
                    .check_named_device(device, now)
                    .await
                    .map(|subject| Identity::ByRequest(Arc::new(subject)));
            }
            Claim::Probe => {
                return Ok(Identity::ByRequest(Arc::new(
                    Subject::of_device(DeviceKey::of_probe()),
                )));
            }
            Claim::Guest(username) | Claim::Name(username) => username,
            Claim::Anonymous => return Err(Denial::Anonymous),
        };
        let holder = match self.logins.recall(username, caller.client_id, now) {
            LoginAnswer::Held(holder) => holder,
            LoginAnswer::NoLogin => return Err(Denial::NoLogin),
            LoginAnswer::Unknown => {
                let found =
                    self.lookup.login(username, caller.client_id).await.map_err(Denial::Fault)?;
                self.logins
                    .apply_lookup(username, caller.client_id, found, now)
                    .ok_or(Denial::NoLogin)?
            }
        };
        if self.is_withdrawn(&holder) {
            Err(Denial::KeyWithdrawn)
        } else {
            Ok(Identity::ByLogin(holder.subject))
        }
    }

    async fn login_guest(
        &self,
        username: &str,
        password: &str,
        client_id: &str,
    ) -> Result<Holder, Denial> {
        let verified = self.lookup.guest(username, password, client_id, (self.clock)());
        let subject = Arc::new(verified.await.map_err(Denial::Guest)?);
        self.check_reserved_client_id(client_id)?;
        Ok(Holder { subject, signer: None })
    }

    /// Authenticates a subject that is neither a device nor a guest: by a token, under the name in
    /// the token.
    async fn login_by_token(&self, username: &str, password: &str) -> Result<Holder, Denial> {
        // Names with a slash are for devices, also misspelled ones.
        if !TokenCache::is_token(password) || username.contains('/') {
            return Err(Denial::NoToken);
        }
        let proof = self.tokens.login(password, self.clock).await?;
        check_name(Some(username), &proof.subject)?;
        // The issuer does not know which names have a meaning at the broker.
        if self.reserved.resembles_name(username) {
            return Err(Denial::ReservedName);
        }
        Ok(Holder { subject: proof.subject.clone(), signer: Some(proof.signer) })
    }

    /// Authenticates a token as the password without a user name. It stores no login: a topic
    /// request would not identify it.
    async fn login_without_name(&self, password: &str) -> Result<Arc<Subject>, Denial> {
        if TokenCache::is_token(password) {
            return Ok(self.tokens.login(password, self.clock).await?.subject.clone());
        }
        Err(Denial::Anonymous)
    }

    async fn login_device(&self, device: &DeviceKey, password: &str) -> Result<(), Denial> {
        let answer = self.lookup.answer(device).await.map_err(Denial::Fault)?;
        let registered = answer.active().map_err(Denial::Device)?;
        check_token(registered, password).map_err(Denial::Device)
    }

    /// Checks a device that the broker names: it authenticated by certificate, or earlier by its
    /// token.
    async fn check_named_device(
        &self,
        device: DeviceKey,
        now: Timestamp,
    ) -> Result<Subject, Denial> {
        let answer = self.lookup.answer(&device).await.map_err(Denial::Fault)?;
        let registered = answer.active().map_err(Denial::Device)?;
        if self.requires_certificate
            && registered.token.is_none()
            && !registered.holds_certificate_at(now)
        {
            let detail = "the device has no valid certificate and no token";
            return Err(Denial::Device(Refusal::new(Reason::TokenMissing, detail)));
        }
        Ok(Subject::of_device(device))
    }
}

// === private helpers ===

/// Refuses a user name other than the subject's: other backends of the broker also decide by it.
fn check_name(name: Option<&str>, subject: &Subject) -> Result<(), Denial> {
    if name.is_none_or(|name| *name == *subject.id) { Ok(()) } else { Err(Denial::OtherName) }
}

fn check_token(device: &Device, password: &str) -> Result<(), Refusal> {
    let expected = device.token.as_ref().ok_or_else(|| {
        Refusal::new(
            Reason::TokenNotSet,
            "the registry has no token for the device: set one with `sluice device set-token`",
        )
    })?;
    if expected.matches(password) {
        Ok(())
    } else {
        Err(Refusal::new(
            Reason::TokenInvalid,
            "the password is not the device's provisioning token",
        ))
    }
}
