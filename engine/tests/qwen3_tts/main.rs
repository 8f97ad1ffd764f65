//! The neural engine on the reference's tiny checkpoints: equal to golden outputs, and true to what it promises of itself.
#![allow(clippy::unwrap_used)]

#[path = "../../examples/parity/cases.rs"]
mod cases;
mod folders;
mod parity;
mod promises;
mod refusals;
mod speaking;
