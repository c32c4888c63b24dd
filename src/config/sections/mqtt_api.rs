//! Settings of requests over MQTT.
//!
//! It refuses topics on which a response would be a request or a message of a device.

use crate::config::load::reader::SettingReader;
use crate::config::setting::{Setting, SettingKind, SettingRule};
use crate::domain::caller::{NamedCaller, parse_callers};
use crate::domain::exchange::{MAX_RESPONSE_TOPIC, PublishTopic};

/// Settings of requests over MQTT.
#[derive(Clone, Debug)]
pub struct MqttApiConfig {
    /// `DEVICE_API`.
    pub device_api: bool,
    /// `DEVICE_API_RPS`.
    pub device_rps: u32,
    /// `DEVICE_API_BURST`.
    pub device_burst: u32,
    /// Requests of operators.
    pub operators: OperatorsConfig,
}

/// Settings of requests of operators.
#[derive(Clone, Debug)]
pub struct OperatorsConfig {
    /// `MQTT_API_REQUEST_TOPIC` and `MQTT_API_RESPONSE_TOPIC`.
    pub shared: Option<SharedTopics>,
    /// `MQTT_API_PREFIX`.
    pub prefix: String,
    /// `MQTT_API_CALLERS`.
    pub callers: Vec<NamedCaller>,
    /// `MQTT_API_SECRETS`.
    pub secrets: bool,
}

/// The topics that all callers without a topic of their own share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedTopics {
    /// `MQTT_API_REQUEST_TOPIC`.
    pub request: String,
    /// `MQTT_API_RESPONSE_TOPIC`.
    pub response: PublishTopic,
}

const TOPIC: SettingKind = SettingKind::Text(SettingRule {
    allowed: "a topic of at most 256 bytes without + and #, not below tenant/, sluice/ or $",
    holds: is_own_topic,
});
const PREFIX: SettingKind = SettingKind::Text(SettingRule {
    allowed: "the first levels of a topic, of at most 64 bytes, without + and #, not below tenant/, sluice/ or $",
    holds: is_prefix,
});
const CALLERS: SettingKind = SettingKind::Text(SettingRule {
    allowed: "entries <caller>=<role> or <caller>=<role>@<tenant> with commas between them, each caller once; a role is \
              viewer, operator or admin",
    holds: |text| parse_callers(text).is_some(),
});
const NO_SKIPPED_VERIFICATION: SettingKind = SettingKind::Text(SettingRule {
    allowed: "0: Sluice always verifies the certificate of the broker; name its authority with MQTT_CA_CERT",
    holds: |text| text == "0" || text.eq_ignore_ascii_case("false"),
});

/// The rows of the settings table.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::switch(
        "DEVICE_API",
        "0",
        "Whether devices may send requests to tenant/<tenant>/device/<device>/request/<route>. The broker's access rules need \
         the lines of docs/reference/device-api.md.",
    ),
    Setting::whole(
        "DEVICE_API_RPS",
        "1",
        (1, 1000),
        "requests per second",
        "How many requests of one device are answered in the long run.",
    ),
    Setting::whole(
        "DEVICE_API_BURST",
        "10",
        (1, 10_000),
        "requests",
        "How many requests of one device are answered in a burst.",
    ),
    Setting::optional(
        "MQTT_API_REQUEST_TOPIC",
        TOPIC,
        "The topic on which Sluice receives requests of callers without a name, such as coa-request. They need the ADMIN_TOKEN, \
         except for open routes.",
    ),
    Setting::optional(
        "MQTT_API_RESPONSE_TOPIC",
        TOPIC,
        "The topic of the responses to MQTT_API_REQUEST_TOPIC, such as coa-response.",
    ),
    Setting::with_default(
        "MQTT_API_PREFIX",
        "symphony",
        PREFIX,
        "Named callers publish requests to <prefix>/request/<caller> and read responses from <prefix>/response/<caller>. The \
         access rules of the broker must bind <caller> to the login.",
    ),
    Setting::optional(
        "MQTT_API_CALLERS",
        CALLERS,
        "The named callers with their roles, such as ops=admin,agent7=operator@acme,dash=viewer@acme. After @: the only tenant \
         of the caller. Without callers Sluice does not subscribe to <prefix>/request/+.",
    ),
    Setting::switch(
        "MQTT_API_SECRETS",
        "0",
        "Whether responses over MQTT may contain new tokens, private keys and codes. 0: a request that would create one gets \
         status 403.",
    ),
    Setting::optional(
        "MQTT_INSECURE_SKIP_VERIFY",
        NO_SKIPPED_VERIFICATION,
        "The counterpart of insecureSkipVerify in other MQTT bindings; Sluice refuses to start if it is on.",
    ),
];

// === impl MqttApiConfig ===

impl MqttApiConfig {
    pub(crate) fn read(reader: &mut SettingReader) -> Self {
        Self {
            device_api: reader.switch("DEVICE_API"),
            device_rps: reader.whole("DEVICE_API_RPS"),
            device_burst: reader.whole("DEVICE_API_BURST"),
            operators: OperatorsConfig::read(reader),
        }
    }
}

// === impl OperatorsConfig ===

impl OperatorsConfig {
    /// The topic filters on which requests of operators arrive; none if the API over MQTT is off.
    pub fn request_filters(&self) -> Vec<String> {
        let shared = self.shared.iter().map(|topics| topics.request.clone());
        let named = (!self.callers.is_empty()).then(|| format!("{}/request/+", self.prefix));
        shared.chain(named).collect()
    }

    /// The topics of responses: Sluice needs write access to them.
    pub fn response_filters(&self) -> Vec<String> {
        let shared = self.shared.iter().map(|topics| topics.response.to_string());
        let named = (!self.callers.is_empty()).then(|| format!("{}/response/#", self.prefix));
        shared.chain(named).collect()
    }

    fn read(reader: &mut SettingReader) -> Self {
        // A value that is not 0 is an error.
        let _refused = reader.optional_text("MQTT_INSECURE_SKIP_VERIFY");
        let prefix = reader.text("MQTT_API_PREFIX");
        let callers = reader.optional_text("MQTT_API_CALLERS");
        Self {
            shared: read_shared_topics(reader, &prefix),
            prefix,
            callers: callers.and_then(|text| parse_callers(&text)).unwrap_or_default(),
            secrets: reader.switch("MQTT_API_SECRETS"),
        }
    }
}

// === private helpers ===

fn read_shared_topics(reader: &mut SettingReader, prefix: &str) -> Option<SharedTopics> {
    const REQUEST: &str = "MQTT_API_REQUEST_TOPIC";
    const RESPONSE: &str = "MQTT_API_RESPONSE_TOPIC";
    let (request, response) = match (reader.optional_text(REQUEST), reader.optional_text(RESPONSE))
    {
        (Some(request), Some(response)) => (request, response),
        (None, None) => return None,
        _ => {
            reader.conflict(&[REQUEST, RESPONSE], "each needs the other");
            return None;
        }
    };
    if request == response {
        let why = "a response would be a request: the two topics must differ";
        reader.conflict(&[REQUEST, RESPONSE], why);
    }
    let reserved = |topic: &str, word: &str| {
        topic.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| {
            rest.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    for (name, topic) in [(REQUEST, &request), (RESPONSE, &response)] {
        if reserved(topic, "request") || reserved(topic, "response") {
            let why = "topics below <prefix>/request and <prefix>/response belong to named callers: use another topic";
            reader.conflict(&[name, "MQTT_API_PREFIX"], why);
        }
    }
    Some(SharedTopics { request, response: PublishTopic::new(response).ok()? })
}

/// Whether Sluice may subscribe to the topic, or publish to it, without meeting its own messages or
/// those of devices.
fn is_own_topic(text: &str) -> bool {
    let first = text.split('/').next().unwrap_or_default();
    text.len() <= MAX_RESPONSE_TOPIC
        && PublishTopic::new(text).is_ok()
        && !["tenant", "sluice"].contains(&first)
}

fn is_prefix(text: &str) -> bool {
    text.len() <= 64 && is_own_topic(text) && !text.starts_with('/') && !text.ends_with('/')
}

#[cfg(test)]
mod tests {
    use crate::config::load::tests::{environment, error};
    use crate::config::values::Config;

    #[test]
    fn settings_on_which_a_response_would_be_a_request_are_refused() {
        for (pairs, expected) in [
            (&[("MQTT_API_REQUEST_TOPIC", "a")][..], "MQTT_API_RESPONSE_TOPIC is not set"),
            (&[("MQTT_API_RESPONSE_TOPIC", "a")], "MQTT_API_REQUEST_TOPIC is not set"),
            (
                &[("MQTT_API_REQUEST_TOPIC", "a"), ("MQTT_API_RESPONSE_TOPIC", "a")],
                "a response would be a request",
            ),
            (
                &[
                    ("MQTT_API_REQUEST_TOPIC", "a"),
                    ("MQTT_API_RESPONSE_TOPIC", "symphony/request/x"),
                ],
                "belong to named callers",
            ),
            (
                &[
                    ("MQTT_API_PREFIX", "p/q"),
                    ("MQTT_API_REQUEST_TOPIC", "p/q/response"),
                    ("MQTT_API_RESPONSE_TOPIC", "b"),
                ],
                "belong to named callers",
            ),
            (&[("MQTT_API_CALLERS", "ops=root")], "a role is viewer, operator or admin"),
            (&[("MQTT_INSECURE_SKIP_VERIFY", "true")], "Sluice always verifies"),
        ] {
            let text = error(&environment(pairs));
            assert!(text.contains(expected), "{text}");
        }
        for topic in ["tenant/acme/x", "tenant", "$SYS/a", "a/+", "a/#", "#", "sluice/outbox"] {
            for name in ["MQTT_API_REQUEST_TOPIC", "MQTT_API_RESPONSE_TOPIC", "MQTT_API_PREFIX"] {
                let text = error(&environment(&[(name, topic)]));
                assert!(text.contains(name) && text.contains("without + and #"), "{topic}: {text}");
            }
        }
    }

    #[test]
    fn the_filters_follow_from_the_topics_and_the_callers() {
        let filters = |pairs: &[(&str, &str)]| {
            let config = Config::load(&environment(pairs)).unwrap().config;
            let operators = config.mqtt_api.operators;
            [operators.request_filters(), operators.response_filters()].map(|all| all.join(" "))
        };
        assert_eq!(filters(&[]), ["", ""]);
        let shared = [("MQTT_API_REQUEST_TOPIC", "in"), ("MQTT_API_RESPONSE_TOPIC", "out")];
        assert_eq!(filters(&shared), ["in", "out"]);
        let named = [("MQTT_API_CALLERS", "ops=admin"), ("MQTT_API_PREFIX", "a/b")];
        assert_eq!(filters(&named), ["a/b/request/+", "a/b/response/#"]);
        assert_eq!(filters(&[("MQTT_INSECURE_SKIP_VERIFY", "0")]), ["", ""]);
    }
}
