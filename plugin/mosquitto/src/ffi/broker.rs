//! The functions of the broker and of its libcrypto, looked up by name when the plugin starts.
//!
//! So the library loads into every version, and a missing function is an error with its name.

#![expect(unsafe_code, reason = "the boundary to C, see ffi.rs")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::OnceLock;

use super::abi::{Callback, ERR_AUTH, ERR_SUCCESS, Node};
use crate::instance::Instance;
use crate::log::Level;

/// The functions of the broker and of its libcrypto.
#[derive(Clone, Copy)]
pub(super) struct Broker {
    pub(super) callback_register:
        unsafe extern "C" fn(*mut c_void, c_int, Callback, *const c_void, *mut c_void) -> c_int,
    pub(super) log_printf: unsafe extern "C" fn(c_int, *const c_char, ...),
    pub(super) free: unsafe extern "C" fn(*mut c_void),
    pub(super) strdup: unsafe extern "C" fn(*const c_char) -> *mut c_char,
    pub(super) client_id: unsafe extern "C" fn(*const c_void) -> *const c_char,
    pub(super) client_username: unsafe extern "C" fn(*const c_void) -> *const c_char,
    pub(super) client_address: unsafe extern "C" fn(*const c_void) -> *const c_char,
    pub(super) client_certificate: unsafe extern "C" fn(*const c_void) -> *mut c_void,
    pub(super) client_clean_session: unsafe extern "C" fn(*const c_void) -> bool,
    pub(super) set_username: unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int,
    pub(super) kick: unsafe extern "C" fn(*const c_char, bool) -> c_int,
    pub(super) publish_copy: unsafe extern "C" fn(
        *const c_char,
        *const c_char,
        c_int,
        *const c_void,
        c_int,
        bool,
        *mut Node,
    ) -> c_int,
    pub(super) add_string_pair:
        unsafe extern "C" fn(*mut *mut Node, c_int, *const c_char, *const c_char) -> c_int,
    pub(super) free_all: unsafe extern "C" fn(*mut *mut Node),
    /// `None`: the broker was built without TLS.
    pub(super) x509: Option<X509>,
    /// Tells the result of a delayed login. `None` before Mosquitto 2.1.
    pub(super) complete_login: Option<unsafe extern "C" fn(*const c_char, c_int)>,
    /// Whether this is Mosquitto 2.1 or newer.
    pub(super) is_2_1: bool,
}

#[derive(Clone, Copy)]
pub(super) struct X509 {
    pub(super) to_der: unsafe extern "C" fn(*const c_void, *mut *mut u8) -> c_int,
    pub(super) free: unsafe extern "C" fn(*mut c_void),
}

// === impl Broker ===

static BROKER: OnceLock<Broker> = OnceLock::new();

impl Broker {
    /// The functions, once they were found.
    pub(super) fn get() -> Option<Self> {
        BROKER.get().copied()
    }

    /// Looks the functions up, unless another instance did.
    pub(super) fn find_once() -> Result<Self, String> {
        if let Some(broker) = Self::get() {
            return Ok(broker);
        }
        let found = Self::find()?;
        Ok(*BROKER.get_or_init(|| found))
    }

    fn find() -> Result<Self, String> {
        let has_x509 = symbol(c"i2d_X509").is_some() && symbol(c"X509_free").is_some();
        // SAFETY: each field has the type of its function in `mosquitto_broker.h`, `mosquitto.h` and
        // `openssl/x509.h`.
        unsafe {
            Ok(Self {
                callback_register: function(c"mosquitto_callback_register")?,
                log_printf: function(c"mosquitto_log_printf")?,
                free: function(c"mosquitto_free")?,
                strdup: function(c"mosquitto_strdup")?,
                client_id: function(c"mosquitto_client_id")?,
                client_username: function(c"mosquitto_client_username")?,
                client_address: function(c"mosquitto_client_address")?,
                client_certificate: function(c"mosquitto_client_certificate")?,
                client_clean_session: function(c"mosquitto_client_clean_session")?,
                set_username: function(c"mosquitto_set_username")?,
                kick: function(c"mosquitto_kick_client_by_clientid")?,
                publish_copy: function(c"mosquitto_broker_publish_copy")?,
                add_string_pair: function(c"mosquitto_property_add_string_pair")?,
                free_all: function(c"mosquitto_property_free_all")?,
                x509: if has_x509 {
                    Some(X509 { to_der: function(c"i2d_X509")?, free: function(c"X509_free")? })
                } else {
                    None
                },
                complete_login: function(c"mosquitto_complete_basic_auth").ok(),
                is_2_1: symbol(c"mosquitto_complete_basic_auth").is_some(),
            })
        }
    }

    /// Tells the broker the result of a delayed login. It does nothing if the client has gone.
    pub(super) fn complete_login(&self, client_id: &CStr, is_accepted: bool) {
        let Some(complete) = self.complete_login else { return };
        let result = if is_accepted { ERR_SUCCESS } else { ERR_AUTH };
        // SAFETY: the string ends with NUL.
        unsafe { complete(client_id.as_ptr(), result) };
    }

    pub(super) fn register(
        &self,
        identifier: *mut c_void,
        event: c_int,
        callback: Callback,
        instance: *mut Instance,
    ) -> Result<(), String> {
        // SAFETY: the identifier is the broker's, and the instance lives until the cleanup.
        let registered = unsafe {
            (self.callback_register)(identifier, event, callback, std::ptr::null(), instance.cast())
        };
        if registered == ERR_SUCCESS {
            Ok(())
        } else {
            Err(format!("the broker refuses to register event {event} (error {registered})"))
        }
    }

    pub(super) fn log(&self, level: Level, text: &str) {
        let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
        // SAFETY: the format has one `%s`, and the text ends with NUL.
        unsafe { (self.log_printf)(level as c_int, c"%s".as_ptr(), text.as_ptr()) };
    }
}

/// The function of this name.
///
/// # Safety
/// `F` is the type of a function pointer, with the signature of the function.
unsafe fn function<F: Copy>(name: &CStr) -> Result<F, String> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    let found = symbol(name).ok_or_else(|| missing(name))?;
    // SAFETY: as the caller promises; both have the size of a pointer.
    Ok(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&found) })
}

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends with NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

fn missing(name: &CStr) -> String {
    format!("the broker has no function {}", name.to_string_lossy())
}
