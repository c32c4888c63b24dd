//! Refuses requests of foreign web pages: such a page can make an operator's browser send a
//! request, and a name of its site can resolve to this machine.
//!
//! It does not authenticate: programs other than browsers send none of these headers.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::api::problem::{Problem, ProblemKind};

/// The site of the requesting page; the browser sets it, and no script can.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The values that are not foreign: a page of this address, and no page.
const OWN_SITES: [&[u8]; 2] = [b"same-origin", b"none"];

/// The content types that a foreign page can send without a preflight request.
const FORM_TYPES: [&str; 3] =
    ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

/// Refuses a request that names no host or several, which programs would interpret differently.
pub(crate) async fn require_one_host(request: Request, next: Next) -> Response {
    match check_host(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => closing(problem),
    }
}

/// Refuses a change requested by a page of another origin.
pub(crate) async fn refuse_foreign_changes(request: Request, next: Next) -> Response {
    if !request.method().is_safe() && is_foreign(request.headers()) {
        return closing(foreign());
    }
    next.run(request).await
}

/// Refuses every request of a web page.
pub(crate) async fn refuse_pages(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE) {
        let detail = "a page in a browser sent this request: this listener serves only programs";
        return closing(Problem::new(ProblemKind::Forbidden, detail));
    }
    next.run(request).await
}

/// Refuses a request for a host name other than the local ones.
pub(crate) async fn require_local_name(request: Request, next: Next) -> Response {
    if is_named_local(request.headers()) {
        return next.run(request).await;
    }
    let detail =
        "this listener is on the loopback and serves only local names: use localhost or 127.0.0.1";
    closing(Problem::new(ProblemKind::Forbidden, detail))
}

/// Refuses every request of a foreign page, and every change that a form could send. It is for a
/// listener without any other authentication.
pub(crate) fn check_page(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if is_foreign(headers) {
        return Err(foreign());
    }
    if !method.is_safe() && is_form(headers) {
        let detail = "a form of any page could send this request: send `Content-Type: application/json`, or no content type without a body";
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    }
    Ok(())
}

/// Refuses a change unless a page of this address sends it: for requests that a cookie
/// authenticates, which the browser adds by itself.
pub(crate) fn check_own_page(headers: &HeaderMap) -> Result<(), Problem> {
    let says_origin = headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
    let is_navigation = headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "none");
    if says_origin && !is_navigation && !is_foreign(headers) { Ok(()) } else { Err(foreign()) }
}

/// Whether the request names this machine by a local name.
pub(crate) fn is_named_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

// === private helpers ===

fn check_host(request: &Request) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Problem::new(
            ProblemKind::BadRequest,
            "the request has more than one Host header: send one",
        ));
    }
    let is_needed = request.version() >= Version::HTTP_11;
    match (host, request.uri().authority()) {
        (None, _) if is_needed => {
            Err(Problem::new(ProblemKind::BadRequest, "the request has no Host header: send one"))
        }
        (Some(host), Some(named))
            if !host.as_bytes().eq_ignore_ascii_case(named.as_str().as_bytes()) =>
        {
            Err(Problem::new(
                ProblemKind::BadRequest,
                "the request line and the Host header name different hosts",
            ))
        }
        _ => Ok(()),
    }
}

/// Whether a page of another origin sends the request. An unreadable header counts as foreign.
fn is_foreign(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let is_own_origin = |origin: &HeaderValue| {
        let place = origin.as_bytes();
        let place = place.strip_prefix(b"http://").or_else(|| place.strip_prefix(b"https://"));
        place.is_some()
            && place.zip(host).is_some_and(|(place, host)| place.eq_ignore_ascii_case(host))
    };
    let is_own_site = |site: &HeaderValue| OWN_SITES.contains(&site.as_bytes());
    !headers.get_all(ORIGIN).iter().all(is_own_origin)
        || !headers.get_all(SEC_FETCH_SITE).iter().all(is_own_site)
}

fn is_form(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|kind| {
        let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        FORM_TYPES.iter().any(|form| kind.eq_ignore_ascii_case(form))
    })
}

fn foreign() -> Problem {
    let detail =
        "a page of another site sent this request: only programs and pages of this address may";
    Problem::new(ProblemKind::Forbidden, detail)
}

/// The response to a refused request, which closes the connection.
fn closing(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn a_page_of_another_origin_is_foreign_and_a_program_is_not() {
        for (pairs, expected) in [
            (&[][..], false),
            (&[("origin", "http://localhost:8080")], false),
            (&[("origin", "HTTP://localhost:8080")], true),
            (&[("origin", "https://LOCALHOST:8080"), ("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("origin", "http://localhost:8081")], true),
            (&[("origin", "http://localhost")], true),
            (&[("origin", "null")], true),
            (&[("origin", "http://localhost:8080"), ("origin", "http://evil.example")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "whatever")], true),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], true),
        ] {
            let mut all = headers(pairs);
            all.insert(HOST, HeaderValue::from_static("localhost:8080"));
            assert_eq!(is_foreign(&all), expected, "{pairs:?}");
        }
        assert!(
            is_foreign(&headers(&[("origin", "http://localhost")])),
            "without a host none is its own"
        );
    }

    #[test]
    fn a_request_names_one_host_and_names_it_once() {
        let check = |uri: &str, hosts: &[&str]| {
            let mut request = Request::builder().uri(uri);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            check_host(&request.body(Body::empty()).unwrap()).is_ok()
        };
        assert!(check("/livez", &["localhost"]));
        assert!(check("http://localhost/livez", &["LOCALHOST"]));
        assert!(!check("/livez", &[]));
        assert!(!check("/livez", &["localhost", "localhost"]));
        assert!(!check("http://evil.example/livez", &["localhost"]));
    }

    #[test]
    fn a_change_that_a_form_could_send_is_refused() {
        for (method, kind, expected) in [
            (Method::POST, "application/json", true),
            (Method::POST, "text/plain;charset=UTF-8", false),
            (Method::DELETE, "Multipart/Form-Data; boundary=x", false),
            (Method::POST, "application/x-www-form-urlencoded", false),
            (Method::GET, "text/plain", true),
        ] {
            assert_eq!(
                check_page(&method, &headers(&[("content-type", kind)])).is_ok(),
                expected,
                "{method} {kind}"
            );
        }
        assert!(check_page(&Method::POST, &HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_change_with_a_cookie_comes_from_a_page_that_says_so() {
        for (pairs, expected) in [
            (&[][..], false),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("origin", "http://localhost:8080")], true),
            (&[("sec-fetch-site", "none")], false),
            (&[("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")], false),
            (&[("origin", "null")], false),
        ] {
            let mut all = headers(pairs);
            all.insert(HOST, HeaderValue::from_static("localhost:8080"));
            assert_eq!(check_own_page(&all).is_ok(), expected, "{pairs:?}");
        }
    }
}
