//! The built-in engine with the real speech host and the real library. Each test says `SKIPPED` where eSpeak NG is not installed, unless
//! CLONYVOICE_TESTS_REQUIRE_TOOLS=1 makes that a failure.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "the environment says whether a test may be skipped")]

mod cloning;
mod designing;
mod failing;
mod installed;
mod languages;
mod models;
mod presets;
mod repeating;
mod speaking;
