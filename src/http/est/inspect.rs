//! Checks the files of the EST listener: whether TLS can use them, and how soon its certificate
//! ends.
//!
//! It opens no connection: whether devices trust the certificate is decided at each device.

use crate::clock;
use crate::config::Config;
use crate::disk::{self, Unreachable};
use crate::domain::finding::Finding;
use crate::http::est::tls::EstTlsFiles;

/// Days before the end at which the certificate should be renewed.
const WARNING_DAYS: f64 = 14.0;

const SECONDS_PER_DAY: f64 = 86_400.0;

/// Judges the files.
pub(crate) async fn inspect(config: &Config) -> Result<Vec<Finding>, Unreachable> {
    let certificates = &config.certificates;
    let (Some(listener), Some(authority)) = (&config.est.listener, &certificates.ca_cert_path)
    else {
        return Ok(vec![Finding::ok(
            "EST_BIND is not set: devices get no certificates from the daemon itself",
        )]);
    };
    let files = EstTlsFiles::new(listener, authority, certificates.cell_authorities_dir.as_deref());
    Ok(vec![disk::run(authority, move || judge(&files)).await?])
}

// === private helpers ===

/// Blocks.
fn judge(files: &EstTlsFiles) -> Finding {
    let not_after = match files.check() {
        Ok(not_after) => not_after,
        Err(error) => {
            return Finding::error(error.to_string(), "correct the file, or unset EST_BIND");
        }
    };
    let days = not_after.seconds_since(clock::now()) / SECONDS_PER_DAY;
    let what =
        format!("the certificate of the EST listener (EST_SERVER_CERT) expires at {not_after}");
    let advice =
        "replace EST_SERVER_CERT and EST_SERVER_KEY; the daemon reads them again by itself";
    if days <= 0.0 {
        Finding::error(what, advice)
    } else if days < WARNING_DAYS {
        Finding::warning(what, advice)
    } else {
        Finding::ok(what)
    }
}
