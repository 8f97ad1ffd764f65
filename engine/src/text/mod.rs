//! Text before it is spoken: marks, languages, sentences, pieces, turns, cleaning. Pure functions from text to values.
//!
//! Nothing here may know voices, engines, jobs or time, and nothing here does I/O or fails: every string has an answer. Work and
//! memory are linear in the length of the text; what a third-party crate does in more than linear time runs on bounded windows.

mod cut;
mod function_words;
pub mod language;
pub mod marks;
mod sentences;
pub mod split;
pub mod turns;

pub use language::{detect, detect_among};
pub use marks::{Span, parse, strip};
pub use split::{Mode, Piece, SplitConfig, split};
pub use turns::{Turn, turns};
