//! Who speaks in a recording, as one vector: log-mel frames into ECAPA-TDNN (Base checkpoints only).
//!
//! This module may not know what the vector is put into.

mod ecapa;
mod mel;

pub(super) use ecapa::Ecapa;
pub(super) use mel::LogMel;
