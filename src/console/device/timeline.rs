//! The certificates of a device over time, as bars, with the list of them beside it on the page.
//!
//! It is a picture only: every date is in the list, too.

use chrono::{DateTime, Utc};

use crate::console::markup::Markup;
use crate::http::CertificateView;
use crate::store::certificates::CertificateStatus;

const WIDTH: f64 = 600.0;

/// The height of a bar and of the space below it.
const LANE: usize = 14;

/// Most bars.
const BARS_MAX: usize = 8;

/// Draws the certificates, the first row of the list on top; nothing without certificates.
pub(super) fn draw(certificates: &[CertificateView], now: DateTime<Utc>) -> Markup {
    let mut html = Markup::default();
    // The list of the page begins with the last row.
    let shown: Vec<&CertificateView> = certificates.iter().rev().take(BARS_MAX).collect();
    let start = shown.iter().map(|certificate| certificate.not_before).min();
    let end = shown.iter().map(|certificate| certificate.not_after).max();
    let (Some(start), Some(end)) = (start, end) else { return html };
    let end = end.max(now);
    let x = |at: DateTime<Utc>| place(start, end, at);
    let height = shown.len() * LANE;
    html.raw("<svg class=\"bars\"").attribute("viewBox", format_args!("0 0 {WIDTH} {height}"));
    html.raw(" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    for (lane, certificate) in shown.iter().enumerate() {
        let class = match certificate.status {
            CertificateStatus::Active if certificate.not_after > now => "bar ok",
            CertificateStatus::Revoked => "bar bad",
            CertificateStatus::Active | CertificateStatus::Expired => "bar off",
        };
        let until = certificate.revoked_at.unwrap_or(certificate.not_after);
        let until = until.min(certificate.not_after);
        let (from, to) = (x(certificate.not_before), x(until));
        html.raw("<rect").attribute("class", class).attribute("x", format_args!("{from:.1}"));
        html.attribute("y", lane * LANE).attribute("height", LANE - 4);
        html.attribute("width", format_args!("{:.1}", (to - from).max(2.0))).raw("/>");
    }
    html.raw("<path class=\"base\"").attribute("d", format_args!("M{:.1} 0V{height}", x(now)));
    html.raw("/></svg>");
    html
}

// === private helpers ===

#[expect(clippy::cast_precision_loss, reason = "seconds of some years are far below 2^52")]
fn place(start: DateTime<Utc>, end: DateTime<Utc>, at: DateTime<Utc>) -> f64 {
    let whole = (end - start).num_seconds().max(1) as f64;
    ((at - start).num_seconds() as f64 / whole * WIDTH).clamp(0.0, WIDTH)
}
