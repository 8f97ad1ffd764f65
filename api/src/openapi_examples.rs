//! Examples in the document for whatever has none written by hand: made from the schema, so that no body and no answer is without one. Pure:
//! a document in, a document out.

use serde_json::{Map, Value, json};

const DEPTH_MAX: u32 = 8;
const ID: &str = "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90";
const TIME: &str = "2026-01-31T12:00:00.123Z";

/// Gives each JSON body and each JSON answer of success an example.
pub fn complete(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    let Some(paths) = document["paths"].as_object_mut() else {
        return;
    };
    for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(|item| item.values_mut()) {
        if let Some(content) = operation.pointer_mut("/requestBody/content/application~1json") {
            show(content, &schemas);
        }
        let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
            continue;
        };
        for (_, response) in responses.iter_mut().filter(|(status, _)| status.starts_with('2')) {
            if let Some(content) = response.pointer_mut("/content/application~1json") {
                show(content, &schemas);
            }
        }
    }
}

fn show(content: &mut Value, schemas: &Value) {
    if content.get("example").is_none() && content.get("examples").is_none() {
        let example = example(&content["schema"], schemas, "", DEPTH_MAX);
        content["example"] = example;
    }
}

/// A value that the schema allows; `name` is of the field it stands in.
fn example(schema: &Value, schemas: &Value, name: &str, depth: u32) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    let inside = |schema: &Value, name: &str| example(schema, schemas, name, depth - 1);
    if let Some(named) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return inside(&schemas[named], name);
    }
    for written in [&schema["examples"][0], &schema["default"], &schema["const"], &schema["enum"][0]] {
        if !written.is_null() {
            return written.clone();
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let parts = parts.iter().filter_map(|part| inside(part, name).as_object().cloned());
        return parts.flatten().collect::<Map<_, _>>().into();
    }
    for kind in ["oneOf", "anyOf"] {
        if let Some(first) = schema[kind].as_array().and_then(|parts| parts.iter().find(|part| part["type"] != "null")) {
            return inside(first, name);
        }
    }
    match kind_of(schema) {
        "object" => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let mut object: Map<String, Value> = properties.map(|(name, schema)| (name.clone(), inside(schema, name))).collect();
            let others = &schema["additionalProperties"];
            if object.is_empty() && others.is_object() {
                object.insert("name".into(), inside(others, ""));
            }
            object.into()
        }
        "array" => json!([inside(&schema["items"], name)]),
        "string" => text(schema, name).into(),
        "integer" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        "number" => schema.get("minimum").cloned().unwrap_or_else(|| json!(0.5)),
        "boolean" => json!(true),
        "null" => Value::Null,
        // Whatever one likes.
        _ => json!({}),
    }
}

fn kind_of(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default(),
        _ if schema["properties"].is_object() => "object",
        _ => "",
    }
}

fn text(schema: &Value, name: &str) -> &'static str {
    match name {
        _ if schema["format"] == "date-time" || name.ends_with("_at") => TIME,
        "id" => ID,
        _ if schema["format"] == "uuid" || name.ends_with("_id") || name.ends_with("_ids") => ID,
        _ if name.ends_with("_url") => "/api/generations/0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90/audio",
        "language" | "languages" => "en-US",
        "status" => "completed",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_what_the_schema_allows() {
        let schemas = json!({
            "Part": {"type": "object", "properties": {"made_at": {"type": "string"}, "size": {"type": ["null", "integer"], "minimum": 3}}},
            "Written": {"type": "object", "examples": [{"by": "hand"}]},
            "Endless": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Endless"}}},
        });
        let of = |schema: Value| example(&schema, &schemas, "", DEPTH_MAX);
        let part = json!({"$ref": "#/components/schemas/Part"});
        assert_eq!(of(part.clone()), json!({"made_at": TIME, "size": 3}));
        assert_eq!(of(json!({"type": "array", "items": {"$ref": "#/components/schemas/Written"}})), json!([{"by": "hand"}]));
        let both = json!({"allOf": [part, {"type": "object", "properties": {"on": {"type": "boolean"}}}]});
        assert_eq!(of(both), json!({"made_at": TIME, "size": 3, "on": true}));
        assert_eq!(of(json!({"anyOf": [{"type": "null"}, {"type": "number"}]})), json!(0.5));
        assert_eq!(of(json!({"type": "object", "additionalProperties": {"type": "string"}})), json!({"name": "text"}));
        assert!(of(json!({"$ref": "#/components/schemas/Endless"})).is_object());
    }
}
