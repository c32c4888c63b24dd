//! Every key of the links file: where it stands, its default, and what it does.
//!
//! The reader knows no other key, and the reference page is made from these rows.

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct LinkKey {
    /// Its name.
    pub name: &'static str,
    /// The logins that use it; empty: all.
    pub of_auth: &'static [&'static str],
    /// Its default, as the page shows it.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// The keys at the top of the file.
pub const TOP: &[&str] = &["node", "link"];

const fn key(name: &'static str, default: &'static str, doc: &'static str) -> LinkKey {
    LinkKey { name, of_auth: &[], default, doc }
}

const fn login(
    name: &'static str,
    of_auth: &'static [&'static str],
    default: &'static str,
    doc: &'static str,
) -> LinkKey {
    LinkKey { name, of_auth, default, doc }
}

/// The rows for the top of the file.
pub const TOP_KEYS: &[LinkKey] = &[
    key(
        "node",
        "the name that the database has",
        "The name of this installation: 1 to 64 of `A-Z a-z 0-9 . _ : -`. It is in the `source` of each event, and a message that \
         comes back from a cloud is recognised by it: each installation has a name of its own.",
    ),
    key(
        "link",
        "no links",
        "The links: one table `[link.<name>]` for each. The name has 1 to 32 of `a-z 0-9 -`, and is the label of its metrics.",
    ),
];

/// The keys of a link.
pub const LINK: &[LinkKey] = &[
    key(
        "kind",
        "required",
        "The other broker: `event-grid` (Azure Event Grid), `aws-iot` (AWS IoT Core) or `mqtt` (any MQTT 5 broker). It sets the \
         limits.",
    ),
    key("host", "required", "The host name or IP address, without scheme, port and path."),
    key("port", "`tls` 8883, `wss` 443, `tcp` 1883, `ws` 80", "The TCP port."),
    key(
        "transport",
        "`tls`; `wss` with `sigv4` and `cognito`",
        "`tls`, `wss` (a websocket over TLS), or to this machine alone `tcp` and `ws`.",
    ),
    key(
        "ca_cert",
        "the system's root certificates",
        "The certificate authorities (PEM) that may have signed the other broker's certificate.",
    ),
    key(
        "client_id",
        "required",
        "The client id, of 1 to 128 characters. The other broker keeps messages for its session, so it must stay the same. With \
         several lanes each lane appends `-` and its number.",
    ),
    key(
        "auth",
        "`mqtt` `none`; else required",
        "The login: `none`, `password`, `jwt`, `certificate`, `sigv4` or `cognito`.",
    ),
    login(
        "username",
        &["password", "jwt", "certificate"],
        "not set",
        "The user name. With `certificate` at Event Grid it is the client's authentication name.",
    ),
    login("password_file", &["password"], "required", "The file that holds the password."),
    login(
        "key",
        &["jwt", "certificate"],
        "required",
        "The private key (PEM, mode 0600): it signs the tokens, or it belongs to `cert`.",
    ),
    login("cert", &["certificate"], "required", "The client certificate (PEM), with its chain."),
    login(
        "key_id",
        &["jwt"],
        "not set",
        "The identifier of the key (`kid`) in the token's header.",
    ),
    login("issuer", &["jwt"], "not set", "The claim `iss`. Event Grid requires it."),
    login(
        "subject",
        &["jwt"],
        "required",
        "The claim `sub`. At Event Grid it is the client's authentication name.",
    ),
    login(
        "audience",
        &["jwt"],
        "`event-grid`: `[host, host + \"/\"]`; else not set",
        "The claim `aud`: a text, or a list of texts.",
    ),
    login(
        "claims",
        &["jwt"],
        "none",
        "A table of further claims. Sluice sets `exp`, `iat` and `nbf`.",
    ),
    login(
        "lifetime",
        &["jwt"],
        "`1h`",
        "How long a token is valid, from `10s` to `1d`. Sluice renews it after three quarters of that time.",
    ),
    login(
        "place",
        &["jwt"],
        "`event-grid`: `enhanced`; else `password`",
        "How the token is sent: `enhanced` (MQTT 5 authentication with the method `CUSTOM-JWT`), `password` (with `username`) or \
         `username`.",
    ),
    login(
        "region",
        &["sigv4", "cognito"],
        "from `host`",
        "The region of AWS for the signature, such as `us-east-1`.",
    ),
    login(
        "credentials_file",
        &["sigv4"],
        "the environment",
        "The file with the credentials, as AWS' own tools write it. Not set: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and \
         `AWS_SESSION_TOKEN` of Sluice's environment.",
    ),
    login("profile", &["sigv4"], "`default`", "The section of `credentials_file`."),
    login(
        "identity_pool_id",
        &["cognito"],
        "required",
        "The identity pool whose guests Sluice is one of: `<region>:<uuid>`.",
    ),
    login(
        "cognito_endpoint",
        &["cognito"],
        "that of the region",
        "Another URL of Cognito: `https://`, or to this machine alone `http://`.",
    ),
    login(
        "public_prefix",
        &["cognito"],
        "`public`",
        "What guests may use: client ids begin with it and `-`, topics with it and `/`. An empty text allows all.",
    ),
    key("publish", "no rule", "The rules of what Sluice forwards: a list of tables, at most 64."),
    key("ingest", "no rule", "The rules of what Sluice takes in: a list of tables."),
    key(
        "lanes",
        "1",
        "The connections that share the messages by device, from 1 to 16. The order of one device's messages is kept.",
    ),
    key("max_rate", "the limit of the kind", "The most messages a second of one connection."),
    key(
        "max_unacked",
        "the limit of the kind, at most 1000",
        "The most messages of one connection without an acknowledgement. They have at most 4 MiB together, at Event Grid 64 KiB; a \
         larger message is sent alone.",
    ),
    key("max_packet_bytes", "the limit of the kind", "The largest packet, as a size."),
    key(
        "keepalive",
        "`60s`",
        "How long a connection may be idle before Sluice sends a PINGREQ; at least `5s`.",
    ),
    key(
        "session_expiry",
        "`event-grid`, `aws-iot` `1h`; `mqtt` `7d`",
        "How long the other broker keeps messages for Sluice while the link is down.",
    ),
    key(
        "backlog_max_bytes",
        "`256MiB`",
        "The most payload bytes that wait for the link, from `64KiB` to `1TiB`. Beyond it Sluice notes a gap and refills it later \
         from the stored telemetry.",
    ),
    key(
        "backlog_max_age",
        "`7d`",
        "An older message is not sent any more: it becomes a dead letter with the reason `EXPIRED`. From `1s` to `365d`.",
    ),
    key(
        "refuse_after",
        "`1h`",
        "How long Sluice tries a topic again that the other broker refuses, from `1s` to `30d`. Then its messages become dead \
         letters.",
    ),
    key(
        "replace_after",
        "`ws`, `wss` `23h`; else never",
        "How long Sluice uses one connection, from `5s` to `30d`; with several lanes a little less. It then sends nothing new, waits \
         for the answers, and connects again. AWS ends a websocket after 24 hours.",
    ),
];

/// The keys of a rule of `publish`.
pub const PUBLISH: &[LinkKey] = &[
    key(
        "from",
        "required",
        "The filter of local topics, `tenant/<tenant>/device/<device>/<type>` with `+` and `#`. The first rule that matches \
         decides.",
    ),
    key(
        "to",
        "required",
        "The topic at the other broker, with `{tenant}`, `{device}` and `{type}`. At AWS it may begin with `$aws/rules/<rule>/`.",
    ),
    key(
        "mode",
        "`binary`",
        "`binary` (a CloudEvent in the user properties, the payload unchanged), `structured` (a CloudEvent as JSON) or `raw` (the \
         payload alone).",
    ),
];

/// The keys of a rule of `ingest`.
pub const INGEST: &[LinkKey] = &[
    key(
        "filter",
        "required",
        "The topic filter at the other broker. The first rule that matches decides.",
    ),
    key(
        "tenant",
        "required",
        "The tenant: text, in which `{1}` is the first level of the topic, `{2}` the second.",
    ),
    key("device", "required", "The device, written as `tenant` is."),
    key(
        "type",
        "`telemetry`",
        "The path of the local topic after the device, written as `tenant` is.",
    ),
    key(
        "lenient",
        "`false`",
        "Whether a JSON object with `specversion`, `id`, `source` and `type` is a CloudEvent although its content type does not say \
         so.",
    ),
];

/// The names of these keys.
pub(super) fn names(keys: &[LinkKey]) -> Vec<&'static str> {
    keys.iter().map(|key| key.name).collect()
}
