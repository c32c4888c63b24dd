//! What a status does at the broker, for the commands that set one: whether the access rules follow, and what keeps a
//! certificate out.
//!
//! It reads the settings of this command; a daemon that runs with others does what those say.

use crate::command::table::OutputFormat;
use crate::config::Config;

/// Whether the broker's access rules follow a status.
pub(super) const fn is_far(config: &Config) -> bool {
    config.certificates.acl.output_path.is_some()
}

/// Says it to people, beside what was printed.
pub(super) fn say(output: OutputFormat, config: &Config, whose: &str) {
    if output == OutputFormat::Table {
        eprintln!("{}", sentence(is_far(config), whose));
    }
}

fn sentence(is_far: bool, whose: &str) -> String {
    let revoke = "`sluice cert revoke` keeps a certificate out for good";
    if is_far {
        format!(
            "The broker's access rules (ACL_OUTPUT_PATH) follow within seconds, for live sessions too: unless it is ACTIVE, \
             {whose} neither publishes nor reads. It can still connect; {revoke}."
        )
    } else {
        format!(
            "Sluice decides by this status; the broker is not notified of it, for ACL_OUTPUT_PATH is not set: {whose} can \
             still connect and read its commands; {revoke}."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sentences_name_the_command_that_keeps_a_certificate_out() {
        for is_far in [true, false] {
            assert!(sentence(is_far, "the device").contains("`sluice cert revoke`"));
        }
        assert!(sentence(false, "the device").contains("ACL_OUTPUT_PATH is not set"));
    }
}
