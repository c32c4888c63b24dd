//! What a status changes at the broker, for the commands that set one: whether access rules follow,
//! and which command keeps a certificate out.
//!
//! It reads this command's settings; a daemon with other settings follows its own.

use crate::command::table::OutputFormat;
use crate::config::Config;

/// Whether the broker's access rules follow a status.
pub(super) const fn reaches_broker(config: &Config) -> bool {
    config.certificates.acl.output_path.is_some()
}

/// Prints the sentence to standard error in table mode.
pub(super) fn print_note(output: OutputFormat, config: &Config, whose: &str) {
    if output == OutputFormat::Table {
        eprintln!("{}", sentence(reaches_broker(config), whose));
    }
}

fn sentence(reaches_broker: bool, whose: &str) -> String {
    let revoke = "`sluice cert revoke` ends that permanently";
    if reaches_broker {
        format!(
            "The broker's access rules (ACL_OUTPUT_PATH) follow within seconds, also for open sessions: unless the status is \
             ACTIVE, {whose} can neither publish nor read. It can still connect; {revoke}."
        )
    } else {
        format!(
            "Only Sluice applies this status: ACL_OUTPUT_PATH is not set, so the broker's access rules do not follow. {whose} can \
             still connect and read its commands; {revoke}."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sentences_name_the_command_that_keeps_a_certificate_out() {
        for reaches_broker in [true, false] {
            assert!(sentence(reaches_broker, "the device").contains("`sluice cert revoke`"));
        }
        assert!(sentence(false, "the device").contains("ACL_OUTPUT_PATH is not set"));
    }
}
