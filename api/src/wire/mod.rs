//! The contract's JSON, one file for each kind of thing: what comes in and what goes out. Types and conversions only; nothing here reads a
//! row or knows a status code.

pub mod api_key;
pub mod audio;
pub mod chunk;
pub mod clone;
pub mod design;
pub mod download;
pub mod generation;
pub mod job;
pub mod list;
pub mod machine;
pub mod model;
pub mod montage;
pub mod peaks;
pub mod queue;
pub mod socket;
pub mod speech;
pub mod split;
pub mod system;
pub mod time;
pub mod timeline;
pub mod transcribe;
pub mod translate;
pub mod voice;
pub mod voice_archive;
