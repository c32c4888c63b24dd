//! Reads the table of one link.
//!
//! It compares no link with another: [`super::cross_checks`] does.

use std::time::Duration;

use super::fields::{LinkFields, shown};
use super::{bounds, hosts, keys, login, loops, rules};
use crate::config::document::reader::ValueReader;
use crate::config::document::tree::TableEntries;
use crate::domain::link::LinkName;
use crate::link::kind::{LinkKind, LinkTransport};
use crate::link::settings::{LinkAuth, LinkSettings};

/// Longest client id, with the number of the lane.
const MAX_CLIENT_ID: usize = 128;

const MAX_LANES: u16 = 16;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);

/// The shortest `replace_after`.
const SHORTEST_LIFE: Duration = Duration::from_secs(5);

/// A websocket at AWS lives at most 24 hours: it is replaced at a quiet moment before that.
const WEBSOCKET_LIFE: Duration = Duration::from_hours(23);

const KINDS: [(&str, LinkKind); 3] =
    [("event-grid", LinkKind::EventGrid), ("aws-iot", LinkKind::AwsIot), ("mqtt", LinkKind::Mqtt)];

const TRANSPORTS: [(&str, LinkTransport); 4] = [
    ("tls", LinkTransport::Tls),
    ("wss", LinkTransport::SecureWebSocket),
    ("tcp", LinkTransport::Tcp),
    ("ws", LinkTransport::WebSocket),
];

/// One link of the file.
pub(super) struct LinkTable<'r, 'n> {
    fields: LinkFields<'r, 'n>,
}

// === impl LinkTable ===

impl<'r, 'n> LinkTable<'r, 'n> {
    pub fn new(values: &'r mut ValueReader, entries: &'n TableEntries, place: String) -> Self {
        Self { fields: LinkFields { values, entries, place } }
    }

    /// Reads all of it. `None` if it lacks what the rest depends on; the faults are recorded.
    pub fn read(mut self, name: Option<LinkName>) -> Option<LinkSettings> {
        let fields = &mut self.fields;
        fields.values.reject_unknown_keys(
            fields.entries,
            &fields.place.clone(),
            &keys::names(keys::LINK),
        );
        fields.require("kind", "expected \"event-grid\", \"aws-iot\" or \"mqtt\"");
        let kind = fields.choice("kind", &KINDS);
        let host = self.host(kind);
        let method = login::method(&mut self.fields, kind);
        let transport = self.transport(method);
        let port = self.fields.whole("port", 1..=u16::MAX, "");
        let auth = login::read(&mut self.fields, kind, method, host.as_deref());
        let client_id = self.client_id(auth.as_ref());
        self.transport_checks(kind, host.as_deref(), transport, method);
        let ca_cert = self.ca_cert(transport);
        // What a link without a kind may do is unknown; its own values are checked all the same.
        let kind = kind.unwrap_or(LinkKind::Mqtt);
        let limits = bounds::read(&mut self.fields, kind);
        let prefix = public_prefix(auth.as_ref());
        let publish = rules::publish(&mut self.fields, kind, &limits, prefix);
        let ingest = rules::ingest(&mut self.fields, kind, &limits, prefix);
        loops::check(&mut self.fields, &publish, &ingest);
        let transport = transport?;
        Some(LinkSettings {
            name: name?,
            kind,
            host: host?,
            port: port.unwrap_or_else(|| default_port(transport)),
            transport,
            ca_cert,
            client_id: client_id?,
            auth: auth?,
            lanes: self.fields.whole("lanes", 1..=MAX_LANES, "").unwrap_or(1),
            limits,
            publish,
            ingest,
            backlog_max_bytes: self
                .fields
                .size("backlog_max_bytes", (64 << 10)..=(1 << 40), "")
                .unwrap_or(256 << 20),
            backlog_max_age: self
                .fields
                .duration("backlog_max_age", SECOND..=DAY * 365, "")
                .unwrap_or(DAY * 7),
            refuse_after: self
                .fields
                .duration("refuse_after", SECOND..=DAY * 30, "")
                .unwrap_or(HOUR),
            replace_after: self
                .fields
                .duration("replace_after", SHORTEST_LIFE..=DAY * 30, "")
                .or_else(|| transport.is_websocket().then_some(WEBSOCKET_LIFE)),
        })
    }

    fn host(&mut self, kind: Option<LinkKind>) -> Option<String> {
        let fields = &mut self.fields;
        fields.require("host", "the name of the other broker");
        let host = fields.text("host")?;
        match hosts::check(host, kind) {
            Ok(()) => Some(host.to_owned()),
            Err(why) => {
                fields.fault("host", why);
                None
            }
        }
    }

    fn transport(&mut self, method: Option<login::LoginMethod>) -> Option<LinkTransport> {
        if self.fields.has("transport") {
            return self.fields.choice("transport", &TRANSPORTS);
        }
        let signs_url = method.is_some_and(login::LoginMethod::signs_url);
        Some(if signs_url { LinkTransport::SecureWebSocket } else { LinkTransport::Tls })
    }

    fn transport_checks(
        &mut self,
        kind: Option<LinkKind>,
        host: Option<&str>,
        transport: Option<LinkTransport>,
        method: Option<login::LoginMethod>,
    ) {
        let fields = &mut self.fields;
        let Some(transport) = transport else { return };
        if !transport.is_encrypted() && host.is_some_and(|host| !hosts::is_loopback(host)) {
            let encrypted = if transport.is_websocket() { "wss" } else { "tls" };
            let why = format!(
                "{:?} is not encrypted, so it leads only to this machine (localhost, 127.0.0.1, ::1): use {encrypted:?}",
                transport.label()
            );
            fields.fault("transport", why);
        }
        let Some(method) = method else { return };
        if method.signs_url() && !transport.is_websocket() {
            let why = format!(
                "auth = {:?} signs the URL of a websocket: use \"wss\", found {:?}",
                method.label(),
                transport.label()
            );
            fields.fault("transport", why);
        }
        if method == login::LoginMethod::Certificate && !transport.is_encrypted() {
            let why = format!(
                "auth = \"certificate\" is used only with TLS: use \"tls\" or \"wss\", found {:?}",
                transport.label()
            );
            fields.fault("transport", why);
        }
        if method.signs_url() && kind.is_some_and(|kind| kind != LinkKind::AwsIot) {
            let why = format!("{:?} is a login of kind = \"aws-iot\" alone", method.label());
            fields.fault("auth", why);
        }
    }

    fn ca_cert(&mut self, transport: Option<LinkTransport>) -> Option<std::path::PathBuf> {
        let path = self.fields.path("ca_cert")?;
        if transport.is_some_and(|transport| !transport.is_encrypted()) {
            self.fields.fault("ca_cert", "it is used only with TLS: remove it, or use \"tls\"");
        }
        Some(path)
    }

    fn client_id(&mut self, auth: Option<&LinkAuth>) -> Option<String> {
        let fields = &mut self.fields;
        fields.require("client_id", "the other broker keeps messages for the session of this id");
        let id = fields.text("client_id")?;
        let suffix = if fields.has("lanes") { "-15".len() } else { 0 };
        if id.len() + suffix > MAX_CLIENT_ID || id.contains(['+', '#', '/']) {
            let why = format!(
                "expected 1 to {} characters, none of them + # /, found {}",
                MAX_CLIENT_ID - suffix,
                shown(id)
            );
            fields.fault("client_id", why);
            return None;
        }
        if let Some(prefix) = public_prefix(auth)
            && !id.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('-'))
        {
            let why = format!(
                "guests have client ids that begin with \"{prefix}-\": write \"{prefix}-{id}\", or set public_prefix"
            );
            fields.fault("client_id", why);
        }
        Some(id.to_owned())
    }
}

// --- private helpers ---

const fn default_port(transport: LinkTransport) -> u16 {
    match transport {
        LinkTransport::Tls => 8883,
        LinkTransport::SecureWebSocket => 443,
        LinkTransport::Tcp => 1883,
        LinkTransport::WebSocket => 80,
    }
}

fn public_prefix(auth: Option<&LinkAuth>) -> Option<&str> {
    match auth {
        Some(LinkAuth::Cognito { public_prefix, .. }) => public_prefix.as_deref(),
        _ => None,
    }
}
