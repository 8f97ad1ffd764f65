//! A REST client as a user of the API would write it: one key, JSON in and out, and the whole answer kept for assertions.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::wait;

/// Speaks to one server with one key, or with none.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    key: Option<String>,
    http: reqwest::Client,
}

impl Client {
    /// `base` without a slash at its end.
    pub fn new(base: String, key: Option<String>) -> Self {
        // A pooled connection would outlive a killed server and fail the first request to its successor.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(120)).build().unwrap();
        Self { base, key, http }
    }

    /// For requests with headers or bodies of their own; send it with [`Answer::to`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.header("X-API-Key", key),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(Method::POST, path).json(body)).await
    }

    /// The id of the preset voice that stands at `place` in the list.
    pub async fn preset(&self, place: usize) -> String {
        let answer = self.get("/api/voices?type=preset&limit=200").await;
        answer.expect(200).json()["items"][place]["id"].as_str().unwrap().to_owned()
    }

    /// Submits long work and gives its id.
    ///
    /// # Panics
    /// When it is not accepted.
    pub async fn submit(&self, path: &str, body: &Value) -> String {
        self.post(path, body).await.expect(202).json()["task_id"].as_str().unwrap().to_owned()
    }

    /// The job once it has ended, in whatever way.
    pub async fn ended(&self, task_id: &str) -> Value {
        let path = format!("/api/jobs/{task_id}");
        wait::until(&format!("the end of job {task_id}"), async || {
            let job = self.get(&path).await.expect(200).json();
            matches!(job["status"].as_str(), Some("completed" | "failed" | "cancelled")).then_some(job)
        })
        .await
    }

    /// The job, which must have been completed.
    pub async fn completed(&self, task_id: &str) -> Value {
        let job = self.ended(task_id).await;
        assert_eq!(job["status"], "completed", "{job:#}");
        job
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Method and path, for messages.
    pub asked: String,
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub async fn to(request: RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let asked = format!("{} {}", request.method(), request.url().path());
        let response = match client.execute(request).await {
            Ok(response) => response,
            Err(error) => panic!("{asked}: no answer: {error:?}"),
        };
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await.unwrap_or_else(|error| panic!("{asked}: answer {status} broke off: {error:?}"));
        Self { asked, status, headers, body }
    }

    /// A header that must be text, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// # Panics
    /// With the whole answer, when the status is another one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}: {:?} {}", self.asked, self.headers, String::from_utf8_lossy(&self.body));
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{}: {error}: {}", self.asked, String::from_utf8_lossy(&self.body)),
        }
    }

    /// The error as RFC 9457 and the contract want it, with this status and code.
    ///
    /// # Panics
    /// When anything of it is missing or contradicts the headers.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        self.expect(status);
        let content_type = self.header("content-type").unwrap_or_default();
        assert!(content_type.starts_with("application/problem+json"), "{}: {content_type}", self.asked);
        let problem = self.json();
        assert_eq!(problem["status"], status, "{}: {problem}", self.asked);
        assert_eq!(problem["code"], code, "{}: {problem}", self.asked);
        for field in ["type", "title", "detail", "request_id"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{}: no {field} in {problem}", self.asked);
        }
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{}", self.asked);
        problem
    }
}
