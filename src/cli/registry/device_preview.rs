//! `sluice device preview`: what the registration of a device would do to its refused messages.
//!
//! It registers nothing, and prints no token and no hash.

use serde_json::json;

use crate::clock;
use crate::command::context::{CommandContext, outage, printed};
use crate::command::failure::{Exit, Failure};
use crate::command::table::{OutputFormat, fields};
use crate::command::text::printable_or_none;
use crate::config::Config;
use crate::domain::ids::DeviceKey;
use crate::quarantine::registration::{NewProof, PreviewJudge, ProofForecast, RegistrationPreview};
use crate::telemetry::metrics::Metrics;

/// Judges the kept messages of the device as if it were registered.
pub(super) async fn run(
    operator: &CommandContext,
    config: &Config,
    key: &DeviceKey,
    output: OutputFormat,
) -> Result<Exit, Failure> {
    let metrics =
        Metrics::new().map_err(|error| Failure::new(Exit::Internal, error.to_string()))?.replay;
    let judge = PreviewJudge { config: &config.ingest, metrics, clock: clock::now };
    let preview = operator.quarantine().preview_registration(key, judge, true).await;
    let preview = preview.map_err(|error| outage(&error))?;
    let mut lines = vec![
        ("Device", key.to_string()),
        ("Registered", if preview.is_registered { "yes" } else { "no" }.to_owned()),
        ("Refused messages", counted(&preview)),
        ("With a token", preview.with_token.to_string()),
        ("Site", printable_or_none(preview.site.as_deref())),
        (
            "Token to take over",
            match &preview.token {
                Ok(event) => format!("--token-of-event {event}"),
                Err(why) => format!("none: {why}"),
            },
        ),
    ];
    lines.extend(preview.forecasts.iter().map(|forecast| (name(forecast), result(forecast))));
    printed(fields(output, &value(key, &preview), &lines))
}

// === private helpers ===

fn value(key: &DeviceKey, preview: &RegistrationPreview) -> serde_json::Value {
    let forecasts: Vec<_> = preview
        .forecasts
        .iter()
        .map(|forecast| {
            json!({
                "proof": forecast.proof.label(), "stored": forecast.stored,
                "reason": forecast.refused.map(crate::domain::refusal::Reason::label),
            })
        })
        .collect();
    json!({
        "tenant_id": key.tenant(), "device_id": key.device(), "is_registered": preview.is_registered,
        "messages": preview.messages, "more": preview.more, "with_token": preview.with_token,
        "site_id": preview.site, "token_of_event": preview.token.ok(),
        "token_refusal": preview.token.err().map(|why| why.to_string()), "forecasts": forecasts,
    })
}

fn counted(preview: &RegistrationPreview) -> String {
    if preview.more {
        format!("more than {}; the oldest were judged", preview.messages)
    } else {
        preview.messages.to_string()
    }
}

const fn name(forecast: &ProofForecast) -> &'static str {
    match forecast.proof {
        NewProof::NewToken => "Stored with a new token, or none",
        NewProof::TheirToken => "Stored with their token",
        NewProof::Certificate => "Stored with a certificate",
        NewProof::Registered => "Stored as registered",
    }
}

fn result(forecast: &ProofForecast) -> String {
    match forecast.refused {
        Some(reason) => format!("{}; others are refused again: {reason}", forecast.stored),
        None => forecast.stored.to_string(),
    }
}
