//! The built-in engine: speech without weights, by eSpeak NG in a process of its own.
//!
//! One [`BuiltinEngine`] is one host process; an [`Installation`] is what they share. This module may not know models or tensors. The
//! host is GPL-3.0-or-later and stays a separate program: only its wire format is known here.

mod host;
mod install;
mod installation;
mod japanese;
mod language;
mod overlay;
mod presets;
mod sayable;
mod stretch;
mod synthesize;
mod voice;
mod words;

use std::path::PathBuf;

pub use installation::Installation;
pub use language::Language;
pub use presets::{Gender, Preset, preset, presets};
pub(crate) use sayable::{Part, parts};
pub(crate) use stretch::stretch;
pub use synthesize::BuiltinEngine;
pub use voice::BuiltinVoice;

/// What the speech host takes in one request, in characters.
pub const MAX_TEXT_CHARS: usize = 5_000;

/// Where the parts of the built-in engine are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltinConfig {
    /// The speech host. `None`: beside this executable, one folder up, or on the search path.
    pub host_program: Option<PathBuf>,
    /// Below the data folder; made when missing. Holds links to the system's speech data and our voice variants, nothing of value.
    pub variants_folder: PathBuf,
    /// Reads kanji; a name without a folder is looked for on the search path.
    pub mecab_program: PathBuf,
    /// Longer texts are refused, in characters. At most [`MAX_TEXT_CHARS`].
    pub max_text_chars: usize,
    /// A missing library is looked for at most this often.
    pub recheck_ms: u64,
}

impl BuiltinConfig {
    pub fn new(variants_folder: PathBuf) -> Self {
        Self {
            host_program: None,
            variants_folder,
            mecab_program: PathBuf::from("mecab"),
            max_text_chars: MAX_TEXT_CHARS,
            recheck_ms: 2_000,
        }
    }
}
