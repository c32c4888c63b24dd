//! Whose client id it is: the broker ends the session of a client when another connects with its id.

use std::ffi::CString;

use sluice_shared::ids::DeviceKey;

use super::outcome::Refusal;
use crate::registry;
use crate::sessions::Holder;
use crate::state::{State, is_same};

/// A client id that is the identity of a device belongs to it, and those of Sluice belong to Sluice:
/// another client with one would end the session of its owner.
pub(super) fn check_client_id(
    state: &State,
    client_id: &str,
    device: Option<&DeviceKey>,
) -> Result<(), Refusal> {
    let owner = registry::device_of(client_id).ok();
    if owner.is_some() && owner.as_ref() != device {
        return Err(Refusal::Denied("its client id belongs to a device".into()));
    }
    if state.is_own_client_id(client_id) {
        return Err(Refusal::Denied("its client id belongs to Sluice".into()));
    }
    Ok(())
}

/// A client id belongs to the identity that uses it, or that has a stored session with it.
pub(super) fn check_bound(
    state: &State,
    client_id: &str,
    holder: &Holder,
    identity: &CString,
) -> Result<(), Refusal> {
    let Some((_, session)) = state.sessions.of_client_id(client_id) else { return Ok(()) };
    let is_open = session.is_confirmed
        && session.ended.is_none()
        && (!session.is_offline || session.is_stored);
    let is_own = is_same(&session.holder, holder) && *session.label == **identity;
    if is_open && !is_own {
        return Err(Refusal::Denied(format!("its client id is used by {:?}", session.identity())));
    }
    Ok(())
}
