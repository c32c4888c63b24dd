//! Reads the verdict of the daemon.

use std::ffi::CString;
use std::sync::Arc;

use sluice_shared::frames::from_daemon::{SubjectDocument, Verdict};
use sluice_shared::subject::{Subject, SubjectKind};
use sluice_shared::time::Timestamp;

use super::outcome::{Accepted, Refusal};
use crate::registry;
use crate::sessions::Holder;

/// Who the login is.
pub(super) fn of_verdict(verdict: Verdict) -> Result<Accepted, Refusal> {
    let document = match verdict {
        Verdict::Accepted(document) => document,
        Verdict::Denied { reason } => return Err(Refusal::Denied(reason)),
        Verdict::Unavailable { .. } => {
            return Err(Refusal::Unavailable("the daemon cannot decide now"));
        }
    };
    let subject = subject_of(document)?;
    // A proof names the identity only, so nobody but a device may have one that reads as a device's.
    let is_device = matches!(subject.kind, SubjectKind::Device(_));
    if !is_device && registry::device_of(&subject.id).is_ok() {
        return Err(Refusal::Denied("its identity is that of a device".into()));
    }
    // The broker has its own meaning for these in user names.
    if subject.id.contains(['+', '#']) {
        return Err(Refusal::Denied("its identity contains a wildcard".into()));
    }
    let identity = c_text(&subject.id)?;
    let until = subject.expires_at;
    Ok(Accepted {
        holder: Holder::Subject { subject: Arc::new(subject), by_login: true },
        username: Some(identity.clone()),
        identity,
        fingerprint: None,
        until,
    })
}

fn subject_of(document: SubjectDocument) -> Result<Subject, Refusal> {
    let kind = match document.kind.as_str() {
        "device" => {
            let device = registry::device_of(&document.id)
                .map_err(|error| Refusal::Denied(format!("the daemon names no device: {error}")))?;
            SubjectKind::Device(device)
        }
        "service" => SubjectKind::Service,
        "user" => SubjectKind::User,
        "guest" => SubjectKind::Guest,
        other => {
            return Err(Refusal::Denied(format!("the daemon names an unknown kind {other:?}")));
        }
    };
    let boxed = |names: Vec<String>| names.into_iter().map(Into::into).collect();
    Ok(Subject {
        kind,
        id: document.id.into(),
        groups: boxed(document.groups),
        scopes: boxed(document.scopes),
        expires_at: document.expires_at.map(Timestamp::from_micros),
    })
}

/// A text for the broker.
pub(super) fn c_text(text: &str) -> Result<CString, Refusal> {
    CString::new(text).map_err(|_| Refusal::Denied("its identity contains a NUL".into()))
}
