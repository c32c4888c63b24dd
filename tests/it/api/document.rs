//! The `OpenAPI` document and the router are one: what is documented answers, and nothing else
//! does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use serde_json::{Value, json};

use super::client::ApiDaemon;
use crate::compose::stack::repository;
use crate::support::dir::Scratch;
use crate::support::process::run_to_end;

/// An identifier that nothing has.
const NOBODY: &str = "00000000-0000-0000-0000-000000000001";

static INSTALLED: Once = Once::new();

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// A program of the environment that `tests/openapi.sh` makes; `scripts/test` has called it
/// already.
pub fn validator(program: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi");
    INSTALLED
        .call_once(|| drop(run_to_end(Command::new(repository("tests/openapi.sh")).arg(&place))));
    place.join("bin").join(program)
}

#[test]
fn every_documented_method_answers_and_every_other_is_refused() {
    let api = ApiDaemon::start();
    let document = api.get("/openapi.json").ok(200);
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 26, "{:?}", paths.keys());
    for (path, operations) in paths {
        let filled = path.replace("{tenant}", "acme").replace("{device}", "pump-1");
        let filled = filled.replace("{id}", NOBODY).replace("{certificate}", NOBODY);
        let filled = filled.replace("{command}", NOBODY).replace("{batch}", NOBODY);
        let filled = filled.replace("{name}", "hub");
        // A stream has no end: this search is refused.
        let end = if path == "/api/v1/live" { "?search=colour:red" } else { "" };
        let filled = format!("{filled}{end}");
        for method in METHODS {
            let body = matches!(method, "post" | "patch" | "put").then(|| json!({}));
            let headers = format!(
                "Host: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
                super::client::TOKEN
            );
            let body = body.map(|body| body.to_string()).unwrap_or_default();
            let answer = api.send(&method.to_uppercase(), &filled, &headers, body.as_bytes());
            if operations[method].is_null() {
                answer.problem(405, "method-not-allowed");
                continue;
            }
            assert_ne!(answer.status, 405, "{method} {path}");
            assert!(
                !String::from_utf8_lossy(&answer.body).contains("no-such-path"),
                "{method} {path}"
            );
            let is_problem = answer.status >= 400;
            let documented = &operations[method]["responses"][answer.status.to_string()];
            assert!(
                is_problem || documented.is_object(),
                "{method} {path} answers {}",
                answer.status
            );
        }
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let name = name.trim_end_matches('}');
            for (method, operation) in operations.as_object().unwrap() {
                let parameters = operation["parameters"].as_array().unwrap();
                let is_there = parameters.iter().any(|one| {
                    one["name"] == name && one["in"] == "path" && one["required"] == true
                });
                assert!(is_there, "{method} {path}: {name}");
            }
        }
    }
}

#[test]
fn a_validator_that_is_not_ours_finds_no_fault_with_the_document() {
    let dir = Scratch::new("openapi");
    let validate = |document: &[u8]| {
        let file = dir.write("openapi.json", document);
        Command::new(validator("openapi-spec-validator")).arg(file).output().unwrap()
    };
    let answer = ApiDaemon::start().get("/openapi.json");
    let said = validate(&answer.body);
    assert!(said.status.success(), "{said:?}");
    // It looks closely enough to find a parameter that no path has.
    let wrong = String::from_utf8(answer.body)
        .unwrap()
        .replace("/tenants/{tenant}\"", "/tenants/{wrong}\"");
    assert!(!validate(wrong.as_bytes()).status.success());
}

#[test]
fn every_documented_method_but_the_crl_needs_the_token() {
    let api = ApiDaemon::start();
    let document = api.get("/openapi.json").ok(200);
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let ask = |header: &str| {
                api.send(&method.to_uppercase(), path, &format!("Host: x\r\n{header}"), b"")
            };
            let is_open = operation["security"].as_array().unwrap().is_empty();
            assert_eq!(is_open, path.starts_with("/crl."), "{method} {path}");
            for header in ["", "Authorization: Bearer wrong\r\n"] {
                assert_eq!(ask(header).status == 401, !is_open, "{method} {path}");
            }
        }
    }
}

#[test]
fn the_served_document_is_that_of_the_page_and_marks_old_names() {
    let document = ApiDaemon::start().get("/openapi.json").ok(200);
    assert_eq!(&document, sluice::http::api_document());
    let mut deprecated = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            let parameters = operation["parameters"].as_array().unwrap();
            let named = |name: &Value| parameters.iter().any(|one| one["name"] == *name);
            for old in parameters.iter().filter(|parameter| parameter["deprecated"] == true) {
                let new = old["schema"]["description"].as_str().unwrap();
                let new = new.trim_start_matches("Use `").trim_end_matches("`.");
                assert!(named(&new.into()), "{path}: {old}");
                deprecated.push(format!("{}={new}", old["name"].as_str().unwrap()));
            }
        }
    }
    assert_eq!(deprecated, ["from=since", "to=until", "from=since", "to=until"]);
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document = ApiDaemon::start().get("/openapi.json").ok(200);
    let text = document.to_string();
    let references: Vec<&str> =
        text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}
