//! Step 16: what no client can see, as questions for the portal or the console.
//!
//! It repeats the troubleshooting pages that users of these clouds follow.

use super::report::CheckStep;
use crate::link::kind::LinkKind;
use crate::link::settings::{LinkAuth, LinkSettings};

const EVENT_GRID: [&str; 4] = [
    "the namespace exists, and MQTT is enabled on it (Configuration)",
    "the client exists, is enabled, and its authentication name is the user name or the subject of the login",
    "a topic space holds the topics, and a permission binding lets the client group publish or subscribe there",
    "the sessions of one authentication name are not used up (Maximum client sessions per authentication name)",
];

const EVENT_GRID_JWT: [&str; 3] = [
    "custom JWT authentication is enabled, and its issuer is the iss of the token",
    "the certificate (not a bare public key) is in Key Vault, and its key is the one that signs",
    "the managed identity of the namespace has the role Key Vault Certificate User",
];

const AWS_CERTIFICATE: [&str; 2] = [
    "the certificate is active in AWS IoT, and an IoT policy is attached to it",
    "the policy allows iot:Connect for the client id, and iot:Publish, iot:Subscribe, iot:Receive for the topics",
];

const AWS_SIGNED: [&str; 2] = [
    "the policy allows iot:Connect for the client id, and iot:Publish, iot:Subscribe, iot:Receive for the topics",
    "iot:Subscribe names a topicfilter and iot:Publish a topic: both are there",
];

const COGNITO: [&str; 3] = [
    "the identity pool allows guest (unauthenticated) identities, and its guest role is set",
    "the role of guests allows the client ids public-* and the topics public/*",
    "basic (classic) flow is not needed: Sluice uses the enhanced one",
];

const ANY: [&str; 2] = [
    "the access rules let this user connect, and publish and subscribe to the topics",
    "no other client uses the client id",
];

const NO_MESSAGES: &str = "if no message arrives: the subscriber connects before the publisher sends, both use the same topic, and stay connected";

/// Step 16.
pub fn checklist(link: &LinkSettings) -> CheckStep {
    let mut step = CheckStep::new(16, "cannot be seen from here");
    let mut questions: Vec<&str> = Vec::new();
    match (link.kind, &link.auth) {
        (LinkKind::EventGrid, auth) => {
            questions.extend(EVENT_GRID);
            if matches!(auth, LinkAuth::Jwt { .. }) {
                questions.extend(EVENT_GRID_JWT);
            }
        }
        (LinkKind::AwsIot, LinkAuth::Cognito { .. }) => {
            questions.extend(COGNITO);
            questions.extend(AWS_SIGNED);
        }
        (LinkKind::AwsIot, LinkAuth::Certificate { .. }) => questions.extend(AWS_CERTIFICATE),
        (LinkKind::AwsIot, _) => questions.extend(AWS_SIGNED),
        (LinkKind::Mqtt, _) => questions.extend(ANY),
    }
    questions.push(NO_MESSAGES);
    for question in questions {
        step.note(format!("[ ] {question}"));
    }
    step
}
