//! Fetching sound from a stranger's URL: which addresses may be reached, and the proxy that reaches them.

pub mod address;
pub mod proxy;
