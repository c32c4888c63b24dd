//! Decides logins: by the exact certificate, or by a question to the daemon.
//!
//! A certificate decides alone: one that the registry does not have is refused, whatever the password file
//! says. A user name, password or token is verified by the daemon. It verifies no signature and no password
//! itself.

pub(crate) mod asking;
mod client_ids;
pub(crate) mod names;
pub(crate) mod outcome;
mod verdict;

use std::ffi::CString;
use std::sync::Arc;
use std::time::Instant;

use sluice_shared::frames::from_plugin::{FromPlugin, QuestionKind};
use sluice_shared::subject::Subject;

use client_ids::{check_bound, check_client_id};
use names::Names;
use outcome::{Accepted, Refusal};
use verdict::c_text;

use crate::clock;
use crate::instance::Instance;
use crate::log::Level;
use crate::options::{OnStale, Unknown};
use crate::registry::{self, Fingerprint};
use crate::request::{LoginAnswer, LoginRequest};
use crate::sessions::{Holder, NewSession};
use crate::state::{Readiness, State, is_same};

impl Instance {
    /// Decides a login with a certificate, a password, or neither. The broker calls it again for every
    /// connected client when it reads its configuration again.
    pub fn login(&self, request: &LoginRequest<'_>) -> LoginAnswer {
        let Some(names) = Names::of(request) else {
            return self.refused(request, Refusal::Denied("its names are not UTF-8".into()));
        };
        if self.shared.options.trusts_bridge(request.client_id) {
            let why = "its client id belongs to a bridge of this broker".to_owned();
            return self.refused(request, Refusal::Denied(why));
        }
        if let Some(answer) = self.repeated(request, names) {
            return answer;
        }
        self.shared.state().forget_delayed(request.client, request.client_id);
        let accepted = match self.readiness() {
            Readiness::Ready => self.authenticate(request, names),
            Readiness::Stale if self.shared.options.on_stale == OnStale::Allow => {
                self.authenticate(request, names)
            }
            Readiness::Stale => {
                Err(Refusal::Unavailable("the daemon has sent nothing for too long"))
            }
            Readiness::NoSnapshot => {
                Err(Refusal::Unavailable("the daemon has not sent the registry yet"))
            }
        };
        self.conclude(request, names, accepted)
    }

    /// Decides a login by extended authentication, at CONNECT or within a session.
    pub fn extended(&self, request: &LoginRequest<'_>, method: &[u8]) -> LoginAnswer {
        let is_known = self.shared.options.methods.iter().any(|known| known.as_bytes() == method);
        if !is_known || !self.shared.options.tokens {
            return self.refused(request, Refusal::UnknownMethod);
        }
        let Some(names) = Names::of(request) else {
            return self.refused(request, Refusal::Denied("its names are not UTF-8".into()));
        };
        // The token names the client, but a certificate beside it must be valid, too.
        let certificate = match &request.certificate {
            Some(der) if self.shared.options.certificates => self.check_certificate(der),
            _ => Ok(()),
        };
        let accepted = certificate.and_then(|()| self.ask(request, names, QuestionKind::Extended));
        self.conclude_extended(request, names, accepted)
    }

    fn readiness(&self) -> Readiness {
        let stale_after = self.shared.options.stale_after;
        self.shared.state().readiness(stale_after, Instant::now())
    }

    /// A client that is connected already: the broker asks about it after a SIGHUP. A changed client would
    /// have another id, or no session.
    fn repeated(&self, request: &LoginRequest<'_>, names: Names<'_>) -> Option<LoginAnswer> {
        let fingerprint = request.certificate.as_deref().map(registry::fingerprint);
        let state = self.shared.state();
        let session = state.sessions.get(request.client, names.client_id.as_bytes())?;
        if session.is_offline || !session.is_confirmed || session.fingerprint != fingerprint {
            return None;
        }
        match &session.holder {
            _ if session.is_superseded => None,
            _ if session.ended.is_some() => Some(LoginAnswer::Deny),
            Holder::Subject { .. } => Some(LoginAnswer::Accept { username: None }),
            Holder::Broker => Some(LoginAnswer::Defer),
        }
    }

    fn authenticate(
        &self,
        request: &LoginRequest<'_>,
        names: Names<'_>,
    ) -> Result<Accepted, Refusal> {
        if self.shared.options.certificates
            && let Some(der) = &request.certificate
        {
            return self.by_certificate(der, names);
        }
        let is_own = names.username.is_some_and(|name| self.shared.state().is_own_name(name));
        if is_own {
            return Err(Refusal::Deferred);
        }
        let offers = request.password.is_some_and(|password| !password.is_empty())
            || names.username.is_some();
        if self.shared.options.tokens && offers {
            // A delayed login cannot be left to the password file afterwards.
            if self.shared.is_2_1 && self.shared.options.unknown == Unknown::Deny {
                return Err(self.ask_later(request, names));
            }
            return match self.ask(request, names, QuestionKind::Password) {
                Err(Refusal::Denied(why)) => Err(self.unknown(names, why)),
                other => other,
            };
        }
        Err(self.unknown(names, "it offers no certificate, no user name and no token".into()))
    }

    /// The refusal of a login that the daemon does not accept. A device is never left to the password
    /// file: its name means an identity of the registry.
    fn unknown(&self, names: Names<'_>, why: String) -> Refusal {
        let is_device = names.username.is_some_and(|name| registry::device_of(name).is_ok());
        if self.shared.options.unknown == Unknown::Defer && !is_device {
            Refusal::Deferred
        } else {
            Refusal::Denied(why)
        }
    }

    fn check_certificate(&self, der: &[u8]) -> Result<(), Refusal> {
        let fingerprint = registry::fingerprint(der);
        let state = self.shared.state();
        let registry = state.registry.as_ref();
        match registry.and_then(|known| known.valid(&fingerprint, clock::now())) {
            Some(_) => Ok(()),
            None => Err(unknown_certificate(&fingerprint)),
        }
    }

    fn by_certificate(&self, der: &[u8], names: Names<'_>) -> Result<Accepted, Refusal> {
        let fingerprint = registry::fingerprint(der);
        let state = self.shared.state();
        let known =
            state.registry.as_ref().and_then(|known| known.valid(&fingerprint, clock::now()));
        let Some(certificate) = known else {
            return Err(unknown_certificate(&fingerprint));
        };
        let device = certificate.device.clone();
        check_client_id(&state, names.client_id, Some(&device))?;
        let identity = c_text(device.identity())?;
        Ok(Accepted {
            until: Some(certificate.until),
            holder: Holder::Subject {
                subject: Arc::new(Subject::of_device(device)),
                by_login: false,
            },
            username: Some(identity.clone()),
            identity,
            fingerprint: Some(fingerprint),
        })
    }

    pub(crate) fn conclude(
        &self,
        request: &LoginRequest<'_>,
        names: Names<'_>,
        accepted: Result<Accepted, Refusal>,
    ) -> LoginAnswer {
        let accepted = match accepted {
            Err(Refusal::Deferred) => deferred(names).ok_or(Refusal::Deferred),
            other => other,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            // Without a user name there is nothing to store.
            Err(Refusal::Deferred) => return LoginAnswer::Defer,
            Err(Refusal::Delayed) => return LoginAnswer::Delayed,
            Err(refusal) => return self.refused(request, refusal),
        };
        match self.open(request, names, accepted) {
            Ok(answer) => answer,
            Err(refusal) => self.refused(request, refusal),
        }
    }

    /// A session keeps its identity: a later token of another subject is refused.
    fn conclude_extended(
        &self,
        request: &LoginRequest<'_>,
        names: Names<'_>,
        accepted: Result<Accepted, Refusal>,
    ) -> LoginAnswer {
        let is_open = |state: &State| {
            let session = state.sessions.get(request.client, names.client_id.as_bytes())?;
            (!session.is_offline && session.ended.is_none()).then(|| session.holder.clone())
        };
        let current = is_open(&self.shared.state());
        let accepted = match (accepted, current) {
            (Ok(accepted), Some(current)) if !is_same(&accepted.holder, &current) => Err(
                Refusal::Denied("the token belongs to another identity than the session".into()),
            ),
            (Ok(accepted), Some(_)) => {
                let mut state = self.shared.state();
                state.sessions.renew(request.client, accepted.holder, accepted.until);
                state.stats.logins[0] += 1;
                drop(state);
                self.shared.wake.wake();
                return LoginAnswer::Accept { username: None };
            }
            (accepted, None) => accepted,
            // A session goes on until its own end: the broker closes it or not, as its version does.
            (Err(refusal), Some(_)) => return self.refusal_answer(request, refusal),
        };
        match accepted {
            Ok(_) if self.readiness() == Readiness::NoSnapshot => self
                .refused(request, Refusal::Unavailable("the daemon has not sent the registry yet")),
            other => self.conclude(request, names, other),
        }
    }

    fn open(
        &self,
        request: &LoginRequest<'_>,
        names: Names<'_>,
        accepted: Accepted,
    ) -> Result<LoginAnswer, Refusal> {
        let is_deferred = matches!(accepted.holder, Holder::Broker);
        let mut state = self.shared.state();
        if is_deferred {
            let is_own = names.username.is_some_and(|name| state.is_own_name(name));
            if !is_own {
                check_client_id(&state, names.client_id, None)?;
            }
        }
        if self.shared.options.binds_sessions {
            check_bound(&state, names.client_id, &accepted.holder, &accepted.identity)?;
        }
        let new = NewSession {
            client: request.client,
            client_id: names.client_id.into(),
            holder: accepted.holder,
            identity: accepted.identity,
            fingerprint: accepted.fingerprint,
            until: accepted.until,
            address: request.address.as_deref().map(|it| String::from_utf8_lossy(it).into()),
            is_stored: !request.is_clean,
            is_confirmed: !self.shared.is_2_1,
            username: accepted.username.clone(),
            is_offline: false,
        };
        let opened = state.sessions.open(new).opened();
        state.stats.logins[if is_deferred { 2 } else { 0 }] += 1;
        if !self.shared.is_2_1 {
            state.report(FromPlugin::Opened(opened));
        }
        drop(state);
        self.shared.wake.wake();
        if is_deferred {
            return Ok(LoginAnswer::Defer);
        }
        Ok(LoginAnswer::Accept { username: accepted.username })
    }

    /// Forgets what is known of the address, which the broker will use for another client.
    fn refused(&self, request: &LoginRequest<'_>, refusal: Refusal) -> LoginAnswer {
        self.shared.state().sessions.remove(request.client);
        self.refusal_answer(request, refusal)
    }

    fn refusal_answer(&self, request: &LoginRequest<'_>, refusal: Refusal) -> LoginAnswer {
        let client_id = String::from_utf8_lossy(request.client_id).into_owned();
        let mut state = self.shared.state();
        match refusal {
            Refusal::Denied(why) => {
                state.stats.logins[1] += 1;
                state.log.push(Level::Notice, format!("client {client_id:?} is refused: {why}"));
                LoginAnswer::Deny
            }
            Refusal::Unavailable(why) => {
                state.stats.logins[1] += 1;
                state.log.push(
                    Level::Warning,
                    format!("client {client_id:?} cannot be decided now and must try again: {why}"),
                );
                LoginAnswer::Unavailable
            }
            Refusal::UnknownMethod => LoginAnswer::UnknownMethod,
            Refusal::Deferred => LoginAnswer::Defer,
            Refusal::Delayed => LoginAnswer::Delayed,
        }
    }
}

// === private helpers ===

fn unknown_certificate(fingerprint: &Fingerprint) -> Refusal {
    let text = registry::fingerprint_text(fingerprint);
    Refusal::Denied(format!("the registry has no valid certificate with the fingerprint {text}"))
}

/// The session of a user of the broker's password file.
fn deferred(names: Names<'_>) -> Option<Accepted> {
    let identity = CString::new(names.username?).ok()?;
    Some(Accepted {
        holder: Holder::Broker,
        identity,
        fingerprint: None,
        until: None,
        username: None,
    })
}
