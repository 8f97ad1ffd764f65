//! The few calls that the demo makes. A refusal becomes a sentence for the person who watches. It may not know what the answers are for.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::Failure;
use crate::cast::Voice;

#[derive(Debug, Clone)]
pub(crate) struct Client {
    base: String,
    key: String,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(base: &str, key: String) -> Result<Self, Failure> {
        // Connections to a server that is killed on purpose are better not kept.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(60)).build()?;
        Ok(Self { base: base.to_owned(), key, http })
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn websocket_address(&self) -> String {
        format!("{}/ws", self.base.replacen("http", "ws", 1))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).header("X-API-Key", &self.key)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(accepted(self.request(Method::GET, path)).await?.json().await?)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        Ok(accepted(self.request(Method::POST, path).json(body)).await?.json().await?)
    }

    /// All presets, in the server's order.
    pub(crate) async fn voices(&self) -> Result<Vec<Voice>, Failure> {
        let list = self.get("/api/voices?type=preset&limit=200").await?;
        Ok(serde_json::from_value(list["items"].clone())?)
    }

    /// The file appears when it is whole.
    pub(crate) async fn download(&self, path: &str, file: &Path) -> Result<(), Failure> {
        let bytes = accepted(self.request(Method::GET, path)).await?.bytes().await?;
        let partial = file.with_extension("part");
        std::fs::write(&partial, &bytes)?;
        std::fs::rename(&partial, file)?;
        Ok(())
    }
}

async fn accepted(request: RequestBuilder) -> Result<Response, Failure> {
    let response = request.send().await?;
    if response.status().is_success() {
        return Ok(response);
    }
    let (status, address) = (response.status(), response.url().path().to_owned());
    let problem: Value = response.json().await.unwrap_or_default();
    Err(format!("{address}: {status}: {}", problem["detail"].as_str().unwrap_or("no reason given")).into())
}
