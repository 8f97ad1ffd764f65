//! Which models transcribe: the wiring between the configuration, the models on this disk and `jobs`.

use std::sync::Arc;

use engine::resident::Residents;
use jobs::transcribers::{Transcribers, TranscribersConfig};
use models::library::Library;

use crate::config::Config;
use crate::speech;

/// One window at a time: a model uses all cores.
const AT_A_TIME: usize = 1;

/// Reads nothing yet; models are listed in `residents` as they are used.
pub fn transcribers(config: &Config, library: &Arc<Library>, residents: &Residents) -> Arc<Transcribers> {
    let transcribers = TranscribersConfig {
        library: library.clone(),
        precision: speech::precision(config),
        idle_ms: speech::idle_ms(config),
        at_a_time: AT_A_TIME,
    };
    Transcribers::new(transcribers, residents.clone())
}
