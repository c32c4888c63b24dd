//! The boundary to the broker: the one file with `unsafe` code.
//!
//! The types are those of `mosquitto_broker.h` 2.0 and 2.1, whose layouts are the same for the events used
//! here. Functions of the broker are looked up by name when the plugin starts, so that the library loads
//! into every version, and a missing one is an error with its name. Each callback catches panics and then
//! refuses: a panic never reaches the broker. No lock is held during a call of the broker, because a call
//! can run callbacks before it returns.
//!
//! It decides nothing: [`crate::instance::Instance`] does.

#![expect(unsafe_code, reason = "the broker calls C functions, and this file is the boundary")]

mod abi;
mod broker;
mod client;
pub(crate) mod peer;
mod property_list;
pub(crate) mod signals;
mod will;

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use abi::{
    AclCheck, BasicAuth, Callback, Connect, Disconnect, ERR_ACL_DENIED, ERR_AUTH, ERR_INVAL,
    ERR_PLUGIN_DEFER, ERR_SUCCESS, ERR_UNKNOWN, EVENT_ACL_CHECK, EVENT_BASIC_AUTH,
    EVENT_CLIENT_OFFLINE, EVENT_CONNECT, EVENT_DISCONNECT, EVENT_EXTENDED_CONTINUE,
    EVENT_EXTENDED_START, EVENT_MESSAGE, EVENT_RELOAD, EVENT_TICK, ExtendedAuth, Message,
    NOT_AUTHORIZED, Opt, PLUGIN_VERSION, bytes, slice,
};
use broker::Broker;
use client::Client;
use property_list::{BrokerProperties, check_layout};
use will::publish_will;

use crate::instance::Instance;
use crate::options::RawOption;
use crate::properties::{self, PropertyList as _};
use crate::request::{
    AccessAnswer, AccessRequest, ClientKey, LoginAnswer, MessageAnswer, PublishRequest,
};

// === the functions that the broker looks up ===

/// Returns the version of the plugin interface that this plugin has, if the broker has it too.
///
/// # Safety
/// Only the broker calls it, with an array of `count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mosquitto_plugin_version(count: c_int, supported: *const c_int) -> c_int {
    let count = usize::try_from(count).unwrap_or_default();
    if supported.is_null() {
        return -1;
    }
    // SAFETY: the broker passes an array of `count` numbers.
    let supported = unsafe { std::slice::from_raw_parts(supported, count) };
    if supported.contains(&PLUGIN_VERSION) { PLUGIN_VERSION } else { -1 }
}

/// Starts one instance of the plugin. An error ends the broker: it must not run unprotected.
///
/// # Safety
/// Only the broker calls it, with the arguments that its header describes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mosquitto_plugin_init(
    identifier: *mut c_void,
    userdata: *mut *mut c_void,
    options: *const Opt,
    count: c_int,
) -> c_int {
    let started = catch_unwind(|| {
        // SAFETY: the broker passes an array of `count` options.
        let options = unsafe { read_options(options, count) };
        start(identifier, &options)
    });
    match started {
        Ok(Ok(instance)) => {
            // SAFETY: the broker passes a place for one pointer.
            unsafe { *userdata = instance.cast() };
            ERR_SUCCESS
        }
        Ok(Err(why)) => {
            log_start_failure(&why);
            ERR_INVAL
        }
        Err(_) => {
            log_start_failure("a panic");
            ERR_INVAL
        }
    }
}

/// Ends an instance.
///
/// # Safety
/// Only the broker calls it, with the pointer that [`mosquitto_plugin_init`] stored, and calls no
/// callback of the instance afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mosquitto_plugin_cleanup(
    userdata: *mut c_void,
    _options: *const Opt,
    _count: c_int,
) -> c_int {
    if !userdata.is_null() {
        // SAFETY: the pointer comes from `Box::into_raw` in `start`, and is used for the last time.
        let instance = unsafe { Box::from_raw(userdata.cast::<Instance>()) };
        let _ = catch_unwind(AssertUnwindSafe(move || instance.stop()));
    }
    ERR_SUCCESS
}

// === start ===

fn start(identifier: *mut c_void, options: &[RawOption]) -> Result<*mut Instance, String> {
    let broker = Broker::find_once()?;
    check_layout(&broker)?;
    let waker = signals::waker_of_this_thread()?;
    let instance = Box::into_raw(Box::new(Instance::start(options, broker.is_2_1, waker)?));
    let events: [(c_int, Callback); 8] = [
        (EVENT_RELOAD, on_reload),
        (EVENT_ACL_CHECK, on_acl_check),
        (EVENT_BASIC_AUTH, on_basic_auth),
        (EVENT_EXTENDED_START, on_extended_start),
        (EVENT_EXTENDED_CONTINUE, on_extended_continue),
        (EVENT_MESSAGE, on_message),
        (EVENT_TICK, on_tick),
        (EVENT_DISCONNECT, on_disconnect),
    ];
    for (event, callback) in events {
        broker.register(identifier, event, callback, instance)?;
    }
    if broker.is_2_1 {
        broker.register(identifier, EVENT_CONNECT, on_connect, instance)?;
        broker.register(identifier, EVENT_CLIENT_OFFLINE, on_disconnect, instance)?;
    }
    Ok(instance)
}

/// # Safety
/// `options` points to `count` options, whose strings end with NUL.
unsafe fn read_options(options: *const Opt, count: c_int) -> Vec<RawOption> {
    let count = usize::try_from(count).unwrap_or_default();
    if options.is_null() {
        return Vec::new();
    }
    // SAFETY: as the caller promises.
    let options = unsafe { std::slice::from_raw_parts(options, count) };
    let read = |option: &Opt| {
        // SAFETY: as the caller promises.
        let (key, value) = unsafe { (bytes(option.key)?, bytes(option.value)?) };
        Some(RawOption {
            key: String::from_utf8_lossy(key).into_owned(),
            value: String::from_utf8_lossy(value).into_owned(),
        })
    };
    options.iter().filter_map(read).collect()
}

/// Writes why the plugin did not start, to the log of the broker if it can be reached.
fn log_start_failure(why: &str) {
    let text = format!("sluice plugin: starting failed: {why}");
    match Broker::get() {
        Some(broker) => broker.log(crate::log::Level::Error, &text),
        None => eprintln!("{text}"),
    }
}

// === callbacks ===

/// Runs `body`, and answers `on_panic` if it panics.
fn guarded(userdata: *mut c_void, on_panic: c_int, body: impl FnOnce(&Instance) -> c_int) -> c_int {
    // SAFETY: the broker passes the pointer from `start`, which lives until the cleanup.
    let Some(instance) = (unsafe { userdata.cast::<Instance>().as_ref() }) else {
        return on_panic;
    };
    if instance.refuses_all() {
        return on_panic;
    }
    catch_unwind(AssertUnwindSafe(|| body(instance))).unwrap_or_else(|_| {
        instance.count_panic();
        on_panic
    })
}

unsafe extern "C" fn on_basic_auth(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    guarded(userdata, ERR_AUTH, |instance| {
        // SAFETY: the broker passes this event, and its strings live until the callback returns.
        let Some(event) = (unsafe { data.cast::<BasicAuth>().as_ref() }) else { return ERR_AUTH };
        let Some(client) = Client::of(event.client) else { return ERR_AUTH };
        // SAFETY: as above.
        let (username, password) = unsafe { (bytes(event.username), bytes(event.password)) };
        let request = client.login(username, password);
        client.answer_login(instance.login(&request))
    })
}

unsafe extern "C" fn on_extended_start(
    _: c_int,
    data: *mut c_void,
    userdata: *mut c_void,
) -> c_int {
    guarded(userdata, ERR_AUTH, |instance| {
        // SAFETY: the broker passes this event, and its data lives until the callback returns.
        let Some(event) = (unsafe { data.cast::<ExtendedAuth>().as_ref() }) else {
            return ERR_AUTH;
        };
        let Some(client) = Client::of(event.client) else { return ERR_AUTH };
        // SAFETY: as above.
        let (method, token) = unsafe {
            (bytes(event.auth_method), slice(event.data_in, usize::from(event.data_in_len)))
        };
        let request = client.login(None, Some(token));
        client.answer_login(instance.extended(&request, method.unwrap_or_default()))
    })
}

/// No method of the plugin has a second step.
unsafe extern "C" fn on_extended_continue(_: c_int, _: *mut c_void, _: *mut c_void) -> c_int {
    ERR_AUTH
}

unsafe extern "C" fn on_acl_check(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    guarded(userdata, ERR_ACL_DENIED, |instance| {
        // SAFETY: the broker passes this event, and its strings live until the callback returns.
        let Some(event) = (unsafe { data.cast::<AclCheck>().as_ref() }) else {
            return ERR_ACL_DENIED;
        };
        let Some(client) = Client::of(event.client) else { return ERR_ACL_DENIED };
        // SAFETY: as above.
        let (topic, payload) =
            unsafe { (bytes(event.topic), slice(event.payload, event.payload_len as usize)) };
        let request = AccessRequest {
            client: client.key,
            client_id: client.id,
            topic: topic.unwrap_or_default(),
            payload,
            access: u8::try_from(event.access).unwrap_or(u8::MAX),
            certificate: &|| client.certificate(),
            username: &|| client.username(),
        };
        match instance.access(&request) {
            AccessAnswer::Allow => ERR_SUCCESS,
            AccessAnswer::Deny => ERR_ACL_DENIED,
            AccessAnswer::Defer => ERR_PLUGIN_DEFER,
            AccessAnswer::CloseSession => ERR_UNKNOWN,
            AccessAnswer::PublishWill(stamp) => {
                publish_will(&client.broker, event, &stamp, instance);
                ERR_ACL_DENIED
            }
        }
    })
}

unsafe extern "C" fn on_message(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    guarded(userdata, ERR_ACL_DENIED, |instance| {
        // SAFETY: the broker passes this event; nothing else uses it until the callback returns.
        let Some(event) = (unsafe { data.cast::<Message>().as_mut() }) else {
            return ERR_ACL_DENIED;
        };
        let Some(client) = Client::of(event.client) else { return ERR_ACL_DENIED };
        // SAFETY: as above; topic and payload do not change meanwhile.
        let (topic, payload) =
            unsafe { (bytes(event.topic), slice(event.payload, event.payload_len as usize)) };
        let mut list = BrokerProperties { broker: client.broker, head: &mut event.properties };
        let request = PublishRequest {
            client: client.key,
            client_id: client.id,
            topic: topic.unwrap_or_default(),
            payload,
            has_reserved: list.has_reserved(),
            certificate: &|| client.certificate(),
        };
        match instance.publish(&request) {
            MessageAnswer::Reject => {
                event.reason_code = NOT_AUTHORIZED;
                ERR_ACL_DENIED
            }
            MessageAnswer::Keep => ERR_SUCCESS,
            MessageAnswer::Replace(stamp) => {
                let changed = properties::replace(&mut list, stamp.as_ref());
                instance.count_properties(&changed);
                // Without its proof the message must not pass for one that needs none.
                if changed.is_complete { ERR_SUCCESS } else { ERR_ACL_DENIED }
            }
        }
    })
}

unsafe extern "C" fn on_tick(_: c_int, _: *mut c_void, userdata: *mut c_void) -> c_int {
    guarded(userdata, ERR_SUCCESS, |instance| {
        let Some(broker) = Broker::get() else { return ERR_SUCCESS };
        let work = instance.take_tick_work();
        for (level, text) in &work.log {
            broker.log(*level, text);
        }
        for completion in &work.completions {
            let is_accepted = matches!(instance.complete(completion), LoginAnswer::Accept { .. });
            // Callbacks run inside the call; no lock is held.
            broker.complete_login(&completion.login.client_id, is_accepted);
            instance.completed(completion);
        }
        for kick in &work.kicks {
            if instance.must_kick(kick) {
                // SAFETY: the string ends with NUL. Callbacks run inside the call; no lock is held.
                unsafe { (broker.kick)(kick.client_id.as_ptr(), true) };
                instance.kicked(kick);
            }
        }
        ERR_SUCCESS
    })
}

unsafe extern "C" fn on_connect(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    guarded(userdata, ERR_SUCCESS, |instance| {
        // SAFETY: the broker passes this event.
        let Some(event) = (unsafe { data.cast::<Connect>().as_ref() }) else {
            return ERR_SUCCESS;
        };
        if let Some(client) = Client::of(event.client)
            && let Some(username) = instance.connected(client.key, client.id)
        {
            client.set_username(&username);
        }
        ERR_SUCCESS
    })
}

unsafe extern "C" fn on_disconnect(_: c_int, data: *mut c_void, userdata: *mut c_void) -> c_int {
    guarded(userdata, ERR_SUCCESS, |instance| {
        // SAFETY: the broker passes this event.
        let Some(event) = (unsafe { data.cast::<Disconnect>().as_ref() }) else {
            return ERR_SUCCESS;
        };
        // The id of a client that was never authorized is null; its entry must go all the same.
        let id = Client::of(event.client).map(|client| client.id);
        instance.disconnected(ClientKey(event.client as usize), id);
        ERR_SUCCESS
    })
}

unsafe extern "C" fn on_reload(_: c_int, _: *mut c_void, userdata: *mut c_void) -> c_int {
    guarded(userdata, ERR_SUCCESS, |instance| {
        instance.reloaded();
        ERR_SUCCESS
    })
}
