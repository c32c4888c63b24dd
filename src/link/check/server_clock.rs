//! Step 9: the clock of this machine against that of a server that tells its time.
//!
//! MQTT carries no time of day: only HTTP answers do.

use super::report::CheckStep;
use crate::clock;
use crate::link::aws::server_date::ClockDifference;
use crate::link::settings::{LinkAuth, LinkSettings};

/// Seconds that a token is valid before it is made.
const BACKDATED: f64 = 60.0;

/// Step 9. `date` is the `Date` of an HTTP answer, `of_credentials` what the identity pool's answer showed.
pub fn clock(
    link: &LinkSettings,
    date: Option<&str>,
    of_credentials: Option<ClockDifference>,
    has_answer: bool,
) -> CheckStep {
    let mut step = CheckStep::new(9, "clock");
    let difference =
        of_credentials.or_else(|| ClockDifference::find(date.unwrap_or_default(), clock::now()));
    let Some(difference) = difference else {
        return match date {
            Some(date) => {
                step.note(format!("the server's clock ({date}) and that of this machine agree"));
                step
            }
            None if has_answer => {
                step.note("the clocks of the identity pool and of this machine agree");
                step
            }
            None => unknown(),
        };
    };
    let advice = "set the clock of this machine: run an NTP client such as chrony";
    let matters = match &link.auth {
        LinkAuth::SigV4 { .. } | LinkAuth::Cognito { .. } => difference.spoils_signatures(),
        LinkAuth::Jwt { token, .. } => {
            let lifetime = token.lifetime.as_secs_f64();
            difference.seconds() > BACKDATED || -difference.seconds() > lifetime
        }
        _ => false,
    };
    if matters {
        step.fail(difference.to_string(), advice);
    } else {
        step.warn(difference.to_string(), advice);
    }
    step
}

// === private helpers ===

fn unknown() -> CheckStep {
    CheckStep::skipped(
        9,
        "clock",
        "no server told its time: MQTT carries none; `chronyc tracking` or `timedatectl` shows the clock of this machine",
    )
}
