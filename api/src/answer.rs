//! Answers that are no problem: JSON with the right status. Files are in `file_answer`.

use salvo::http::StatusCode;
use salvo::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use salvo::oapi::{self, Components, EndpointOutRegister, Operation, ToSchema};
use salvo::{Response, Scribe};
use serde::Serialize;

use crate::problem::Problem;

/// 200 with JSON.
#[derive(Debug)]
pub struct Reply<T>(pub T);

impl<T: Serialize> Scribe for Reply<T> {
    fn render(self, res: &mut Response) {
        json(res, StatusCode::OK, &self.0);
    }
}

impl<T: ToSchema> EndpointOutRegister for Reply<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        operation.responses.insert("200", described::<T>("Done", components));
    }
}

/// 202: it is being worked on.
#[derive(Debug)]
pub struct Accepted<T> {
    pub body: T,
    /// Where to look how far it is.
    pub location: String,
    /// Given when the caller asked for something that is not there yet.
    pub retry_after_s: Option<u64>,
}

impl<T: Serialize> Scribe for Accepted<T> {
    fn render(self, res: &mut Response) {
        if let Ok(location) = HeaderValue::from_str(&self.location) {
            res.headers_mut().insert(LOCATION, location);
        }
        if let Some(seconds) = self.retry_after_s {
            res.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        json(res, StatusCode::ACCEPTED, &self.body);
    }
}

impl<T: ToSchema> EndpointOutRegister for Accepted<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        operation.responses.insert("202", described::<T>("Accepted; `Location` tells where to look how far it is", components));
    }
}

/// 201: it is there now.
#[derive(Debug)]
pub struct Created<T> {
    pub body: T,
    /// Where it is.
    pub location: String,
}

impl<T: Serialize> Scribe for Created<T> {
    fn render(self, res: &mut Response) {
        if let Ok(location) = HeaderValue::from_str(&self.location) {
            res.headers_mut().insert(LOCATION, location);
        }
        json(res, StatusCode::CREATED, &self.body);
    }
}

impl<T: ToSchema> EndpointOutRegister for Created<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        operation.responses.insert("201", described::<T>("Created; `Location` tells where it is", components));
    }
}

/// 201 with a secret that is told this once, in one field. What is kept for a repeated `Idempotency-Key` has null in its place.
#[derive(Debug)]
pub struct Secret<T> {
    pub body: T,
    pub field: &'static str,
}

/// The name of a field that is told once; with the answer, for those who keep answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldOnce(pub &'static str);

impl<T: Serialize> Scribe for Secret<T> {
    fn render(self, res: &mut Response) {
        res.extensions.insert(ToldOnce(self.field));
        res.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        json(res, StatusCode::CREATED, &self.body);
    }
}

impl<T: ToSchema> EndpointOutRegister for Secret<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        operation.responses.insert("201", described::<T>("Created; the secret is shown this once", components));
    }
}

/// 204: it is done, and there is nothing to say.
#[derive(Debug, Clone, Copy)]
pub struct NoContent;

impl Scribe for NoContent {
    fn render(self, res: &mut Response) {
        res.status_code(StatusCode::NO_CONTENT);
    }
}

impl EndpointOutRegister for NoContent {
    fn register(_components: &mut Components, operation: &mut Operation) {
        operation.responses.insert("204", oapi::Response::new("Done"));
    }
}

pub fn described<T: ToSchema>(description: &str, components: &mut Components) -> oapi::Response {
    oapi::Response::new(description).add_content("application/json", T::to_schema(components))
}

pub fn json<T: Serialize>(res: &mut Response, status: StatusCode, body: &T) {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            res.status_code(status);
            res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            res.body(bytes);
        }
        Err(error) => res.render(Problem::internal(error)),
    };
}
