//! Writes the `OpenAPI` 3.1 document of a list of routes. It describes no route by hand.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::extract::HeaderParam;
use super::problem::{self, Document};
use super::route::{Renamed, Route};

/// The document of these routes.
pub(super) fn document(routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let problem = json!(generator.subschema_for::<Document>());
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation(route, &mut generator);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The management API of Sluice: tenants, devices, commands, shadows, certificates, telemetry, refused messages, links and operators.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": {
                "Problem": {
                    "description": "What happened, and what to do",
                    "content": { problem::MEDIA_TYPE: { "schema": problem } },
                },
            },
            "securitySchemes": { "admin": { "type": "http", "scheme": "bearer", "description": "ADMIN_TOKEN, or the token of an operator" } },
        },
    })
}

// === private helpers ===

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let shapes = (route.shapes)(generator);
    let mut parameters: Vec<Value> = parameters(shapes.path.as_value(), "path")
        .chain(parameters(shapes.query.as_value(), "query"))
        .collect();
    parameters
        .extend(route.renamed.iter().map(|renamed| deprecated(*renamed, shapes.query.as_value())));
    parameters.extend(shapes.headers.iter().map(header));
    let content = shapes.answer.map(|schema| json!({ (shapes.media_type): { "schema": schema } }));
    let mut described = json!({ "description": "Success", "content": content.unwrap_or_else(|| json!({ (shapes.media_type): {} })) });
    for HeaderParam { name, description } in shapes.answer_headers {
        described["headers"][name] =
            json!({ "description": description, "schema": { "type": "string" } });
    }
    let mut operation = json!({
        "summary": route.summary,
        "parameters": parameters,
        "responses": { (shapes.status.as_str()): described, "default": { "$ref": "#/components/responses/Problem" } },
        "x-sluice-role": if route.access.is_public { "none" } else { route.access.role.label() },
        "security": if route.is_guarded { json!([{ "admin": [] }]) } else { json!([]) },
    });
    if let Some(repeated) = shapes.repeated {
        let mut described = operation["responses"][shapes.status.as_str()].clone();
        described["description"] = "An equal request was answered before".into();
        operation["responses"][repeated.as_str()] = described;
    }
    if let Some(body) = shapes.body {
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": body } } });
    }
    operation
}

/// A header of a request.
fn header(header: &HeaderParam) -> Value {
    let HeaderParam { name, description } = header;
    json!({ "name": name, "in": "header", "required": false, "schema": { "type": "string", "description": description } })
}

/// The old name of a parameter, with the schema of the new one.
fn deprecated(renamed: Renamed, query: &Value) -> Value {
    let Renamed { old, new } = renamed;
    let mut schema = without_null(query["properties"][new].clone());
    schema["description"] = format!("Use `{new}`.").into();
    json!({ "name": old, "in": "query", "required": false, "deprecated": true, "schema": schema })
}

/// The fields of an object schema, each as a parameter.
fn parameters(schema: &Value, place: &'static str) -> impl Iterator<Item = Value> {
    let required: Vec<Value> = schema["required"].as_array().cloned().unwrap_or_default();
    let fields = schema["properties"].as_object().cloned().unwrap_or_default();
    fields.into_iter().map(move |(name, schema)| {
        let is_required = required.iter().any(|field| *field == name);
        json!({ "name": name, "in": place, "required": is_required, "schema": without_null(schema) })
    })
}

/// The schema of an optional parameter: a parameter that is absent is not null.
fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema["type"].as_array() {
        let types: Vec<&Value> = types.iter().filter(|name| *name != "null").collect();
        if let [one] = types[..] {
            schema["type"] = one.clone();
        }
    }
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    let choice = schema["anyOf"].as_array().cloned().unwrap_or_default();
    if let [one, other] = &choice[..]
        && *other == json!({ "type": "null" })
    {
        let mut merged = one.clone();
        if let Some(description) = schema.get("description") {
            merged["description"] = description.clone();
        }
        return merged;
    }
    schema
}
