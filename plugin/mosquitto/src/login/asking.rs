//! Asks the daemon about a login: the broker waits for the answer, or goes on meanwhile where it can.

use std::time::{Duration, Instant};

use sluice_shared::frames::from_daemon::Verdict;
use sluice_shared::frames::from_plugin::{FromPlugin, Question, QuestionKind};
use sluice_shared::frames::secret::SecretText;
use sluice_shared::subject::SubjectKind;

use super::client_ids::check_client_id;
use super::names::Names;
use super::outcome::{Accepted, Refusal};
use super::verdict::{c_text, of_verdict};
use crate::instance::Instance;
use crate::request::{DelayedLogin, LoginRequest};
use crate::sessions::Holder;
use crate::state::State;

/// How long a delayed login waits for the daemon. Nobody else waits.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// The most delayed logins.
const DELAYED_MAX: usize = 10_000;

impl Instance {
    /// Asks the daemon, and waits for the answer at most `ask_ms`.
    pub(crate) fn ask(
        &self,
        request: &LoginRequest<'_>,
        names: Names<'_>,
        kind: QuestionKind,
    ) -> Result<Accepted, Refusal> {
        let options = &self.shared.options;
        let started_at = Instant::now();
        let deadline = started_at + options.ask_timeout;
        let mut state = self.shared.state();
        if state.breaker.is_open(started_at) {
            return Err(Refusal::Unavailable("the daemon did not answer the last questions"));
        }
        let id = send_question(&mut state, request, names, kind)?;
        state.answers.insert(id, None);
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
        accept(&state, names, verdict)
    }

    /// Asks the daemon; the answer completes the login at a tick. The broker serves others meanwhile.
    pub(crate) fn ask_later(&self, request: &LoginRequest<'_>, names: Names<'_>) -> Refusal {
        let Ok(client_id) = c_text(names.client_id) else {
            return Refusal::Denied("its client id contains a NUL".into());
        };
        let mut state = self.shared.state();
        if state.delayed.len() >= DELAYED_MAX {
            return Refusal::Unavailable("too many logins wait for the daemon");
        }
        let id = match send_question(&mut state, request, names, QuestionKind::Password) {
            Ok(id) => id,
            Err(refusal) => return refusal,
        };
        let login = DelayedLogin {
            client: request.client,
            client_id,
            username: names.username.map(str::to_owned),
            address: request.address.clone(),
            is_clean: request.is_clean,
            deadline: Instant::now() + DELAY_MAX,
        };
        state.delayed.insert(id, login);
        drop(state);
        self.shared.wake.wake();
        Refusal::Delayed
    }
}

/// The login of a verdict, with the check of its client id.
pub(crate) fn accept(
    state: &State,
    names: Names<'_>,
    verdict: Verdict,
) -> Result<Accepted, Refusal> {
    let accepted = of_verdict(verdict)?;
    // The broker stores the name with the session, and its files give rights to the names of Sluice.
    if accepted.identity.to_str().is_ok_and(|identity| state.is_own_name(identity)) {
        return Err(Refusal::Denied("its identity is a name of Sluice".into()));
    }
    let device = match &accepted.holder {
        Holder::Subject { subject, .. } => match &subject.kind {
            SubjectKind::Device(device) => Some(device),
            _ => None,
        },
        Holder::Broker => None,
    };
    check_client_id(state, names.client_id, device)?;
    Ok(accepted)
}

// === private helpers ===

/// Queues a question before the frames that may be lost: its client waits.
fn send_question(
    state: &mut State,
    request: &LoginRequest<'_>,
    names: Names<'_>,
    kind: QuestionKind,
) -> Result<u64, Refusal> {
    let secret = request.password.map(|password| {
        std::str::from_utf8(password)
            .map_err(|_| Refusal::Denied("its password is not UTF-8".into()))
    });
    let secret = secret.transpose()?.map(SecretText::new);
    if !state.is_connected {
        return Err(Refusal::Unavailable("the daemon is not connected"));
    }
    state.last_question += 1;
    let id = state.last_question;
    state.frames.push_front(FromPlugin::Ask(Question {
        id,
        kind,
        client_id: names.client_id.to_owned(),
        username: names.username.map(str::to_owned),
        secret,
    }));
    Ok(id)
}
