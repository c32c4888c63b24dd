//! A client of the broker, for the time of one callback.
//!
//! It decides nothing.

#![expect(unsafe_code, reason = "the boundary to C, see ffi.rs")]

use std::ffi::{CStr, c_int, c_void};

use super::abi::{
    ERR_AUTH, ERR_AUTH_DELAYED, ERR_NOT_SUPPORTED, ERR_PLUGIN_DEFER, ERR_SUCCESS, ERR_UNKNOWN,
    bytes,
};
use super::broker::Broker;
use crate::request::{ClientKey, LoginAnswer, LoginRequest};

/// A client of the broker, for the time of one callback.
pub(super) struct Client<'a> {
    pub(super) broker: Broker,
    pointer: *mut c_void,
    pub(super) key: ClientKey,
    pub(super) id: &'a [u8],
}

impl Client<'_> {
    /// `None`: the client has no id, so it is not accepted yet.
    pub(super) fn of(pointer: *mut c_void) -> Option<Self> {
        let broker = Broker::get()?;
        if pointer.is_null() {
            return None;
        }
        // SAFETY: the broker passes a client that lives until the callback returns, and its id does too.
        let id = unsafe { bytes((broker.client_id)(pointer)) }?;
        Some(Self { broker, pointer, key: ClientKey(pointer as usize), id })
    }

    pub(super) fn login<'a>(
        &'a self,
        username: Option<&'a [u8]>,
        password: Option<&'a [u8]>,
    ) -> LoginRequest<'a> {
        LoginRequest {
            client: self.key,
            client_id: self.id,
            username,
            password,
            certificate: self.certificate(),
            address: self.address(),
            // SAFETY: the client lives.
            is_clean: unsafe { (self.broker.client_clean_session)(self.pointer) },
        }
    }

    pub(super) fn answer_login(&self, answer: LoginAnswer) -> c_int {
        match answer {
            LoginAnswer::Accept { username: None } => ERR_SUCCESS,
            LoginAnswer::Accept { username: Some(name) } => {
                if self.set_username(&name) {
                    ERR_SUCCESS
                } else {
                    ERR_AUTH
                }
            }
            LoginAnswer::Delayed => ERR_AUTH_DELAYED,
            LoginAnswer::Deny => ERR_AUTH,
            LoginAnswer::Defer => ERR_PLUGIN_DEFER,
            LoginAnswer::Unavailable => ERR_UNKNOWN,
            LoginAnswer::UnknownMethod => ERR_NOT_SUPPORTED,
        }
    }

    /// Gives the client another user name.
    pub(super) fn set_username(&self, name: &CStr) -> bool {
        // SAFETY: the client lives, and the string ends with NUL. The broker copies it.
        unsafe { (self.broker.set_username)(self.pointer, name.as_ptr()) == ERR_SUCCESS }
    }

    pub(super) fn username(&self) -> Option<Vec<u8>> {
        // SAFETY: the client lives, and so does its name until the copy is made.
        unsafe { bytes((self.broker.client_username)(self.pointer)) }.map(<[u8]>::to_vec)
    }

    fn address(&self) -> Option<Vec<u8>> {
        // SAFETY: the client lives, and so does its address until the copy is made.
        unsafe { bytes((self.broker.client_address)(self.pointer)) }.map(<[u8]>::to_vec)
    }

    /// The certificate of the client in DER. `None`: no TLS, no certificate, or no connection.
    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        let x509 = self.broker.x509?;
        // SAFETY: the client lives. The result is null, or a reference that must be given back.
        let certificate = unsafe { (self.broker.client_certificate)(self.pointer) };
        if certificate.is_null() {
            return None;
        }
        // SAFETY: a null output asks for the length only.
        let len = unsafe { (x509.to_der)(certificate, std::ptr::null_mut()) };
        let mut der = vec![0; usize::try_from(len).unwrap_or_default()];
        let mut end = der.as_mut_ptr();
        let written = if der.is_empty() {
            0
        } else {
            // SAFETY: the buffer has the length that the same function announced.
            unsafe { (x509.to_der)(certificate, &raw mut end) }
        };
        // SAFETY: `mosquitto_client_certificate` counted this reference for the caller.
        unsafe { (x509.free)(certificate) };
        (written > 0 && written == len).then_some(der)
    }
}
