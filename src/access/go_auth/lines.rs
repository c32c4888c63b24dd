//! The options of mosquitto-go-auth in a broker's configuration, and the lines of the broker that matter
//! beside a plugin.
//!
//! It judges nothing.

use std::collections::BTreeMap;

/// What a configuration holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The options, without `auth_opt_` or `plugin_opt_`, with their values.
    pub options: BTreeMap<String, String>,
    /// The files of `include_dir`.
    pub include_dirs: Vec<String>,
    /// Whether a line loads the plugin.
    pub has_plugin: bool,
    /// The lines that weaken a plugin, by name.
    pub broker: BTreeMap<String, String>,
}

/// Lines of the broker whose value matters beside a plugin.
const BROKER_LINES: [&str; 7] = [
    "use_identity_as_username",
    "use_subject_as_username",
    "per_listener_settings",
    "acl_file",
    "password_file",
    "bridge_protocol_version",
    "auth_plugin_deny_special_chars",
];

impl Configuration {
    /// Adds the lines of one file. The last line of a name counts, as in Mosquitto.
    pub fn read(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let value = value.trim().to_owned();
            let option = name.strip_prefix("auth_opt_").or(name.strip_prefix("plugin_opt_"));
            if let Some(option) = option {
                self.options.insert(option.to_owned(), value);
            } else if matches!(name, "auth_plugin" | "plugin" | "global_plugin") {
                self.has_plugin |= value.contains("go-auth");
            } else if name == "include_dir" {
                self.include_dirs.push(value);
            } else if BROKER_LINES.contains(&name) {
                self.broker.insert(name.to_owned(), value);
            }
        }
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_both_spellings_and_lines_of_the_broker_are_found() {
        let mut configuration = Configuration::default();
        configuration.read(
            "# auth_opt_log_level debug\nauth_plugin /usr/lib/mosquitto/go-auth.so\n\
             auth_opt_backends files, jwt\n  plugin_opt_jwt_mode   local \nacl_file /etc/acl\n\
             include_dir /etc/mosquitto/conf.d\nauth_opt_empty\n",
        );
        assert!(configuration.has_plugin);
        assert_eq!(configuration.option("backends"), Some("files, jwt"));
        assert_eq!(configuration.option("jwt_mode"), Some("local"));
        assert_eq!(configuration.option("empty"), Some(""));
        assert_eq!(configuration.option("log_level"), None);
        assert_eq!(configuration.include_dirs, ["/etc/mosquitto/conf.d"]);
        assert_eq!(configuration.broker["acl_file"], "/etc/acl");
    }
}
