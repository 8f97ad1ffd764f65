//! Which models translate: the wiring between the configuration, the models on this disk and `jobs`.

use std::sync::Arc;

use engine::resident::Residents;
use jobs::translators::{Translators, TranslatorsConfig};
use models::library::Library;

use crate::config::Config;
use crate::speech;

/// One sentence at a time: a model uses all cores, and two share the memory's pace.
const AT_A_TIME: usize = 1;

/// Reads nothing yet; models are listed in `residents` as they are used.
pub fn translators(config: &Config, library: &Arc<Library>, residents: &Residents) -> Arc<Translators> {
    let translators = TranslatorsConfig {
        library: library.clone(),
        precision: speech::precision(config),
        idle_ms: speech::idle_ms(config),
        at_a_time: AT_A_TIME,
    };
    Translators::new(translators, residents.clone())
}
