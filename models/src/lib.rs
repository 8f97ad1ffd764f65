//! The models that can be had, and those that lie on this disk: the catalogue (one TOML manifest a model), pulling from the hub with resume
//! and checks, import from a folder, verifying, removing.
//!
//! It may not know tensors, rows or jobs: what loads the files is the engine's, that a pull survives a restart is the queue's.

pub mod catalogue;
pub mod checksum;
pub mod folder;
pub mod hub;
pub mod import;
pub mod library;
pub mod lock;
pub mod manifest;
pub mod pull;
