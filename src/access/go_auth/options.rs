//! What each option of mosquitto-go-auth becomes. Every option of its documentation has an answer here; an
//! unknown one is refused by name.

use super::lines::Configuration;
use super::{OptionFate, Outcome};

/// An option, or a prefix of options that ends with `*`.
type Known = (&'static str, OptionFate, &'static str);

use OptionFate::{Carried, Dropped, Refused};

const NO_CACHE: &str =
    "the plugin keeps no answer by time: the registry and the policy are pushed to it";
const NO_HASH: &str = "Sluice verifies no password hashes: keep the broker's password_file with plugin_opt_unknown defer, \
     or give each user a token of an issuer";
const OTHER_DATABASE: &str = "Sluice does not query this back end: put devices into its registry (sluice device add, sluice cert \
     import) and people into an issuer of tokens";
const KEYS: &str = "Sluice verifies tokens by public keys: set JWT_ISSUER and JWT_JWKS_URL, JWT_JWKS_PATH or JWT_PEM_PATH";

/// In order: the first that fits counts.
const KNOWN: &[Known] = &[
    // How answers are kept and logged.
    ("cache", Dropped, NO_CACHE),
    ("cache_*", Dropped, NO_CACHE),
    ("auth_cache_seconds", Dropped, NO_CACHE),
    ("acl_cache_seconds", Dropped, NO_CACHE),
    ("auth_jitter_seconds", Dropped, NO_CACHE),
    ("acl_jitter_seconds", Dropped, NO_CACHE),
    ("log_level", Dropped, "the plugin writes to the broker's log, whose log_type decides"),
    ("log_dest", Dropped, "the plugin writes to the broker's log"),
    ("log_file", Dropped, "the plugin writes to the broker's log"),
    (
        "retry_count",
        Dropped,
        "a lost question is decided within ask_ms, and the client tries again",
    ),
    // Who is asked.
    ("backends", Carried, "see the options of each back end"),
    ("disable_superuser", Dropped, "without a rule nobody is a superuser"),
    ("exhaust_backend_first", Dropped, "one source decides about a login: Sluice"),
    (
        "*_register",
        Refused,
        "a back end that answers some questions only has no counterpart: one policy decides",
    ),
    ("check_prefix", Refused, "Sluice does not choose a source by a prefix of the user name"),
    ("prefixes", Refused, "Sluice does not choose a source by a prefix of the user name"),
    ("strip_prefix", Refused, "Sluice does not change user names"),
    ("use_clientid_as_username", Refused, "a client id proves nothing; use certificates or tokens"),
    ("plugin_path", Refused, "a back end of your own (plugin) has no counterpart"),
    // Passwords.
    ("hasher", Dropped, "it belongs to the back ends with passwords, see there"),
    ("hasher_*", Dropped, "it belongs to the back ends with passwords, see there"),
    ("*_hasher", Dropped, "it belongs to the back ends with passwords, see there"),
    ("*_hasher_*", Dropped, "it belongs to the back ends with passwords, see there"),
    ("password_path", Refused, NO_HASH),
    ("files_password_path", Refused, NO_HASH),
    // Tokens.
    ("jwt_skip_user_expiration", Refused, "an expired token would stay valid"),
    ("jwt_skip_acl_expiration", Refused, "a session would outlive its token"),
    ("jwt_secret", Refused, KEYS),
    (
        "jwt_db",
        Refused,
        "Sluice looks up no user of a token in a database: groups and scopes come from its claims",
    ),
    ("jwt_userquery", Refused, "Sluice looks up no user of a token in a database"),
    ("jwt_superquery", Refused, "use group_permissions with superuser in the policy file"),
    ("jwt_aclquery", Refused, "use rules for groups and scopes in the policy file"),
    ("jwt_userfield", Carried, "Sluice takes the subject (sub); of a program its client id"),
    ("jwt_user_agent", Dropped, "Sluice fetches the issuer's keys only"),
    ("jwt_*", Refused, KEYS),
    // Any other back end.
    ("pg_*", Refused, OTHER_DATABASE),
    ("mysql_*", Refused, OTHER_DATABASE),
    ("sqlite_*", Refused, OTHER_DATABASE),
    ("mongo_*", Refused, OTHER_DATABASE),
    ("redis_*", Refused, OTHER_DATABASE),
    ("ldap_*", Refused, OTHER_DATABASE),
    ("grpc_*", Refused, "another service cannot decide; let it issue tokens"),
    ("js_*", Refused, "a script cannot decide; write the rules into the policy file"),
    ("plugin_*", Refused, "a back end of your own (plugin) has no counterpart"),
];

/// What becomes of all options but the ACL files, in the order of their names.
pub fn outcomes(configuration: &Configuration) -> Vec<Outcome> {
    let is_sluice = asks_sluice(configuration);
    let mut outcomes: Vec<Outcome> = configuration
        .options
        .iter()
        .filter(|(name, _)| !is_acl_path(name))
        .map(|(name, value)| outcome(name, value, is_sluice))
        .collect();
    outcomes.extend(lints(configuration));
    outcomes
}

/// The options that name ACL files.
pub fn is_acl_path(name: &str) -> bool {
    matches!(name, "acl_path" | "files_acl_path")
}

// === private helpers ===

/// Whether the http back end asks Sluice itself.
fn asks_sluice(configuration: &Configuration) -> bool {
    let paths = ["http_getuser_uri", "http_aclcheck_uri"];
    let is_ours = |path: &str| {
        let path = path.split('?').next().unwrap_or_default();
        matches!(path, "/mqtt/user" | "/user" | "/text/mqtt/user" | "/text/user")
            || matches!(path, "/mqtt/acl" | "/acl" | "/text/mqtt/acl" | "/text/acl")
    };
    let named: Vec<&str> = paths.iter().filter_map(|name| configuration.option(name)).collect();
    let is_default_port = configuration.option("http_port") == Some("8009");
    !named.is_empty() && named.into_iter().all(is_ours) && is_default_port
}

fn outcome(name: &str, value: &str, is_sluice: bool) -> Outcome {
    if name == "backends" {
        return backends(value);
    }
    if name.starts_with("http_") {
        return if is_sluice {
            Outcome::new(name, Carried, "it asks Sluice, which the plugin asks through its socket")
        } else {
            Outcome::new(name, Refused, "another service cannot decide; let it issue tokens")
        };
    }
    // What is off changes nothing.
    let is_off = matches!(value, "false" | "") && name != "jwt_parse_token";
    if is_off
        && (name.starts_with("jwt_skip_")
            || name == "check_prefix"
            || name == "use_clientid_as_username")
    {
        return Outcome::new(name, Dropped, "it is off");
    }
    let known = KNOWN.iter().find(|(pattern, ..)| fits(pattern, name));
    known.map_or_else(
        || {
            Outcome::new(
                name,
                Refused,
                "no option of mosquitto-go-auth has this name: check its spelling",
            )
        },
        |(_, fate, detail)| Outcome::new(name, *fate, *detail),
    )
}

fn backends(value: &str) -> Outcome {
    let names: Vec<&str> =
        value.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let lost: Vec<&str> =
        names.iter().copied().filter(|name| !matches!(*name, "files" | "http" | "jwt")).collect();
    if lost.is_empty() {
        Outcome::new("backends", Carried, "see the options of each back end")
    } else {
        let lost = lost.join(", ");
        Outcome::new("backends", Refused, format!("Sluice has no counterpart of: {lost}"))
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => {
            name.len() >= start.len() + end.len()
                && name.starts_with(start)
                && end.split('*').all(|part| name[start.len()..].contains(part))
                && (end.ends_with('*') || name.ends_with(end))
        }
    }
}

/// Lines of the broker that undo a plugin.
fn lints(configuration: &Configuration) -> Vec<Outcome> {
    let mut found = Vec::new();
    for name in ["use_identity_as_username", "use_subject_as_username"] {
        if configuration.broker.get(name).is_some_and(|value| value == "true") {
            found.push(Outcome::new(
                name,
                Refused,
                "remove the line: with it the broker asks no plugin about a login by certificate",
            ));
        }
    }
    if configuration.broker.get("per_listener_settings").is_some_and(|value| value == "true") {
        found.push(Outcome::new(
            "per_listener_settings",
            Carried,
            "name the plugin below each listener; before Mosquitto 2.0.15 an idle session cannot be ended",
        ));
    }
    if configuration.broker.contains_key("acl_file") {
        found.push(Outcome::new(
            "acl_file",
            Carried,
            "it decides only for users of the password_file, and with plugin_opt_unknown defer",
        ));
    }
    if configuration.broker.get("bridge_protocol_version").is_some_and(|value| value != "mqttv50") {
        found.push(Outcome::new(
            "bridge_protocol_version",
            Refused,
            "a bridge with MQTT 3.1.1 loses the proofs of publishers: set mqttv50",
        ));
    }
    if configuration.broker.contains_key("auth_plugin_deny_special_chars") {
        found.push(Outcome::new(
            "auth_plugin_deny_special_chars",
            Dropped,
            "the plugin refuses + and # in identities, and allows /",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(text: &str) -> Vec<(String, OptionFate)> {
        let mut configuration = Configuration::default();
        configuration.read(text);
        outcomes(&configuration).into_iter().map(|it| (it.name, it.fate)).collect()
    }

    fn fate(line: &str) -> OptionFate {
        fates(line)[0].1
    }

    #[test]
    fn each_option_has_its_answer() {
        for (line, expected) in [
            ("auth_opt_cache true", Dropped),
            ("auth_opt_cache_host redis", Dropped),
            ("auth_opt_log_level debug", Dropped),
            ("auth_opt_backends files, jwt", Carried),
            ("auth_opt_backends files, ldap", Refused),
            ("auth_opt_files_register user", Refused),
            ("auth_opt_pg_password secret", Refused),
            ("auth_opt_pg_hasher bcrypt", Dropped),
            ("auth_opt_hasher_cost 10", Dropped),
            ("auth_opt_jwt_secret x", Refused),
            ("auth_opt_jwt_skip_acl_expiration true", Refused),
            ("auth_opt_jwt_skip_acl_expiration false", Dropped),
            ("auth_opt_jwt_userfield Subject", Carried),
            ("auth_opt_use_clientid_as_username true", Refused),
            ("auth_opt_js_user_script_path x", Refused),
            ("auth_opt_misspelled 1", Refused),
        ] {
            assert_eq!(fate(line), expected, "{line}");
        }
    }

    #[test]
    fn an_http_back_end_is_carried_over_if_it_is_sluice() {
        let ours = "auth_opt_http_host 127.0.0.1\nauth_opt_http_port 8009\n\
            auth_opt_http_getuser_uri /mqtt/user?secret=x\nauth_opt_http_aclcheck_uri /mqtt/acl\n";
        assert!(fates(ours).iter().all(|(_, fate)| *fate == Carried));
        let other = ours.replace("/mqtt/acl", "/other");
        assert!(fates(&other).iter().all(|(_, fate)| *fate == Refused));
    }

    #[test]
    fn no_outcome_contains_a_value() {
        let mut configuration = Configuration::default();
        configuration
            .read("auth_opt_pg_password s3cret\nauth_opt_jwt_secret s3cret\nauth_opt_x s3cret\n");
        let printed = format!("{:?}", outcomes(&configuration));
        assert!(!printed.contains("s3cret"), "{printed}");
    }

    #[test]
    fn lines_that_undo_the_plugin_are_named() {
        let found = fates("use_identity_as_username true\nbridge_protocol_version mqttv311\n");
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|(_, fate)| *fate == Refused));
    }
}
