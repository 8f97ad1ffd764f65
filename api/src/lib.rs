//! The front door: HTTP, WebSocket, keys, scopes, limits, the command line, and the wiring of everything behind it.
//!
//! Only this crate names salvo. It may not know SQL, how a job is run, or how speech is computed.

pub mod answer;
pub mod app;
pub mod authenticate;
pub mod backup;
pub mod body;
pub mod cli;
pub mod config;
pub mod create_key;
pub mod doctor;
pub mod endpoints;
pub mod event_feed;
pub mod event_tail;
pub mod file_answer;
pub mod file_name;
pub mod gate;
pub mod hold_queue;
pub mod host_check;
pub mod idempotency;
pub mod if_match;
pub mod isolated_job;
pub mod key_use;
pub mod keys;
pub mod limits;
pub mod logging;
pub mod openapi;
pub mod prefer;
pub mod problem;
pub mod query_string;
pub mod range;
pub mod request_id;
pub mod routes;
pub mod say;
pub mod scopes;
pub mod serve;
pub mod speech;
pub mod temporary_bytes;
pub mod upload;
pub mod voice_fields;
mod voice_list;
pub mod waiting;
pub mod wire;
