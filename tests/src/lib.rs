//! The whole system seen from outside: the built server is started as its user would start it, spoken to over HTTP and WebSocket, killed
//! and started again. Nothing here may link the crates under test or look into the data folder's database: what a test knows, a client
//! could know.
//!
//! No test sleeps. It waits for an event, or asks again until a state is seen ([`wait::until`]), with a limit far beyond what a slow
//! machine needs; the limit ends a broken test and is no measurement.

#![allow(clippy::unwrap_used, reason = "this crate is only there for tests: a panic is how a test fails")]

pub mod client;
pub mod crash_loop;
pub mod engine_calls;
pub mod media;
pub mod otlp;
#[cfg(unix)]
pub mod postgres;
#[cfg(target_os = "linux")]
pub mod power_cut;
pub mod s3;
pub mod script;
pub mod server;
pub mod socket;
pub mod tools;
pub mod wait;

pub use client::{Answer, Client};
pub use server::{Engine, ServerOptions, TestServer};
pub use socket::{Envelope, Socket};
