//! Logins that the broker does not wait for (Mosquitto 2.1): their conclusion, and their confirmation.

use std::ffi::CString;

use sluice_shared::frames::from_plugin::FromPlugin;

use crate::instance::Instance;
use crate::login::asking::accept;
use crate::login::names::Names;
use crate::login::outcome::Refusal;
use crate::request::{ClientKey, Completion, LoginAnswer, LoginRequest};

impl Instance {
    /// Concludes a delayed login. The broker must then be told; the session counts once it confirms it.
    pub fn complete(&self, completion: &Completion) -> LoginAnswer {
        let login = &completion.login;
        let request = LoginRequest {
            client: login.client,
            client_id: login.client_id.as_bytes(),
            username: login.username.as_deref().map(str::as_bytes),
            password: None,
            certificate: None,
            address: login.address.clone(),
            is_clean: login.is_clean,
        };
        let Some(names) = Names::of(&request) else { return LoginAnswer::Deny };
        let accepted = match &completion.verdict {
            Some(verdict) => accept(&self.shared.state(), names, verdict.clone()),
            None => Err(Refusal::Unavailable("the daemon did not answer in time")),
        };
        self.conclude(&request, names, accepted)
    }

    /// The broker has the result of a delayed login. If it has not confirmed the session meanwhile, the
    /// client had gone.
    pub fn completed(&self, completion: &Completion) {
        let login = &completion.login;
        let mut state = self.shared.state();
        let session = state.sessions.get(login.client, login.client_id.as_bytes());
        if session.is_some_and(|session| !session.is_confirmed) {
            state.sessions.remove(login.client);
        }
    }

    /// The broker has accepted a CONNECT. Returns the user name that it shall use.
    pub fn connected(&self, client: ClientKey, client_id: &[u8]) -> Option<CString> {
        let mut state = self.shared.state();
        let session = state.sessions.confirm(client, client_id)?;
        let username = session.username.take();
        let opened = session.opened();
        state.report(FromPlugin::Opened(opened));
        drop(state);
        self.shared.wake.wake();
        username
    }
}
