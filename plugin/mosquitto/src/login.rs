//! Decides logins: by the exact certificate, or by a question to the daemon.
//!
//! A certificate decides alone: one that the registry does not have is refused, whatever the password file
//! says. A user name, password or token is verified by the daemon. It verifies no signature and no password
//! itself.

mod client_ids;
mod outcome;
mod verdict;

use std::ffi::CString;
use std::sync::Arc;
use std::time::Instant;

use sluice_shared::frames::from_plugin::{FromPlugin, Question, QuestionKind};
use sluice_shared::frames::secret::SecretText;
use sluice_shared::subject::{Subject, SubjectKind};

use client_ids::{check_bound, check_client_id};
use outcome::{Accepted, Refusal};
use verdict::{c_text, of_verdict};

use crate::clock;
use crate::instance::Instance;
use crate::log::Level;
use crate::options::{OnStale, Unknown};
use crate::registry;
use crate::request::{LoginAnswer, LoginRequest};
use crate::sessions::{Holder, NewSession};
use crate::state::{Readiness, State, is_same};

/// The names of a login as text.
#[derive(Clone, Copy)]
struct Names<'a> {
    client_id: &'a str,
    username: Option<&'a str>,
}

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
        let accepted = match self.readiness() {
            Readiness::Ready => self.authenticate(request, names),
            Readiness::Stale if self.shared.options.on_stale == OnStale::Allow => {
                self.authenticate(request, names)
            }
            Readiness::Stale => {
                Err(Refusal::Unavailable("the daemon has not been heard of for too long"))
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
        let accepted = self.ask(request, names, QuestionKind::Extended);
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
        if session.is_offline || session.fingerprint != fingerprint {
            return None;
        }
        let is_newest = !state.sessions.is_superseded(request.client, session);
        match &session.holder {
            _ if !is_newest => None,
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

    fn by_certificate(&self, der: &[u8], names: Names<'_>) -> Result<Accepted, Refusal> {
        let fingerprint = registry::fingerprint(der);
        let state = self.shared.state();
        let known =
            state.registry.as_ref().and_then(|known| known.valid(&fingerprint, clock::now()));
        let Some(certificate) = known else {
            drop(state);
            let text = registry::fingerprint_text(&fingerprint);
            return Err(Refusal::Denied(format!(
                "the registry has no valid certificate with the fingerprint {text}"
            )));
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

    /// Asks the daemon, and waits for the answer at most `ask_ms`.
    fn ask(
        &self,
        request: &LoginRequest<'_>,
        names: Names<'_>,
        kind: QuestionKind,
    ) -> Result<Accepted, Refusal> {
        let secret = request.password.map(|password| {
            std::str::from_utf8(password)
                .map_err(|_| Refusal::Denied("its password is not UTF-8".into()))
        });
        let secret = secret.transpose()?.map(SecretText::new);
        let options = &self.shared.options;
        let started_at = Instant::now();
        let deadline = started_at + options.ask_timeout;
        let mut state = self.shared.state();
        if !state.is_connected {
            return Err(Refusal::Unavailable("the daemon is not connected"));
        }
        if state.breaker.is_open(started_at) {
            return Err(Refusal::Unavailable("the daemon did not answer the last questions"));
        }
        state.last_question += 1;
        let id = state.last_question;
        state.answers.insert(id, None);
        // Before the frames that may be lost: the client waits.
        state.frames.push_front(FromPlugin::Ask(Question {
            id,
            kind,
            client_id: names.client_id.to_owned(),
            username: names.username.map(str::to_owned),
            secret,
        }));
        self.shared.wake.wake();
        while matches!(state.answers.get(&id), Some(None)) && Instant::now() < deadline {
            state = self.shared.wait(state, deadline);
        }
        let verdict = state.answers.remove(&id).flatten();
        let nanos = u64::try_from(started_at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        state.stats.ask_nanos += nanos;
        let Some(verdict) = verdict else {
            state.stats.ask_timeouts += 1;
            state.breaker.missed(options.breaker, Instant::now());
            return Err(Refusal::Unavailable("the daemon did not answer in time"));
        };
        state.stats.asked += 1;
        state.breaker.answered();
        let accepted = of_verdict(verdict)?;
        let device = match &accepted.holder {
            Holder::Subject { subject, .. } => match &subject.kind {
                SubjectKind::Device(device) => Some(device),
                _ => None,
            },
            Holder::Broker => None,
        };
        check_client_id(&state, names.client_id, device)?;
        Ok(accepted)
    }

    fn conclude(
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
            is_offline: false,
        };
        let opened = state.sessions.open(new).opened();
        state.stats.logins[if is_deferred { 2 } else { 0 }] += 1;
        state.report(FromPlugin::Opened(opened));
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
        }
    }
}

impl<'a> Names<'a> {
    fn of(request: &LoginRequest<'a>) -> Option<Self> {
        let client_id = std::str::from_utf8(request.client_id).ok()?;
        let username = request.username.filter(|name| !name.is_empty());
        let username = username.map(std::str::from_utf8).transpose().ok()?;
        Some(Self { client_id, username })
    }
}

// === private helpers ===

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
