//! The types and numbers of the broker's header, and how its texts are read.
//!
//! The layouts are the same in Mosquitto 2.0.11 to 2.1 for what is used here. It calls no function.

#![expect(unsafe_code, reason = "the boundary to C, see ffi.rs")]

use std::ffi::{CStr, c_char, c_int, c_long, c_void};

pub(super) const ERR_SUCCESS: c_int = 0;
pub(super) const ERR_INVAL: c_int = 3;
pub(super) const ERR_NOT_SUPPORTED: c_int = 10;
pub(super) const ERR_AUTH: c_int = 11;
pub(super) const ERR_ACL_DENIED: c_int = 12;
/// Any other error: the broker closes the socket without a CONNACK, and the client tries again.
pub(super) const ERR_UNKNOWN: c_int = 13;
pub(super) const ERR_PLUGIN_DEFER: c_int = 17;
/// Mosquitto 2.1: the plugin will tell the result later.
pub(super) const ERR_AUTH_DELAYED: c_int = -5;

pub(super) const PLUGIN_VERSION: c_int = 5;
pub(super) const USER_PROPERTY: c_int = 38;
pub(super) const NOT_AUTHORIZED: u8 = 0x87;

pub(super) const EVENT_RELOAD: c_int = 1;
pub(super) const EVENT_ACL_CHECK: c_int = 2;
pub(super) const EVENT_BASIC_AUTH: c_int = 3;
pub(super) const EVENT_EXTENDED_START: c_int = 4;
pub(super) const EVENT_EXTENDED_CONTINUE: c_int = 5;
pub(super) const EVENT_MESSAGE: c_int = 7;
pub(super) const EVENT_TICK: c_int = 9;
pub(super) const EVENT_DISCONNECT: c_int = 10;
/// Mosquitto 2.1: a CONNECT is accepted.
pub(super) const EVENT_CONNECT: c_int = 11;
/// Mosquitto 2.1: the session of a client that stays stored.
pub(super) const EVENT_CLIENT_OFFLINE: c_int = 28;

/// The key and value of `plugin_opt_`.
#[repr(C)]
pub struct Opt {
    pub(super) key: *const c_char,
    pub(super) value: *const c_char,
}

#[repr(C)]
pub(super) struct AclCheck {
    pub(super) future: *mut c_void,
    pub(super) client: *mut c_void,
    pub(super) topic: *const c_char,
    pub(super) payload: *const c_void,
    pub(super) properties: *mut Node,
    pub(super) access: c_int,
    pub(super) payload_len: u32,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) future2: [*mut c_void; 4],
}

#[repr(C)]
pub(super) struct BasicAuth {
    pub(super) future: *mut c_void,
    pub(super) client: *mut c_void,
    pub(super) username: *const c_char,
    pub(super) password: *const c_char,
    pub(super) future2: [*mut c_void; 4],
}

#[repr(C)]
pub(super) struct ExtendedAuth {
    pub(super) future: *mut c_void,
    pub(super) client: *mut c_void,
    pub(super) data_in: *const c_void,
    pub(super) data_out: *mut c_void,
    pub(super) data_in_len: u16,
    pub(super) data_out_len: u16,
    pub(super) auth_method: *const c_char,
    pub(super) future2: [*mut c_void; 3],
}

#[repr(C)]
pub(super) struct Message {
    pub(super) future: *mut c_void,
    pub(super) client: *mut c_void,
    pub(super) topic: *const c_char,
    pub(super) payload: *const c_void,
    pub(super) properties: *mut Node,
    pub(super) reason_string: *mut c_char,
    pub(super) payload_len: u32,
    pub(super) qos: u8,
    pub(super) reason_code: u8,
    pub(super) retain: bool,
    pub(super) future2: [*mut c_void; 4],
}

#[repr(C)]
pub(super) struct Connect {
    pub(super) future: *mut c_void,
    pub(super) client: *mut c_void,
    pub(super) future2: [*mut c_void; 4],
}

#[repr(C)]
pub(super) struct Disconnect {
    pub(super) future: *mut c_void,
    pub(super) client: *mut c_void,
    pub(super) reason: c_int,
    pub(super) future2: [*mut c_void; 4],
}

/// A property of the broker. The layout is private there; [`check_layout`] proves it at start.
#[repr(C)]
pub(super) struct Node {
    pub(super) next: *mut Self,
    pub(super) value: Text,
    pub(super) name: Text,
    pub(super) identifier: i32,
}

#[repr(C)]
pub(super) struct Text {
    pub(super) start: *mut c_char,
    pub(super) len: u16,
}

/// A callback of the plugin.
pub(super) type Callback = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void) -> c_int;

/// # Safety
/// `text` is null, or ends with NUL and lives as long as the result.
pub(super) unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    Some(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// # Safety
/// `start` is null, or points to `len` bytes that live as long as the result.
pub(super) unsafe fn slice<'a>(start: *const c_void, len: usize) -> &'a [u8] {
    if start.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(start.cast(), len) }
}

// The broker fills these fields; naming them here keeps the layout complete.
const _: () = {
    assert!(std::mem::offset_of!(AclCheck, access) == 40);
    assert!(std::mem::offset_of!(Message, reason_code) == 53);
    assert!(std::mem::offset_of!(Node, identifier) == 40);
    assert!(size_of::<c_long>() == 8);
};
