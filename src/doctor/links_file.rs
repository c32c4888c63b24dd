//! Checks the links file, and the files that it names.
//!
//! It opens no connection: `sluice link check` tries one link.

use std::path::Path;

use crate::domain::finding::{Finding, Severity};
use crate::link::file;

/// Judges the file. Blocks.
pub(super) fn judge(path: Option<&Path>) -> Vec<Finding> {
    let Some(path) = path else {
        return vec![Finding::ok("LINKS_PATH is not set: there are no links to other brokers")];
    };
    let checked = match file::check(path) {
        Ok(checked) => checked,
        Err(error) => {
            let advice = "fix the file; `sluice link check-file` checks it alone";
            return vec![Finding::error(error.to_string(), advice)];
        }
    };
    if checked.warnings.is_empty() {
        let what = format!("{} is valid: {} link(s)", path.display(), checked.set.links.len());
        return vec![Finding::ok(what)];
    }
    let warning = |what: String| Finding { level: Severity::Warning, what, advice: None };
    checked.warnings.iter().map(|found| warning(found.to_string())).collect()
}
