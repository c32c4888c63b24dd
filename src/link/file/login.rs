//! Reads how a link logs in: `auth`, and the keys that belong to it.
//!
//! It opens none of the files that they name.

use std::time::Duration;

use serde_json::{Map, Value};

use super::fields::{LinkFields, shown};
use super::{hosts, keys};
use crate::config::document::tree::Node;
use crate::config::sections::broker::{BrokerJwt, JwtPlace, MAX_CLAIMS_BYTES, OWN_CLAIMS};
use crate::link::kind::LinkKind;
use crate::link::settings::{AwsProfile, LinkAuth};

/// What `auth` may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginMethod {
    None,
    Password,
    Jwt,
    Certificate,
    SigV4,
    Cognito,
}

const METHODS: [(&str, LoginMethod); 6] = [
    ("none", LoginMethod::None),
    ("password", LoginMethod::Password),
    ("jwt", LoginMethod::Jwt),
    ("certificate", LoginMethod::Certificate),
    ("sigv4", LoginMethod::SigV4),
    ("cognito", LoginMethod::Cognito),
];

const PLACES: [(&str, JwtPlace); 3] = [
    ("enhanced", JwtPlace::Enhanced),
    ("password", JwtPlace::Password),
    ("username", JwtPlace::Username),
];

/// The claims that have keys of their own, and these keys.
const CLAIM_KEYS: [(&str, &str); 3] = [("iss", "issuer"), ("sub", "subject"), ("aud", "audience")];

const SHORTEST_LIFETIME: Duration = Duration::from_secs(10);
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);
const LIFETIME: Duration = Duration::from_hours(1);

/// What guests may use, unless `public_prefix` says otherwise.
const PUBLIC: &str = "public";

/// Reads `auth`. `None`: it is missing, or no method.
pub(super) fn method(
    fields: &mut LinkFields<'_, '_>,
    kind: Option<LinkKind>,
) -> Option<LoginMethod> {
    if fields.has("auth") {
        return fields.choice("auth", &METHODS);
    }
    match kind {
        Some(LinkKind::EventGrid) => fields.require("auth", "expected \"jwt\" or \"certificate\""),
        Some(LinkKind::AwsIot) => {
            fields.require("auth", "expected \"certificate\", \"sigv4\" or \"cognito\"");
        }
        _ => return Some(LoginMethod::None),
    }
    None
}

/// Reads the keys of the login.
pub(super) fn read(
    fields: &mut LinkFields<'_, '_>,
    kind: Option<LinkKind>,
    method: Option<LoginMethod>,
    host: Option<&str>,
) -> Option<LinkAuth> {
    let method = method?;
    reject_keys_of_others(fields, method);
    match method {
        LoginMethod::None => Some(LinkAuth::Anonymous),
        LoginMethod::Password => password(fields),
        LoginMethod::Jwt => jwt(fields, kind, host),
        LoginMethod::Certificate => certificate(fields),
        LoginMethod::SigV4 => sigv4(fields, host),
        LoginMethod::Cognito => cognito(fields, host),
    }
}

// === impl LoginMethod ===

impl LoginMethod {
    /// Its name in the file.
    pub const fn label(self) -> &'static str {
        METHODS[self as usize].0
    }

    /// Whether it signs the URL of a websocket.
    pub const fn signs_url(self) -> bool {
        matches!(self, Self::SigV4 | Self::Cognito)
    }
}

// --- private helpers ---

fn reject_keys_of_others(fields: &mut LinkFields<'_, '_>, method: LoginMethod) {
    let of_others = keys::LINK
        .iter()
        .filter(|key| !key.of_auth.is_empty() && !key.of_auth.contains(&method.label()));
    for key in of_others {
        if fields.has(key.name) {
            let names: Vec<_> = key.of_auth.iter().map(|name| format!("{name:?}")).collect();
            let why = format!(
                "it is used only with auth = {}, and auth is {:?}: remove one of them",
                names.join(" or "),
                method.label()
            );
            fields.fault(key.name, why);
        }
    }
}

fn password(fields: &mut LinkFields<'_, '_>) -> Option<LinkAuth> {
    fields.require("username", "auth = \"password\" needs a user name");
    fields.require("password_file", "auth = \"password\" needs the file that holds the password");
    let username = fields.text("username").map(str::to_owned);
    let password_file = fields.path("password_file");
    Some(LinkAuth::Password { username: username?, password_file: password_file? })
}

fn certificate(fields: &mut LinkFields<'_, '_>) -> Option<LinkAuth> {
    fields.require("cert", "auth = \"certificate\" needs the client certificate (PEM)");
    fields.require("key", "auth = \"certificate\" needs the private key of cert (PEM)");
    let (cert, key) = (fields.path("cert"), fields.path("key"));
    let username = fields.text("username").map(str::to_owned);
    Some(LinkAuth::Certificate { cert: cert?, key: key?, username })
}

fn jwt(
    fields: &mut LinkFields<'_, '_>,
    kind: Option<LinkKind>,
    host: Option<&str>,
) -> Option<LinkAuth> {
    fields.require("key", "auth = \"jwt\" needs the RSA key (PEM) that signs the tokens");
    fields.require("subject", "auth = \"jwt\" needs the claim sub");
    let is_event_grid = kind == Some(LinkKind::EventGrid);
    let key = fields.path("key");
    let key_id = fields.text("key_id").map(str::to_owned);
    let subject = fields.text("subject").map(str::to_owned);
    let issuer = fields.text("issuer").map(str::to_owned);
    let default_audience = host.filter(|_| is_event_grid);
    let audience = audience(fields).or_else(|| {
        let host = default_audience?;
        Some(vec![host.to_owned(), format!("{host}/")].into())
    });
    let mut claims = claims(fields);
    let own = [("iss", issuer.map(Value::String)), ("aud", audience)];
    for (name, value) in own.into_iter().chain([("sub", subject.clone().map(Value::String))]) {
        if let Some(value) = value {
            claims.insert(name.to_owned(), value);
        }
    }
    let lifetime =
        fields.duration("lifetime", SHORTEST_LIFETIME..=LONGEST_LIFETIME, "").unwrap_or(LIFETIME);
    let default_place = if is_event_grid { JwtPlace::Enhanced } else { JwtPlace::Password };
    let place = fields.choice("place", &PLACES).unwrap_or(default_place);
    let username = fields.text("username").map(str::to_owned);
    check_username(fields, place);
    subject?;
    let token = BrokerJwt { key: key?, key_id, claims, lifetime, place };
    Some(LinkAuth::Jwt { token, username })
}

fn check_username(fields: &mut LinkFields<'_, '_>, place: JwtPlace) {
    match place {
        JwtPlace::Password => fields.require(
            "username",
            "the token is sent as the password, and a password needs a user name",
        ),
        JwtPlace::Username if fields.has("username") => {
            fields.fault("username", "the token is sent as the user name: remove username");
        }
        JwtPlace::Username | JwtPlace::Enhanced => {}
    }
}

/// A text, or a list of texts.
fn audience(fields: &mut LinkFields<'_, '_>) -> Option<Value> {
    let node = fields.get("audience")?;
    if matches!(node, Node::Text(_)) {
        return fields.text("audience").map(Value::from);
    }
    let texts = fields.values.texts(&fields.path_of("audience"), node);
    if texts.is_empty() {
        fields.fault("audience", "expected a text, or a list of texts that is not empty");
    }
    Some(texts.into_iter().map(|(_, text)| text).collect())
}

fn claims(fields: &mut LinkFields<'_, '_>) -> Map<String, Value> {
    let Some(node) = fields.get("claims") else { return Map::new() };
    let place = fields.path_of("claims");
    let Some(entries) = fields.values.table(&place, node) else { return Map::new() };
    for name in OWN_CLAIMS.iter().filter(|own| entries.iter().any(|(key, _)| key == *own)) {
        fields.values.fault(format!("{place}.{name}"), "Sluice sets this claim: remove it");
    }
    for (name, key) in CLAIM_KEYS {
        if entries.iter().any(|(given, _)| given == name) {
            fields.values.fault(format!("{place}.{name}"), format!("write it as the key {key}"));
        }
    }
    let Some(Value::Object(claims)) = node.to_json() else {
        fields.fault("claims", "expected texts, numbers, true, false, lists and tables");
        return Map::new();
    };
    let bytes = serde_json::to_string(&claims).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_CLAIMS_BYTES {
        fields.fault("claims", format!("expected at most {MAX_CLAIMS_BYTES} bytes of JSON"));
    }
    claims
}

fn sigv4(fields: &mut LinkFields<'_, '_>, host: Option<&str>) -> Option<LinkAuth> {
    let region = region(fields, host.and_then(hosts::region));
    let path = fields.path("credentials_file");
    let profile = fields.text("profile").map(str::to_owned);
    if profile.is_some() && !fields.has("credentials_file") {
        fields.fault("profile", "it is a section of credentials_file: set that too, or remove it");
    }
    let credentials = path
        .map(|path| AwsProfile { path, profile: profile.unwrap_or_else(|| "default".to_owned()) });
    Some(LinkAuth::SigV4 { region: region?, credentials })
}

fn cognito(fields: &mut LinkFields<'_, '_>, host: Option<&str>) -> Option<LinkAuth> {
    fields.require("identity_pool_id", "auth = \"cognito\" needs it, as <region>:<uuid>");
    let pool = fields.text("identity_pool_id");
    let of_pool = pool.and_then(|pool| pool.split_once(':')).map(|(region, _)| region);
    if let Some(pool) = pool
        && !of_pool.is_some_and(is_region)
    {
        let why = format!("expected <region>:<uuid>, such as us-east-1:..., found {}", shown(pool));
        fields.fault("identity_pool_id", why);
        return None;
    }
    let region = region(fields, host.and_then(hosts::region).or(of_pool));
    let endpoint = fields.text("cognito_endpoint").map(str::to_owned);
    if let Some(url) = endpoint.as_deref()
        && let Err(why) = check_endpoint(url)
    {
        fields.fault("cognito_endpoint", why);
    }
    let public_prefix = public_prefix(fields);
    Some(LinkAuth::Cognito {
        region: region?,
        identity_pool_id: pool?.to_owned(),
        endpoint,
        public_prefix,
    })
}

/// `None`: any client id and topic.
fn public_prefix(fields: &mut LinkFields<'_, '_>) -> Option<String> {
    let Some(node) = fields.get("public_prefix") else { return Some(PUBLIC.to_owned()) };
    let prefix = fields.values.text(&fields.path_of("public_prefix"), node)?;
    if prefix.contains(|c: char| c.is_control() || "/+#".contains(c)) {
        let why = format!("expected one level of a topic, found {}", shown(prefix));
        fields.fault("public_prefix", why);
    }
    Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty())
}

fn region(fields: &mut LinkFields<'_, '_>, default: Option<&str>) -> Option<String> {
    if !fields.has("region") && default.is_none() {
        fields.require("region", "the host does not name it; expected one such as us-east-1");
        return None;
    }
    if !fields.has("region") {
        return default.map(str::to_owned);
    }
    let region = fields.text("region")?;
    if is_region(region) {
        return Some(region.to_owned());
    }
    let why = format!("expected a region such as us-east-1, found {}", shown(region));
    fields.fault("region", why);
    None
}

fn is_region(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 32 && text.bytes().all(is_plain)
}

fn check_endpoint(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority.strip_prefix('[').map_or_else(
        || authority.split(':').next().unwrap_or(authority),
        |rest| rest.split(']').next().unwrap_or(rest),
    );
    match scheme {
        _ if host.is_empty() || authority.contains('@') => {}
        "https" => return Ok(()),
        "http" if hosts::is_loopback(host) => return Ok(()),
        _ => {}
    }
    Err(format!("expected an https:// URL, or http:// to this machine, found {}", shown(url)))
}
