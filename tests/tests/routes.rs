//! The documented table, row by row: each wants a key and its scope, and stands in the OpenAPI document.

#![allow(clippy::unwrap_used)]

use reqwest::Method;
use serde_json::json;
use tests::server::SCOPES;
use tests::{Answer, Client, Socket, TestServer, script};

/// Copied from the product's public documentation.
const DOCUMENTATION: &str = include_str!("../fixtures/clonyvoice-api.md");

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    method: &'static str,
    path: &'static str,
    scope: &'static str,
}

impl Row {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// With ids of things that are not there.
    fn example_path(&self) -> String {
        let mut path = self.path.replace("{index}", "0");
        for id in ["{id}", "{task_id}", "{key_id}"] {
            path = path.replace(id, "0197f000-0000-7000-8000-000000000000");
        }
        path
    }
}

fn documented() -> Vec<Row> {
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (method, path) = (cells.next()?, cells.next()?);
        let scope = cells.nth(1)?.trim_end_matches([' ', '|']);
        ["GET", "POST", "PUT", "DELETE", "WS"].contains(&method).then_some(Row { method, path, scope })
    };
    DOCUMENTATION.lines().filter_map(row).collect()
}

async fn ask(client: &Client, row: &Row) -> Answer {
    let request = client.request(Method::from_bytes(row.method.as_bytes()).unwrap(), &row.example_path());
    Answer::to(if ["POST", "PUT"].contains(&row.method) { request.json(&json!({})) } else { request }).await
}

#[test]
fn the_documentation_is_read_whole() {
    let rows = documented();
    assert_eq!(rows.len(), 56);
    assert!(rows.iter().all(|row| SCOPES.contains(&row.scope)), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_wants_a_key_and_its_scope() {
    let server = TestServer::scripted(script::at_once()).await;
    let mut keys = Vec::new();
    for scope in SCOPES {
        keys.push((scope, server.new_key(scope, &[scope]).await));
    }
    let nobody = server.client_with(None);
    for row in documented().iter().filter(|row| row.method != "WS") {
        ask(&nobody, row).await.problem(401, "unauthenticated");
        for (scope, key) in &keys {
            let answer = ask(&server.client_with(Some(key)), row).await;
            if *scope != row.scope {
                answer.problem(403, "insufficient_scope");
                continue;
            }
            assert!(![401, 403, 405, 429, 500, 501].contains(&answer.status), "{}: {}", row.name(), answer.status);
            if answer.status == 404 {
                assert_ne!(answer.json()["code"], "route_not_found", "{} is on the list of those to come, or must be there", row.name());
            }
            if answer.status >= 400 {
                let code = answer.json()["code"].as_str().unwrap().to_owned();
                answer.problem(answer.status, &code);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_websocket_wants_its_scope() {
    let server = TestServer::scripted(script::at_once()).await;
    for scope in SCOPES {
        let key = server.new_key(scope, &[scope]).await;
        let upgraded = Socket::connect(&server.base(), Some(&key)).await.map(|_| ());
        assert_eq!(upgraded, if scope == "ws:connect" { Ok(()) } else { Err(403) }, "{scope}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_holds_every_row() {
    let server = TestServer::scripted(script::at_once()).await;
    let nobody = server.client_with(None);
    let answer = nobody.get("/openapi.json").await;
    let document = answer.expect(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    for row in documented().iter().filter(|row| row.method != "WS") {
        let operation = &document["paths"][row.path][row.method.to_lowercase()];
        assert!(operation.is_object(), "{} is not in /openapi.json", row.name());
    }
    let docs = nobody.get("/docs").await;
    assert!(docs.expect(200).header("content-type").unwrap().starts_with("text/html"));
    for path in ["/healthz", "/readyz"] {
        nobody.get(path).await.expect(200);
    }
}
