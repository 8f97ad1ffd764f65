//! The models that transcribe and translate: the wiring between the configuration, what is installed on this disk and `jobs`. Reads nothing yet.

use std::sync::Arc;

use engine::resident::Residents;
use jobs::model_places::ModelPlacesConfig;
use jobs::transcribers::Transcribers;
use jobs::translators::Translators;
use models::library::Library;

use crate::config::Config;
use crate::speech;

/// One window or sentence at a time: a model uses all cores, and two share the memory's pace.
const AT_A_TIME: usize = 1;

/// Models are listed in `residents` as they are used.
pub fn transcribers(config: &Config, library: &Arc<Library>, residents: &Residents) -> Arc<Transcribers> {
    Transcribers::new(places(config, library), residents.clone())
}

/// Models are listed in `residents` as they are used.
pub fn translators(config: &Config, library: &Arc<Library>, residents: &Residents) -> Arc<Translators> {
    Translators::new(places(config, library), residents.clone())
}

fn places(config: &Config, library: &Arc<Library>) -> ModelPlacesConfig {
    ModelPlacesConfig {
        library: library.clone(),
        precision: speech::precision(config),
        idle_ms: speech::idle_ms(config),
        at_a_time: AT_A_TIME,
    }
}
