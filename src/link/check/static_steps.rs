//! Steps 1, 2 and 5: the settings of the link, the shape of its host name, and its client id.
//!
//! They open no file and no connection.

use std::net::IpAddr;

use super::report::CheckStep;
use crate::link::file::hosts::AZURE;
use crate::link::kind::{LinkKind, LinkTransport};
use crate::link::settings::{LinkAuth, LinkSettings};

/// Longest client id of Event Grid and AWS IoT Core, in bytes.
const CLIENT_ID_MAX: usize = 128;

/// Longest client id that every broker of MQTT 3.1 accepts.
const CLIENT_ID_OLD_MAX: usize = 23;

/// The name of step 1.
pub const SETTINGS: &str = "file and settings";

/// Step 1: what the file says of the link.
pub fn settings(link: &LinkSettings, file: &str) -> CheckStep {
    let mut step = CheckStep::new(1, SETTINGS);
    step.note(format!("{file} is valid"));
    step.note(format!(
        "kind {}, {}://{}:{}, auth {}, {} lane(s)",
        link.kind.label(),
        link.transport.label(),
        link.host,
        link.port,
        link.auth.label(),
        link.lanes,
    ));
    step.note(format!(
        "{} publish rule(s), {} ingest rule(s)",
        link.publish.len(),
        link.ingest.len()
    ));
    if link.publish.is_empty() && link.ingest.is_empty() {
        step.warn(
            "the link forwards nothing and takes in nothing",
            format!("add publish or ingest rules to link.{}", link.name),
        );
        step.field("publish").field("ingest");
    }
    step
}

/// Step 2: whether the host can be the MQTT endpoint of this kind.
pub fn host(link: &LinkSettings) -> CheckStep {
    let mut step = CheckStep::new(2, "host");
    let host = link.host.as_str();
    if is_local(host) {
        step.note(format!("{host} is this machine: a stand-in, its name has no shape to check"));
        return step;
    }
    match link.kind {
        LinkKind::EventGrid => event_grid_host(&mut step, host),
        LinkKind::AwsIot => aws_host(&mut step, host),
        LinkKind::Mqtt => {
            step.note(format!("{host}: any name is possible for kind mqtt"));
        }
    }
    port(&mut step, link);
    step
}

/// Step 5: the client id of the check and that of the daemon.
pub fn client_id(link: &LinkSettings, of_check: &str) -> CheckStep {
    let mut step = CheckStep::new(5, "client id");
    step.note(format!("the check connects as {of_check}"));
    match link.lanes {
        0 | 1 => step.note(format!("the daemon connects as {}", link.client_id)),
        lanes => {
            let last = lanes - 1;
            step.note(format!("the daemon connects as {0}-0 to {0}-{last}", link.client_id))
        }
    };
    for id in [of_check, &link.client_id] {
        if id.is_empty() || id.len() > CLIENT_ID_MAX {
            step.fail(
                format!("the client id {id:?} has {} bytes", id.len()),
                format!("choose a client id of 1 to {CLIENT_ID_MAX} bytes"),
            );
            step.field("client_id");
        } else if id.len() > CLIENT_ID_OLD_MAX {
            step.note(format!(
                "{id} has more than {CLIENT_ID_OLD_MAX} bytes: a limit of MQTT 3.1, which neither cloud has"
            ));
        }
    }
    if let LinkAuth::Jwt { token, .. } = &link.auth {
        let subject = token.claims.get("sub").and_then(|value| value.as_str());
        if link.kind == LinkKind::EventGrid && subject.is_some_and(|sub| sub != link.client_id) {
            step.note(format!(
                "the subject is {} and not the client id: Event Grid wants the authentication name of the client there",
                subject.unwrap_or_default()
            ));
        }
    }
    step
}

/// Whether the host is this machine.
pub fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

// === private helpers ===

fn event_grid_host(step: &mut CheckStep, host: &str) {
    let found = AZURE.iter().find_map(|end| Some((host.strip_suffix(end)?, *end)));
    let Some((front, end)) = found else {
        step.warn(
            format!("{host} does not end with {}", AZURE.join(" or ")),
            "a custom domain may have any name; without one use the MQTT host name of the namespace's page in the portal",
        );
        step.field("host");
        return;
    };
    if front.ends_with("-1.ts") && front.split('.').count() == 3 {
        step.note(format!("{host} has the shape of an MQTT host name"));
        return;
    }
    let advice = if front.split('.').any(|label| label == "ts") {
        format!("the shape is <namespace>.<region>-1.ts{end}")
    } else {
        let region = if front.ends_with("-1") { front.to_owned() } else { format!("{front}-1") };
        format!("that is the HTTP host name: set host = \"{region}.ts{end}\"")
    };
    step.fail(format!("{host} is not the MQTT host name of a namespace"), advice);
    step.field("host");
}

fn aws_host(step: &mut CheckStep, host: &str) {
    if !host.contains(".iot.") || !host.contains(".amazonaws.com") {
        step.warn(
            format!("{host} is no endpoint of AWS IoT Core, unless it is a custom domain"),
            "`aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints the endpoint",
        );
        step.field("host");
    } else if !host.split('.').next().unwrap_or_default().ends_with("-ats") {
        step.warn(
            format!("{host} is an endpoint whose certificate no current root signs"),
            "use the endpoint with -ats: `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints it",
        );
        step.field("host");
    } else {
        step.note(format!("{host} has the shape of an endpoint of AWS IoT Core"));
    }
}

fn port(step: &mut CheckStep, link: &LinkSettings) {
    let usual = match link.transport {
        LinkTransport::Tls => 8883,
        LinkTransport::SecureWebSocket => 443,
        LinkTransport::Tcp => 1883,
        LinkTransport::WebSocket => 80,
    };
    let is_alpn = link.kind == LinkKind::AwsIot && link.transport == LinkTransport::Tls;
    if link.port != usual && link.kind != LinkKind::Mqtt && !(is_alpn && link.port == 443) {
        step.warn(
            format!("port {} is unusual for {}", link.port, link.transport.label()),
            format!("leave port out: it is {usual} for {}", link.transport.label()),
        );
        step.field("port");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::check::report::StepResult;

    #[test]
    fn a_host_of_each_azure_cloud_is_known_and_the_http_host_is_corrected() {
        for end in AZURE {
            let mut step = CheckStep::new(2, "host");
            event_grid_host(&mut step, &format!("ns.region-1.ts{end}"));
            assert_eq!(step.result, StepResult::Pass, "{end}");
            let mut step = CheckStep::new(2, "host");
            event_grid_host(&mut step, &format!("ns.region-1{end}"));
            assert_eq!(step.result, StepResult::Fail, "{end}");
            assert!(step.advice[0].ends_with(&format!("\"ns.region-1.ts{end}\"")), "{step:?}");
        }
        let mut step = CheckStep::new(2, "host");
        event_grid_host(&mut step, "mqtt.example.org");
        assert_eq!(step.result, StepResult::Warn);
    }
}
