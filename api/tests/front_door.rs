//! The table of routes and what stands in front of each: keys, scopes, limits, hosts, bodies, and the form of every refusal.

#![allow(clippy::unwrap_used)]

mod bed;

use api::gate::{Access, BodyKind};
use api::routes::{self, Route};
use api::scopes::Scope;
use bed::{BASE, Bed, header, json, problem, request, status};
use salvo::http::Method;
use serde_json::{Value, json};

/// Nobody is asked for a key here, and nowhere else.
const PUBLIC: [&str; 5] = ["/", "/docs", "/healthz", "/openapi.json", "/readyz"];
const DOCUMENTATION: &str = include_str!("../../tests/fixtures/clonyvoice-api.md");
const NOBODY: &str = "0197f000-0000-7000-8000-000000000000";

fn example_path(route: &Route) -> String {
    let path = route.path.replace("{index}", "0").replace("{key_id}", "nobody00");
    ["{id}", "{task_id}", "{sample_id}"].iter().fold(path, |path, name| path.replace(name, NOBODY))
}

#[test]
fn each_route_has_a_scope_or_stands_on_the_public_list() {
    let table = routes::table();
    for route in &table {
        let public = route.gate.access == Access::Public;
        assert_eq!(public, PUBLIC.contains(&route.path), "{} {}", route.method, route.path);
        assert!(public || !route.gate.access.scopes().is_empty(), "{} {}", route.method, route.path);
        let may_read = [Method::POST, Method::PUT].contains(&route.method) || route.path == "/api/categories";
        assert!(may_read || route.gate.body == BodyKind::None, "{} {}", route.method, route.path);
    }
    let mut names: Vec<String> = table.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), table.len(), "a route stands in the table twice");
}

#[test]
fn documented_routes_have_their_documented_scope() {
    let mut found = 0;
    for route in routes::table().iter().filter(|route| route.documented) {
        let method = if route.path == "/ws" { "WS" } else { route.method.as_str() };
        let line = DOCUMENTATION.lines().find(|line| line.starts_with(&format!("| {method} | {} |", route.path)));
        let scope = line.unwrap_or_else(|| panic!("{} is not documented", route.path)).rsplit('|').nth(1).unwrap().trim();
        assert_eq!(route.gate.access, Access::Scope(scope.parse().unwrap()), "{}", route.path);
        found += 1;
    }
    assert!(found >= 16, "{found}");
}

/// Every route against every kind of caller: a new route is in it without anybody remembering.
#[tokio::test]
async fn the_matrix_of_routes_and_callers() {
    let bed = Bed::without_workers().await;
    let revoked = bed.new_key_with(&Scope::ALL, 1_000_000, |key| key.revoked_at_ms = Some(1)).await;
    let expired = bed.new_key_with(&Scope::ALL, 1_000_000, |key| key.expires_at_ms = Some(1)).await;
    let unknown = api::keys::Key::from_random([1; 8], [2; 32]);
    let mut single = Vec::new();
    for scope in Scope::ALL {
        single.push((scope, bed.new_key(&[scope]).await));
    }
    let mut others = Vec::new();
    for missing in Scope::ALL {
        others.push((missing, bed.new_key(&Scope::ALL.into_iter().filter(|scope| *scope != missing).collect::<Vec<_>>()).await));
    }
    for route in routes::table().iter().filter(|route| route.gate.access != Access::Public) {
        let path = example_path(route);
        let ask = async |key: Option<&str>| {
            let asked = request(route.method.clone(), &path);
            let asked = if route.gate.body == BodyKind::Json { asked.json(&json!({})) } else { asked };
            bed.send(match key {
                Some(key) => asked.add_header("x-api-key", key, true),
                None => asked,
            })
            .await
        };
        problem(ask(None).await, 401, "unauthenticated").await;
        for bad in ["cvk_", "nonsense", "", unknown.reveal()] {
            problem(ask(Some(bad)).await, 401, "unauthenticated").await;
        }
        problem(ask(Some(&revoked)).await, 401, "key_revoked").await;
        problem(ask(Some(&expired)).await, 401, "key_expired").await;
        let scopes = route.gate.access.scopes();
        for (scope, key) in &single {
            let response = ask(Some(key)).await;
            if scopes.contains(scope) {
                assert!(![401, 403, 405, 429, 500].contains(&status(&response)), "{path} with {scope}: {}", status(&response));
                assert!(header(&response, "ratelimit").is_some() && header(&response, "ratelimit-policy").is_some(), "{path}");
            } else {
                problem(response, 403, "insufficient_scope").await;
            }
        }
        // All but the right one.
        if let [needed] = scopes[..] {
            let (_, key) = others.iter().find(|(missing, _)| *missing == needed).unwrap();
            problem(ask(Some(key)).await, 403, "insufficient_scope").await;
        }
    }
}

#[tokio::test]
async fn every_route_stops_at_the_limit() {
    let bed = Bed::without_workers().await;
    for route in routes::table().iter().filter(|route| route.gate.access != Access::Public) {
        let scope = route.gate.access.scopes()[0];
        let key = bed.new_key_with(&[scope], 1, |_| {}).await;
        let mut refused = None;
        for _ in 0..30 {
            let asked = request(route.method.clone(), &example_path(route)).add_header("x-api-key", &key, true);
            let response = bed.send(if route.gate.body == BodyKind::Json { asked.json(&json!({})) } else { asked }).await;
            if status(&response) == 429 {
                refused = Some(response);
                break;
            }
        }
        let refused = refused.unwrap_or_else(|| panic!("{} has no limit", route.path));
        assert!(header(&refused, "retry-after").unwrap().parse::<u64>().unwrap() >= 1);
        assert_eq!(header(&refused, "x-ratelimit-remaining"), Some("0"));
        problem(refused, 429, "rate_limited").await;
    }
}

#[tokio::test]
async fn keys_come_by_either_header_and_never_by_the_url() {
    let bed = Bed::without_workers().await;
    let bearer = request(Method::GET, "/api/voices").add_header("authorization", format!("bearer {}", bed.key), true);
    assert_eq!(status(&bed.send(bearer).await), 200);
    for query in ["api_key", "key", "token", "x-api-key"] {
        problem(bed.send(request(Method::GET, &format!("/api/voices?{query}={}", bed.key))).await, 401, "unauthenticated").await;
    }
}

#[tokio::test]
async fn the_framework_s_own_refusals_have_our_form() {
    let bed = Bed::without_workers().await;
    problem(bed.get("/api/nothing").await, 404, "route_not_found").await;
    problem(bed.get("/api/voices/nora/samples").await, 404, "route_not_found").await;
    let wrong = bed.send(request(Method::PATCH, "/api/voices").add_header("x-api-key", &bed.key, true)).await;
    assert!(header(&wrong, "allow").unwrap().contains("GET"), "{:?}", wrong.headers());
    problem(wrong, 405, "method_not_allowed").await;
    // A handshake that is none.
    problem(bed.get("/ws").await, 400, "invalid_request").await;
    let head = bed.send(request(Method::HEAD, "/api/nothing")).await;
    assert_eq!(status(&head), 404);
}

#[tokio::test]
async fn names_and_pages_that_are_not_ours_are_refused() {
    let bed = Bed::without_workers().await;
    let ask = async |host: &str, origin: Option<&str>| {
        let asked = request(Method::GET, "/healthz").add_header("host", host, true);
        bed.send(match origin {
            Some(origin) => asked.add_header("origin", origin, true),
            None => asked,
        })
        .await
    };
    assert_eq!(status(&ask("localhost:8765", None).await), 200);
    assert_eq!(status(&ask("127.0.0.1:8765", Some("http://127.0.0.1:8765")).await), 200);
    problem(ask("evil.example", None).await, 403, "host_not_allowed").await;
    problem(ask("127.0.0.1:8765", Some("http://evil.example")).await, 403, "origin_not_allowed").await;
    problem(ask("127.0.0.1:8765", Some("null")).await, 403, "origin_not_allowed").await;
    // Refused before anything is looked for.
    let asked = request(Method::GET, "/api/nothing").add_header("host", "evil.example", true);
    problem(bed.send(asked).await, 403, "host_not_allowed").await;
}

#[tokio::test]
async fn bodies_that_are_too_large_or_of_another_kind() {
    let bed = Bed::with(|config| config.json_body_bytes_max = 4_096, false).await;
    let path = "/api/text/split";
    let post = || request(Method::POST, path).add_header("x-api-key", &bed.key, true);
    let large = json!({"text": "a".repeat(5_000)}).to_string();
    // `json` of the test client sends no length, as a chunked body has none.
    let declared = post().add_header("content-type", "application/json", true).add_header("content-length", large.len().to_string(), true);
    problem(bed.send(declared.body(large.clone())).await, 413, "payload_too_large").await;
    let found_out = post().add_header("content-type", "application/json", true).body(large);
    problem(bed.send(found_out).await, 413, "payload_too_large").await;
    let form = post().add_header("content-type", "application/x-www-form-urlencoded", true).body("text=a");
    problem(bed.send(form).await, 415, "unsupported_media").await;
    let plain = post().add_header("content-type", "application/vnd.api+json; charset=utf-8", true).body("{\"text\": \"Hello.\"}");
    assert_eq!(status(&bed.send(plain).await), 200);
    let no_json = post().add_header("content-type", "application/json", true).body("{\"text\": ");
    let told = problem(bed.send(no_json).await, 400, "invalid_request").await;
    assert!(told["detail"].as_str().unwrap().contains("line 1 column 9"), "{told}");
}

#[tokio::test]
async fn a_callers_own_request_id_is_kept_if_it_is_plain() {
    let bed = Bed::without_workers().await;
    let ask = async |id: &str| bed.send(request(Method::GET, "/healthz").add_header("x-request-id", id, true)).await;
    assert_eq!(header(&ask("my-request-17").await, "x-request-id"), Some("my-request-17"));
    for strange in ["a b c d e f", "short", &bed.key, &"x".repeat(100)] {
        assert_ne!(header(&ask(strange).await, "x-request-id"), Some(strange));
    }
}

#[tokio::test]
async fn not_ready_is_said_without_a_key() {
    let bed = Bed::without_workers().await;
    assert_eq!(status(&bed.get("/readyz").await), 200);
    bed.app.set_ready(false);
    let starting = problem(bed.send(request(Method::GET, "/readyz")).await, 503, "not_ready").await;
    assert!(starting["detail"].as_str().unwrap().contains("starting"));
    bed.app.stopping.cancel();
    let stopping = problem(bed.send(request(Method::GET, "/readyz")).await, 503, "not_ready").await;
    assert!(stopping["detail"].as_str().unwrap().contains("stopping"));
    assert_eq!(status(&bed.send(request(Method::GET, "/healthz")).await), 200);
}

#[tokio::test]
async fn a_repeated_key_gets_the_first_answer() {
    let bed = Bed::without_workers().await;
    let post = async |key: &str, body: &Value| {
        let asked = request(Method::POST, "/api/generate/preset").add_header("x-api-key", &bed.key, true);
        bed.send(asked.add_header("idempotency-key", key, true).json(body)).await
    };
    let body = json!({"text": "Once.", "voice_id": "nora"});
    let mut first = post("k1", &body).await;
    let first = json(&mut first).await;
    let mut again = post("k1", &body).await;
    assert_eq!((status(&again), header(&again, "idempotency-replayed")), (202, Some("true")));
    assert_eq!(header(&again, "location"), Some(format!("/api/jobs/{}", first["task_id"].as_str().unwrap()).as_str()));
    assert_eq!(json(&mut again).await, first);
    problem(post("k1", &json!({"text": "Twice.", "voice_id": "nora"})).await, 422, "idempotency_mismatch").await;

    // A refusal keeps nothing.
    problem(post("k2", &json!({"text": "", "voice_id": "nora"})).await, 422, "validation_failed").await;
    assert_eq!(status(&post("k2", &body).await), 202);
    problem(post("", &body).await, 422, "validation_failed").await;
    let mut list = bed.get("/api/generations").await;
    assert_eq!(json(&mut list).await["total"], 2);
}

/// What is not even JSON shows that nobody has looked at it.
#[tokio::test]
async fn a_full_queue_is_told_before_the_body_is_read() {
    let bed = Bed::with(|config| config.queue_depth_max = 2, false).await;
    let path = "/api/generate/preset";
    let asked = |key: &str, body: String| {
        let asked =
            request(Method::POST, path).add_header("x-api-key", &bed.key, true).add_header("content-type", "application/json", true);
        if key.is_empty() { asked.body(body) } else { asked.add_header("idempotency-key", key, true).body(body) }
    };
    let speech = json!({"text": "Hello.", "voice_id": "nora"}).to_string();
    let mut first = bed.send(asked("first", speech.clone())).await;
    assert_eq!(status(&first), 202);
    let first = json(&mut first).await;
    assert_eq!(status(&bed.send(asked("", speech.clone())).await), 202);

    let refused = bed.send(asked("", "{".into())).await;
    assert_eq!(header(&refused, "retry-after"), Some("30"));
    let told = problem(refused, 503, "queue_full").await;
    assert!(told["detail"].as_str().unwrap().starts_with("2 generations are open already"), "{told}");
    problem(bed.send(asked("second", "{".into())).await, 503, "queue_full").await;
    // What was accepted before is no new work.
    let mut again = bed.send(asked("first", speech)).await;
    assert_eq!(status(&again), 202);
    assert_eq!(json(&mut again).await["id"], first["id"]);
    // Nor is what leaves nothing behind.
    assert_eq!(status(&bed.post("/api/text/split", &json!({"text": "One. Two."})).await), 200);
}

#[tokio::test]
async fn pages_that_were_allowed_may_call_and_read() {
    let bed = Bed::with(|config| config.cors_origins = vec!["https://App.example/".into()], false).await;
    let ask = async |method: Method, origin: &str, key: bool| {
        let asked =
            request(method, "/api/voices").add_header("origin", origin, true).add_header("access-control-request-method", "GET", true);
        bed.send(if key { asked.add_header("x-api-key", &bed.key, true) } else { asked }).await
    };
    let preflight = ask(Method::OPTIONS, "https://app.example", false).await;
    assert_eq!((status(&preflight), header(&preflight, "access-control-allow-origin")), (204, Some("https://app.example")));
    assert!(header(&preflight, "access-control-allow-headers").unwrap().contains("X-API-Key"));
    assert!(header(&preflight, "access-control-allow-methods").unwrap().contains("DELETE"));
    assert_eq!(header(&preflight, "access-control-allow-credentials"), None);
    // Answers can be read, refusals too.
    for (key, expected) in [(true, 200), (false, 401)] {
        let answer = ask(Method::GET, "https://app.example", key).await;
        assert_eq!((status(&answer), header(&answer, "access-control-allow-origin")), (expected, Some("https://app.example")));
        assert!(header(&answer, "access-control-expose-headers").unwrap().contains("RateLimit"));
        assert_eq!(header(&answer, "vary"), Some("Origin"));
    }
    for origin in ["https://evil.example", "http://app.example", "https://app.example:444", "https://app.example.evil.example", "null"] {
        for method in [Method::OPTIONS, Method::GET] {
            let refused = ask(method, origin, true).await;
            assert_eq!(header(&refused, "access-control-allow-origin"), None);
            problem(refused, 403, "origin_not_allowed").await;
        }
    }
    let plain = request(Method::OPTIONS, "/api/voices").add_header("x-api-key", &bed.key, true);
    problem(bed.send(plain).await, 405, "method_not_allowed").await;
    let off = Bed::without_workers().await;
    let asked =
        request(Method::OPTIONS, "/api/voices").add_header("origin", BASE, true).add_header("access-control-request-method", "GET", true);
    let own = off.send(asked).await;
    assert_eq!((status(&own), header(&own, "access-control-allow-origin")), (405, None));
}

/// On every route: it is refused before a key is looked at, on the upgrade too.
#[tokio::test]
async fn every_route_refuses_strange_hosts_and_origins() {
    let bed = Bed::without_workers().await;
    for route in routes::table() {
        let ask = |name: &'static str, value: &'static str| {
            let asked = request(route.method.clone(), &example_path(&route)).add_header("x-api-key", &bed.key, true);
            let upgrade = asked.add_header("connection", "upgrade", true).add_header("upgrade", "websocket", true);
            bed.send(upgrade.add_header(name, value, true))
        };
        problem(ask("host", "evil.example").await, 403, "host_not_allowed").await;
        problem(ask("origin", "http://evil.example").await, 403, "origin_not_allowed").await;
    }
}
