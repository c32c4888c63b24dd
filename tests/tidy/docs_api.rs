//! docs/reference/api.md follows from the table of routes: the routes, their parameters, bodies,
//! responses and problems.
//!
//! It reads the `OpenAPI` document, which the router's table makes; the introduction of the page is
//! for people.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use sluice::http::{api_document, problem_rows};

use crate::docs_generated::is_current;

const SCHEMAS: &str = "#/components/schemas/";

#[test]
fn the_page_of_the_api_is_current() {
    is_current("api", &api(api_document()));
}

#[test]
fn every_route_parameter_and_field_has_a_description() {
    let document = api_document();
    let mut missing = Vec::new();
    for (method, path, operation) in operations(document) {
        for parameter in operation["parameters"].as_array().unwrap() {
            if described(&parameter["schema"]).is_empty() {
                missing.push(format!("{method} {path}: {}", parameter["name"]));
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, schema) in fields(schema) {
            if described(schema).is_empty() {
                missing.push(format!("{name}.{field}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_route_that_is_added_makes_the_page_stale() {
    let mut document = api_document().clone();
    let page = api(&document);
    document["paths"]["/api/v1/new"] = document["paths"]["/api/v1/tenants"].clone();
    let grown = api(&document);
    assert_ne!(grown, page);
    assert!(grown.contains("### `GET /api/v1/new`"), "{grown}");
}

// === the page ===

fn api(document: &Value) -> String {
    let mut block = "## Routes\n\n| route | what it does |\n|---|---|\n".to_owned();
    for (method, path, operation) in operations(document) {
        let title = format!("`{method} {path}`");
        let summary = operation["summary"].as_str().unwrap();
        let _ = writeln!(block, "| [{title}](#{}) | {summary} |", anchor(&title));
    }
    block.push_str("\n## Problems\n\n| status | `type` | title |\n|---|---|---|\n");
    for row in problem_rows() {
        let _ = writeln!(block, "| {} | `{}` | {} |", row.status, row.r#type, row.title);
    }
    block.push_str("\n## Each route\n");
    for (method, path, operation) in operations(document) {
        block.push_str(&section(&method, path, operation));
    }
    block.push_str("\n## Schemas\n");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let _ = write!(block, "\n### {name}\n\n{}\n", described(schema));
        let rows: Vec<String> = fields(schema).map(|(name, field)| row(name, field)).collect();
        if !rows.is_empty() {
            let _ = write!(block, "\n| field | type | meaning |\n|---|---|---|\n{}", rows.concat());
        }
    }
    block
}

fn section(method: &str, path: &str, operation: &Value) -> String {
    let title = format!("`{method} {path}`");
    let mut text = format!("\n### {title}\n\n{}.", operation["summary"].as_str().unwrap());
    let needs_token = !operation["security"].as_array().unwrap().is_empty();
    let _ = match operation["x-sluice-role"].as_str().unwrap() {
        _ if !needs_token => write!(text, " Needs no token."),
        "none" => write!(text, " Needs any token, and over MQTT none."),
        role => write!(text, " Role: {role}."),
    };
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        let _ = write!(text, " Body: {}.", kind(body));
    }
    for (status, response) in operation["responses"].as_object().unwrap() {
        for (media_type, content) in response["content"].as_object().unwrap_or(&Map::new()) {
            let what = match &content["schema"] {
                Value::Null => format!("`{media_type}`"),
                schema => kind(schema),
            };
            let _ = write!(text, " Response {status}: {what}.");
        }
    }
    text.push('\n');
    let parameters = operation["parameters"].as_array().unwrap();
    if !parameters.is_empty() {
        text.push_str("\n| parameter | in | type | meaning |\n|---|---|---|---|\n");
    }
    for parameter in parameters {
        let schema = &parameter["schema"];
        let required = if parameter["required"] == true { "" } else { " (optional)" };
        let deprecated = if parameter["deprecated"] == true { "Deprecated. " } else { "" };
        let _ = writeln!(
            text,
            "| `{}` | {}{required} | {} | {deprecated}{} |",
            parameter["name"].as_str().unwrap(),
            parameter["in"].as_str().unwrap(),
            kind(schema),
            described(schema)
        );
    }
    text
}

fn row(name: &str, schema: &Value) -> String {
    format!("| `{name}` | {} | {} |\n", kind(schema), described(schema))
}

// === the document ===

fn operations(document: &Value) -> impl Iterator<Item = (String, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(|(method, operation)| (method.to_uppercase(), path.as_str(), operation))
    })
}

fn fields(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let fields = schema["properties"].as_object().into_iter().flatten();
    fields.map(|(name, schema)| (name.as_str(), schema))
}

/// The description, on one line of a table.
fn described(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('<', "\\<")
}

/// The type of a value, with a link to its fields.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix(SCHEMAS)) {
        return format!("[{name}](#{})", anchor(name));
    }
    if let Some(values) = schema["enum"].as_array() {
        let value =
            |value: &Value| value.as_str().map_or("null".to_owned(), |text| format!("`{text}`"));
        return values.iter().map(value).collect::<Vec<_>>().join(", ");
    }
    // A type that is a choice of forms, such as a time or a span, is named by its type.
    let choice = ["anyOf", "oneOf"].iter().find_map(|key| schema[*key].as_array());
    if let (Some(choice), None) = (choice, schema["type"].as_str()) {
        return choice.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let one = |name: &str| match name {
        "array" => format!("array of {}", kind(&schema["items"])),
        "integer" => integer(schema),
        name => match schema["format"].as_str().filter(|_| name != "null") {
            Some(format) => format!("{name} ({format})"),
            None => name.to_owned(),
        },
    };
    match &schema["type"] {
        Value::String(name) => one(name),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).map(one).collect::<Vec<_>>().join(" or ")
        }
        _ => "JSON".to_owned(),
    }
}

fn integer(schema: &Value) -> String {
    match (schema["minimum"].as_u64(), schema["maximum"].as_u64(), schema["default"].as_u64()) {
        (Some(min), Some(max), Some(default)) => {
            format!("integer, {min} to {max}, default {default}")
        }
        (Some(min), Some(max), None) => format!("integer, {min} to {max}"),
        _ => "integer".to_owned(),
    }
}

/// The anchor of a heading, as GitHub and mdBook make it.
fn anchor(title: &str) -> String {
    let kept = title.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
