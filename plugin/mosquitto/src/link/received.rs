//! Applies the frames of the daemon.
//!
//! A snapshot applies as a whole or not at all. What it replaces is dropped outside the lock, because the
//! broker's thread needs the lock for each message.

use sluice_shared::frames::PROTOCOL;
use sluice_shared::frames::from_daemon::{DaemonHello, DeviceEntry, FromDaemon, RevokeTarget};
use sluice_shared::frames::from_plugin::FromPlugin;
use sluice_shared::proof::ProofKey;

use crate::clock;
use crate::log::Level;
use crate::registry::{self, Registry};
use crate::request::ClientKey;
use crate::shared::Shared;
use crate::state::State;

/// What a frame led to.
pub enum Received {
    /// The daemon has greeted.
    Greeted,
    /// Nothing is to be sent.
    Done,
    /// This is to be sent.
    Answer(FromPlugin),
}

/// A snapshot that is not complete yet.
#[derive(Default)]
pub struct Transfer(Option<Snapshot>);

struct Snapshot {
    version: u64,
    devices: u64,
    registry: Registry,
}

/// Applies one frame. An error ends the connection.
pub fn apply(
    shared: &Shared,
    transfer: &mut Transfer,
    frame: FromDaemon,
) -> Result<Received, String> {
    match frame {
        FromDaemon::Hello(hello) => greet(shared, &hello).map(|()| Received::Greeted),
        FromDaemon::Policy { policy } => {
            let policy =
                policy.parse().map_err(|error| format!("the policy is invalid: {error}"))?;
            let mut state = shared.state();
            let old = std::mem::replace(&mut state.policy, policy);
            state.policy_generation += 1;
            drop(state);
            drop(old);
            Ok(Received::Done)
        }
        FromDaemon::Reserved(names) => {
            shared.state().reserved = names;
            Ok(Received::Done)
        }
        FromDaemon::SnapshotBegin { version } => {
            transfer.0 = Some(Snapshot { version, devices: 0, registry: Registry::default() });
            Ok(Received::Done)
        }
        FromDaemon::SnapshotPart { devices } => transfer.add(&devices).map(|()| Received::Done),
        FromDaemon::SnapshotEnd { version, devices } => finish(shared, transfer, version, devices),
        FromDaemon::Delta { version, devices } => delta(shared, version, &devices),
        FromDaemon::Verdict { id, verdict } => {
            let mut state = shared.state();
            // The question may have been given up meanwhile.
            if let Some(waiting) = state.answers.get_mut(&id) {
                *waiting = Some(verdict);
                shared.answered.notify_all();
            } else {
                state.complete(id, Some(verdict));
            }
            Ok(Received::Done)
        }
        FromDaemon::Revoke { command, target } => {
            revoke(&mut shared.state(), command, &target)?;
            Ok(Received::Done)
        }
        FromDaemon::Ping => Ok(Received::Done),
    }
}

/// The connection has ended: nobody will answer the open questions.
pub fn disconnected(state: &mut State) {
    state.is_connected = false;
    state.answers.clear();
    for question in state.delayed.keys().copied().collect::<Vec<_>>() {
        state.complete(question, None);
    }
    state.commands.clear();
    state.frames.retain(|frame| !matches!(frame, FromPlugin::Ask(_)));
}

impl Transfer {
    fn add(&mut self, devices: &[DeviceEntry]) -> Result<(), String> {
        let Some(snapshot) = &mut self.0 else {
            return Err("a part of a snapshot came without its begin".to_owned());
        };
        snapshot.devices += devices.len() as u64;
        snapshot.registry.apply(devices).map_err(|error| error.to_string())?;
        Ok(())
    }
}

fn greet(shared: &Shared, hello: &DaemonHello) -> Result<(), String> {
    if hello.protocol != PROTOCOL {
        return Err(format!(
            "the daemon {} has protocol {}, the plugin has {PROTOCOL}: install the same version of both",
            hello.build, hello.protocol
        ));
    }
    let key = hello.key.as_ref().map(|key| ProofKey::from_text(key.expose()));
    let key = key.transpose().map_err(|_| "the key of the daemon is malformed".to_owned())?;
    let mut state = shared.state();
    if key.is_none() && shared.options.stamps {
        state.log.push(
            Level::Warning,
            "the daemon has no PUBLISHER_PROOF_SECRET, so messages get no proof: set it, or plugin_opt_stamp off",
        );
    }
    state.key = key;
    state.is_connected = true;
    Ok(())
}

fn finish(
    shared: &Shared,
    transfer: &mut Transfer,
    version: u64,
    devices: u64,
) -> Result<Received, String> {
    let Some(snapshot) = transfer.0.take() else {
        return Err("the end of a snapshot came without its begin".to_owned());
    };
    if (snapshot.version, snapshot.devices) != (version, devices) {
        return Err("a snapshot is not complete".to_owned());
    }
    let mut state = shared.state();
    let old = state.registry.replace(snapshot.registry);
    state.version = version;
    let clients: Vec<ClientKey> = state.sessions.iter().map(|(client, _)| client).collect();
    state.examine(clients, clock::now());
    drop(state);
    drop(old);
    shared.answered.notify_all();
    Ok(Received::Answer(FromPlugin::Applied { version }))
}

fn delta(shared: &Shared, version: u64, devices: &[DeviceEntry]) -> Result<Received, String> {
    let mut state = shared.state();
    let current = state.version;
    let Some(registry) = state.registry.as_mut().filter(|_| version == current + 1) else {
        return Ok(Received::Answer(FromPlugin::Resync { version: current }));
    };
    let touched = registry.apply(devices).map_err(|error| error.to_string())?;
    state.version = version;
    let clients: Vec<ClientKey> =
        touched.iter().flat_map(|device| state.sessions.of_identity(device.identity())).collect();
    state.examine(clients, clock::now());
    Ok(Received::Answer(FromPlugin::Applied { version }))
}

fn revoke(state: &mut State, command: u64, target: &RevokeTarget) -> Result<(), String> {
    let clients: Vec<ClientKey> = match target {
        RevokeTarget::Fingerprint(text) => {
            let fingerprint =
                registry::parse_fingerprint(text).map_err(|error| error.to_string())?;
            let has_it = state
                .sessions
                .iter()
                .filter(|(_, session)| session.fingerprint == Some(fingerprint));
            has_it.map(|(client, _)| client).collect()
        }
        RevokeTarget::Identity(identity) => state.sessions.of_identity(identity),
        RevokeTarget::ClientId(client_id) => {
            state.sessions.of_client_id(client_id).map(|(client, _)| client).into_iter().collect()
        }
    };
    state.revoke(command, &clients);
    Ok(())
}
