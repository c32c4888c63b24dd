//! Accepts the old name of a query parameter: the response names the new one in a `Warning` header.
//!
//! It changes no request. Both names in one request are refused.

use axum::extract::{Query, Request, State};
use axum::http::header::WARNING;
use axum::http::{HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{FieldError, Problem, ProblemKind};
use super::route::Renamed;

/// Time bounds were `from` and `to` where other routes had `since` and `until`.
pub(super) const TIME_RANGE: [Renamed; 2] =
    [Renamed { old: "from", new: "since" }, Renamed { old: "to", new: "until" }];

/// Passes a request on, and warns in its response of each old name it used.
pub(super) async fn warn_of_old_names(
    State(renamed): State<&'static [Renamed]>,
    request: Request,
    next: Next,
) -> Response {
    let used = match used_names(renamed, request.uri()) {
        Ok(used) => used,
        Err(problem) => return problem.into_response(),
    };
    let mut response = next.run(request).await;
    for Renamed { old, new } in used {
        // 299 is a warning for people that stays valid.
        let text = format!("299 - \"the parameter {old} is deprecated: use {new}\"");
        if let Ok(value) = HeaderValue::try_from(text) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}

// === private helpers ===

/// The renamed parameters that the request has under the old name.
fn used_names(renamed: &'static [Renamed], uri: &Uri) -> Result<Vec<Renamed>, Problem> {
    // A query that cannot be read is refused later.
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs);
    let pairs = pairs.unwrap_or_default();
    let has = |name: &str| pairs.iter().any(|(given, _)| given == name);
    let used: Vec<Renamed> = renamed.iter().copied().filter(|name| has(name.old)).collect();
    match used.iter().find(|name| has(name.new)) {
        Some(Renamed { old, new }) => Err(both_names(old, new)),
        None => Ok(used),
    }
}

fn both_names(old: &str, new: &str) -> Problem {
    let detail = format!("`{old}` is the old name of `{new}`: send only `{new}`");
    let errors =
        [old, new].map(|field| FieldError { field: field.to_owned(), detail: detail.clone() });
    Problem { errors: errors.into(), ..Problem::new(ProblemKind::BadRequest, detail.clone()) }
}
