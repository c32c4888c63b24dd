//! `/console/ca`: the authority, when it ends, and whether the broker enforces its CRL; the files to
//! download.
//!
//! It reads only.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use chrono::{DateTime, TimeDelta, Utc};

use super::filters;
use super::frame::Frame;
use super::markup::Markup;
use super::navigation::NavPage;
use super::page::{PageError, WebPage};
use super::query::PageQuery;
use super::state::ConsoleState;
use super::svg::{Bar, Bars, meter};
use super::visit::Visit;
use crate::clock;
use crate::http::{ApiFault, AuthorityView, CrlStatusView};

/// From so many days before its end on, a certificate of the authority is a warning.
const AUTHORITY_SOON: i64 = 90;

/// The broker is checked more often than this; an older check says nothing about now.
const STALE: TimeDelta = TimeDelta::hours(2);

/// The page.
#[derive(Template)]
#[template(path = "authority.html")]
struct AuthorityPage {
    frame: Frame,
    authority: Result<AuthorityView, ApiFault>,
    crl: Result<CrlStatusView, ApiFault>,
    verdict: Option<CrlVerdict>,
    now: DateTime<Utc>,
}

/// What to know of the CRL first: a tone, one sentence, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CrlVerdict {
    tone: &'static str,
    icon: &'static str,
    text: String,
    advice: &'static str,
}

/// Its paths.
pub(crate) fn routes() -> Router<ConsoleState> {
    Router::new().route("/console/ca", get(show))
}

// === private helpers ===

async fn show(
    State(console): State<ConsoleState>,
    visit: Visit,
) -> Result<WebPage<AuthorityPage>, PageError> {
    let (authority, crl) = tokio::join!(
        console.api.get::<AuthorityView>(&visit.person, "/api/v1/ca"),
        console.api.get::<CrlStatusView>(&visit.person, "/api/v1/crl"),
    );
    if let (Err(_), Err(fault)) = (&authority, &crl)
        && fault.status == 503
    {
        return Err(fault.clone().into());
    }
    let now = clock::now().to_utc();
    let frame = visit
        .frame("CA and CRL", NavPage::Ca)
        .same_by("crl show", "GET", "/api/v1/crl")
        .same_by("ca show", "GET", "/api/v1/ca");
    let verdict = crl.as_ref().ok().map(|crl| CrlVerdict::of(crl, now));
    Ok(WebPage(AuthorityPage { frame, authority, crl, verdict, now }))
}

// === impl CrlVerdict ===

impl CrlVerdict {
    /// The worst first.
    fn of(crl: &CrlStatusView, now: DateTime<Utc>) -> Self {
        let (tone, text, advice) = if crl.number == 0 {
            (
                "off",
                "No CRL was published.".to_owned(),
                "Set DEVICE_CA_CERT_PATH, DEVICE_CA_KEY_PATH and CRL_OUTPUT_PATH of a daemon.",
            )
        } else if crl.next_update.is_some_and(|end| end <= now) {
            (
                "bad",
                "The CRL has ended: a broker that reads it refuses every device.".to_owned(),
                "Check that a daemon with the key of the authority runs, then run: sluice crl publish.",
            )
        } else if crl.file.path.is_some() && crl.file.fault.is_some() {
            (
                "bad",
                format!(
                    "The CRL file is wrong: {}.",
                    crl.file.fault.as_deref().unwrap_or_default()
                ),
                "The daemon that publishes repairs the file within a minute. If it does not, check its log and the \
                 permissions of the file.",
            )
        } else if crl.enforced == Some(false) {
            (
                "bad",
                format!(
                    "The broker does not enforce the CRL: {}.",
                    crl.finding.as_deref().unwrap_or("no cause is known")
                ),
                "Check that `crlfile` in the configuration of Mosquitto is the file that CRL_OUTPUT_PATH names, and \
                 BROKER_PID_FILE or BROKER_RELOAD_COMMAND. To reload now, send SIGHUP to Mosquitto.",
            )
        } else if crl.enforced.is_none() {
            (
                "warn",
                "Whether the broker enforces the CRL is not known.".to_owned(),
                "Set BROKER_PROBE_ADDR and BROKER_PROBE_CA_CERT to the TLS listener of the devices.",
            )
        } else if crl.checked_at.is_none_or(|at| now - at > STALE) {
            (
                "warn",
                "The broker enforced the CRL, but the last check is old.".to_owned(),
                "Check that a daemon with the key of the authority runs: only the publisher checks the broker.",
            )
        } else {
            (
                "ok",
                "The broker refused a certificate of this CRL and accepted a valid one.".to_owned(),
                "",
            )
        };
        let icon = match tone {
            "ok" => "check",
            "warn" => "warn",
            "bad" => "cross",
            _ => "off",
        };
        Self { tone, icon, text, advice }
    }
}

// === impl AuthorityPage ===

impl AuthorityPage {
    /// How much of the time between the two updates has passed.
    fn age(&self, crl: &CrlStatusView) -> Markup {
        let (Some(from), Some(until)) = (crl.this_update, crl.next_update) else {
            return Markup::default();
        };
        let seconds =
            |span: TimeDelta| f64::from(i32::try_from(span.num_seconds()).unwrap_or(i32::MAX));
        meter(seconds(self.now - from), seconds(until - from))
    }

    fn growth(crl: &CrlStatusView) -> Markup {
        let bars: Vec<Bar> = crl
            .growth
            .iter()
            .map(|week| {
                let last = week.first_day + TimeDelta::days(6);
                let number = u64::try_from(week.revoked).unwrap_or(0);
                Bar::new(format!("{} to {last}", week.first_day), number, None)
            })
            .collect();
        Bars { label: "Revocations by week", unit: "week", bars: &bars }.draw()
    }

    const fn tone(days_left: i64) -> &'static str {
        if days_left < 0 {
            "bad"
        } else if days_left < AUTHORITY_SOON {
            "warn"
        } else {
            "ok"
        }
    }

    fn unproven() -> String {
        PageQuery::from([("search", "proven:no")]).href("/console/certificates")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_said_first() {
        let good = r#"{"issuer":"CN=A","number":43,"entries":2,"this_update":"2026-11-01T00:00:00Z",
            "next_update":"2026-11-08T00:00:00Z","published_at":"2026-11-01T00:00:00Z",
            "file":{"path":"/x","number":43,"fault":null},"enforced":true,"finding":null,
            "checked_at":"2026-11-02T00:00:00Z","reloaded_at":null,"proven_at":null,"unproven":0,"failed":0,
            "growth":[]}"#;
        let now: DateTime<Utc> = "2026-11-02T00:10:00Z".parse().unwrap();
        let mut crl: CrlStatusView = serde_json::from_str(good).unwrap();
        assert_eq!(CrlVerdict::of(&crl, now).tone, "ok");
        assert_eq!(CrlVerdict::of(&crl, now + TimeDelta::hours(3)).tone, "warn");
        crl.enforced = Some(false);
        crl.finding = Some("it accepts".to_owned());
        let verdict = CrlVerdict::of(&crl, now);
        assert!(verdict.text.contains("it accepts") && verdict.advice.contains("crlfile"));
        crl.file.fault = Some("it is missing".to_owned());
        assert!(CrlVerdict::of(&crl, now).text.contains("it is missing"));
        let ended = CrlVerdict::of(&crl, now + TimeDelta::days(7));
        assert!(ended.text.contains("ended"), "{ended:?}");
    }
}
