//! The OpenAPI document: whole, consistent in itself, and any change of the contract seen in review as a change of one snapshot.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write;

use api::gate::{Access, BodyKind};
use api::openapi::document;
use api::routes::{Route, table};
use salvo::http::Method;
use serde_json::{Map, Value};

fn operation<'a>(document: &'a Value, route: &Route) -> &'a Map<String, Value> {
    let method = route.method.as_str().to_ascii_lowercase();
    document["paths"][route.path][&method].as_object().unwrap_or_else(|| panic!("{} {} is not documented", route.method, route.path))
}

#[test]
fn every_route_is_documented_with_its_key_and_its_problems() {
    let table = table();
    let document = document(&table);
    assert_eq!(document["openapi"], "3.1.0");
    let documented: usize = document["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(documented, table.len(), "nothing is documented that is not served");
    let mut names = BTreeSet::new();
    for route in &table {
        let operation = operation(&document, route);
        assert!(names.insert(operation["operationId"].to_string()), "{} is there twice", operation["operationId"]);
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{}", route.path);
        let public = route.gate.access == Access::Public;
        assert_eq!(operation["security"].as_array().unwrap().is_empty(), public, "{}", route.path);
        let responses = operation["responses"].as_object().unwrap();
        let mut wanted = vec!["500", "503"];
        if !public {
            wanted.extend(["401", "403", "429"]);
        }
        if route.gate.body == BodyKind::Json {
            wanted.extend(["400", "413", "415", "422"]);
            assert!(operation["requestBody"]["content"]["application/json"]["schema"].is_object(), "{}", route.path);
        }
        if route.gate.body == BodyKind::Multipart {
            wanted.extend(["400", "408", "413", "415", "422", "507"]);
            assert!(operation["requestBody"]["content"]["multipart/form-data"]["schema"].is_object(), "{}", route.path);
        }
        if route.path.contains('{') {
            wanted.push("404");
        }
        if route.method == Method::POST {
            wanted.push("409");
        }
        for status in wanted {
            assert!(responses[status]["content"]["application/problem+json"].is_object(), "{} lacks {status}", route.path);
        }
        assert!(responses.keys().any(|status| status.as_str() < "400"), "{} has no good answer", route.path);
        for name in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let parameters = operation["parameters"].as_array().unwrap();
            assert!(parameters.iter().any(|parameter| parameter["in"] == "path" && parameter["name"] == name), "{}: {name}", route.path);
        }
    }
}

#[test]
fn every_body_and_every_answer_shows_an_example() {
    let table = table();
    let document = document(&table);
    let (mut bodies, mut answers) = (0, 0);
    for route in &table {
        let operation = operation(&document, route);
        if let Some(body) = operation.get("requestBody").and_then(|body| body.pointer("/content/application~1json")) {
            assert!(body["example"].is_object(), "{} {}: {body}", route.method, route.path);
            bodies += 1;
        }
        for (status, response) in operation["responses"].as_object().unwrap().iter().filter(|(status, _)| status.starts_with('2')) {
            if let Some(answer) = response.pointer("/content/application~1json") {
                assert!(answer["example"].is_object(), "{} {} {status}: {answer}", route.method, route.path);
                answers += 1;
            }
        }
    }
    assert!(bodies >= 12 && answers >= 25, "{bodies} {answers}");
    let generations = &document["paths"]["/api/generations"]["get"]["responses"]["200"]["content"]["application/json"]["example"];
    assert_eq!(generations["items"][0]["links"]["self"], "/api/jobs/0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90");
}

#[test]
fn every_reference_leads_somewhere_and_names_have_no_paths() {
    let document = document(&table());
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in schemas.keys() {
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}");
    }
    let mut references = BTreeSet::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 30);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                found.insert(reference.to_owned());
            }
            object.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(array) => array.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}

#[test]
fn the_contract() {
    let table = table();
    let document = document(&table);
    insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("contract", outline(&document, &table));
    });
}

/// The document in as few lines as tell every field, status and code.
fn outline(document: &Value, table: &[Route]) -> String {
    let mut text = String::new();
    for route in table {
        let operation = operation(document, route);
        let scopes: Vec<&str> = operation["x-scopes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let limit = operation.get("x-default-limit-per-minute").map_or_else(String::new, |limit| format!(", {limit}/min"));
        let access = if scopes.is_empty() { "public".into() } else { scopes.join(" | ") + &limit };
        writeln!(text, "{} {}  ({access})", route.method, route.path).unwrap();
        for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            let (place, name) = (parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap());
            writeln!(text, "  {place} {name}: {}", type_of(&parameter["schema"])).unwrap();
        }
        if let Some(body) = operation.get("requestBody") {
            for (kind, content) in body["content"].as_object().unwrap() {
                let kind = if kind == "application/json" { String::new() } else { format!("{kind} ") };
                writeln!(text, "  body {kind}{}", type_of(&content["schema"])).unwrap();
            }
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let contents = response["content"].as_object();
            let kinds: Vec<String> =
                contents.into_iter().flatten().map(|(kind, content)| format!("{kind} {}", type_of(&content["schema"]))).collect();
            let codes: Vec<&str> = response["description"].as_str().unwrap().split('`').skip(1).step_by(2).collect();
            let told = if status.as_str() < "400" { kinds.join(", ") } else { codes.join(" ") };
            writeln!(text, "  {status} {told}").unwrap();
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        writeln!(text, "{name}").unwrap();
        write_fields(&mut text, schema);
    }
    text
}

fn write_fields(text: &mut String, schema: &Value) {
    for part in schema["allOf"].as_array().into_iter().flatten() {
        match part.get("$ref") {
            Some(_) => writeln!(text, "  all of {}", type_of(part)).unwrap(),
            None => write_fields(text, part),
        }
    }
    let needed: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let mark = if needed.contains(&name.as_str()) { "" } else { "?" };
        writeln!(text, "  {name}{mark}: {}", type_of(field)).unwrap();
    }
    for kind in ["oneOf", "anyOf"] {
        for part in schema[kind].as_array().into_iter().flatten() {
            writeln!(text, "  or {}", type_of(part)).unwrap();
        }
    }
}

fn type_of(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap().into();
    }
    for (kind, between) in [("oneOf", " | "), ("anyOf", " | "), ("allOf", " & ")] {
        if let Some(parts) = schema[kind].as_array() {
            let parts: Vec<String> = parts.iter().map(type_of).filter(|part| part != "any").collect();
            return parts.join(between);
        }
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec!["any"],
    };
    let mut text = names.join(" | ");
    if let Some(items) = schema.get("items") {
        text.push_str(&format!(" of {}", type_of(items)));
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        text.push_str(&format!(" of {}", type_of(values)));
    }
    for bound in ["minimum", "maximum"] {
        if let Some(value) = schema.get(bound) {
            text.push_str(&format!(" {bound} {value}"));
        }
    }
    text
}
