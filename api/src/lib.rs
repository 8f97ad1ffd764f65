//! The front door.

pub mod config;
pub mod file_name;
pub mod keys;
pub mod limits;
pub mod prefer;
pub mod range;
pub mod scopes;
