//! Which engine speaks a piece of text. Pure, over what is installed, the voice, the language and what the caller asked for: the answer is
//! noted in the plan, so that a job that goes on after a crash speaks as it began.
//!
//! This file may not know how an engine is started, nor what a voice's profile means to it.

use engine::engines::NEURAL;
use engine::neural_models::{NeuralModel, Offer};
use engine::qwen3_tts::NeuralVoice;
use engine::speech::VoiceProfile;
use models::manifest::Ability;
use serde::{Deserialize, Serialize};

use crate::submission::{FieldError, SubmitError};
use crate::voices::Voice;

/// What a caller may say of the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineWish {
    /// The best that is installed and speaks the language; where there is none, the built-in engine.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "builtin")]
    Builtin,
    /// Or nothing.
    #[serde(rename = "qwen3-tts")]
    Neural,
}

impl EngineWish {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "builtin" => Some(Self::Builtin),
            NEURAL => Some(Self::Neural),
            _ => None,
        }
    }
}

/// The name of the engine that speaks with a model, or without.
pub fn engine_name(model: Option<&str>) -> &'static str {
    if model.is_some() { NEURAL } else { "builtin" }
}

/// The model that speaks; `None` is the built-in engine.
///
/// # Errors
/// [`SubmitError::ModelNotInstalled`] and [`SubmitError::Invalid`], where the wish leaves no way.
pub fn choose(offer: &Offer, wish: EngineWish, voice: &Voice, language: &str) -> Result<Option<String>, SubmitError> {
    let able = || offer.installed.iter().filter(|model| can_speak(model, voice));
    let best = || best_of(able().filter(|model| model.speaks(language)));
    match wish {
        EngineWish::Builtin => builtin(offer, voice),
        EngineWish::Auto => best().map_or_else(|| builtin(offer, voice), |id| Ok(Some(id))),
        EngineWish::Neural => best().map(Some).ok_or_else(|| match best_of(able()) {
            Some(id) => invalid("language", format!("\"{language}\" is none that {id} speaks; with engine auto the built-in engine does")),
            None => no_model(offer, voice),
        }),
    }
}

/// The best model that makes and speaks clones in a language.
pub(crate) fn best_for_clones(offer: &Offer, language: &str) -> Option<String> {
    best_of(offer.installed.iter().filter(|model| model.can(Ability::Clone) && model.speaks(language)))
}

/// A model that speaks as a description says, for voices that are to be cloned of what it said.
pub(crate) fn best_for_designs(offer: &Offer, language: &str) -> Option<String> {
    best_of(offer.installed.iter().filter(|model| model.can(Ability::Design) && model.speaks(language)))
}

/// What a person types to get a model for a voice that has none.
fn no_model(offer: &Offer, voice: &Voice) -> SubmitError {
    let ability = if voice.kind == "preset" { Ability::Preset } else { Ability::Clone };
    if offer.installed.iter().any(|model| model.can(ability)) {
        let detail = format!("\"{}\" is a voice of the built-in engine alone, and can't be spoken with {NEURAL}", voice.name);
        return invalid("engine", detail);
    }
    let what = format!("a model of {NEURAL} that speaks with \"{}\"", voice.name);
    SubmitError::ModelNotInstalled { what, command: offer.commands.get(&ability).cloned().unwrap_or_default() }
}

/// The built-in engine, if the voice has a form for it.
fn builtin(offer: &Offer, voice: &Voice) -> Result<Option<String>, SubmitError> {
    if matches!(voice.profile, VoiceProfile::Neural(_)) { Err(no_model(offer, voice)) } else { Ok(None) }
}

fn can_speak(model: &NeuralModel, voice: &Voice) -> bool {
    match voice.neural.get(&model.id) {
        Some(NeuralVoice::Cloned(_)) => model.can(Ability::Clone),
        Some(NeuralVoice::Named { .. }) => model.can(Ability::Preset),
        Some(NeuralVoice::Described { .. }) => model.can(Ability::Design),
        // Its recordings become what the model needs when it is first spoken.
        None => voice.recorded && model.can(Ability::Clone),
    }
}

/// The larger the better; of equal ones always the same.
fn best_of<'m>(models: impl Iterator<Item = &'m NeuralModel>) -> Option<String> {
    let best = models.max_by(|one, next| (one.parameters_millions, &next.id).cmp(&(next.parameters_millions, &one.id)));
    best.map(|model| model.id.clone())
}

fn invalid(field: &str, message: String) -> SubmitError {
    SubmitError::Invalid(vec![FieldError { field: field.into(), message }])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    fn model(id: &str, ability: Ability, parameters_millions: u32) -> NeuralModel {
        let languages = ["en", "zh"].map(str::to_owned).to_vec();
        NeuralModel { id: id.into(), abilities: vec![ability], languages, parameters_millions, speakers: Vec::new() }
    }

    fn offer(installed: Vec<NeuralModel>) -> Offer {
        let commands = [(Ability::Clone, "pull base".to_owned()), (Ability::Preset, "pull custom".to_owned())];
        Offer { installed, commands: BTreeMap::from(commands) }
    }

    fn clone_with(neural: &[&str], recorded: bool) -> Voice {
        let voice = NeuralVoice::Cloned(engine::qwen3_tts::ClonePrompt { x_vector: vec![0.0], reference: None });
        let neural = neural.iter().map(|id| ((*id).to_owned(), voice.clone())).collect();
        Voice { kind: "clone".into(), neural, recorded, ..crate::voices::find("nora").unwrap() }
    }

    #[test]
    fn the_largest_that_speaks_the_language_is_taken_and_else_the_builtin() {
        let offer =
            offer(vec![model("small", Ability::Clone, 600), model("large", Ability::Clone, 1_700), model("x", Ability::Preset, 9_000)]);
        let voice = clone_with(&[], true);
        assert_eq!(choose(&offer, EngineWish::Auto, &voice, "en-US").unwrap().as_deref(), Some("large"));
        assert_eq!(choose(&offer, EngineWish::Auto, &voice, "nl").unwrap(), None);
        assert_eq!(choose(&offer, EngineWish::Builtin, &voice, "en").unwrap(), None);
        // Without recordings only with what was made of them.
        assert_eq!(choose(&offer, EngineWish::Auto, &clone_with(&["small"], false), "zh").unwrap().as_deref(), Some("small"));
        assert_eq!(choose(&offer, EngineWish::Auto, &clone_with(&["x"], false), "zh").unwrap(), None, "x does not clone");
        assert_eq!(choose(&offer, EngineWish::Auto, &crate::voices::find("nora").unwrap(), "en").unwrap(), None);
    }

    #[test]
    fn equal_ones_are_told_apart_always_the_same_way() {
        let pair = |one, two| offer(vec![model(one, Ability::Clone, 5), model(two, Ability::Clone, 5)]);
        let voice = clone_with(&[], true);
        assert_eq!(choose(&pair("a", "b"), EngineWish::Auto, &voice, "en").unwrap().as_deref(), Some("a"));
        assert_eq!(choose(&pair("b", "a"), EngineWish::Auto, &voice, "en").unwrap().as_deref(), Some("a"));
    }

    #[test]
    fn who_asks_for_what_is_not_there_is_told_what_helps() {
        let command = |wanted: Result<Option<String>, SubmitError>| match wanted {
            Err(SubmitError::ModelNotInstalled { command, .. }) => command,
            other => panic!("{other:?}"),
        };
        let field = |wanted: Result<Option<String>, SubmitError>| match wanted {
            Err(SubmitError::Invalid(errors)) => errors[0].field.clone(),
            other => panic!("{other:?}"),
        };
        let nora = crate::voices::find("nora").unwrap();
        assert_eq!(command(choose(&offer(vec![]), EngineWish::Neural, &nora, "en")), "pull custom");
        assert_eq!(command(choose(&offer(vec![]), EngineWish::Neural, &clone_with(&[], true), "en")), "pull base");
        let installed = offer(vec![model("base", Ability::Clone, 1), model("custom", Ability::Preset, 1)]);
        assert_eq!(field(choose(&installed, EngineWish::Neural, &nora, "en")), "engine");
        assert_eq!(field(choose(&installed, EngineWish::Neural, &clone_with(&[], true), "nl")), "language");
        let only_neural = Voice { profile: VoiceProfile::Neural(Box::new(NeuralVoice::Named { speaker: "x".into() })), ..nora };
        assert_eq!(command(choose(&offer(vec![]), EngineWish::Auto, &only_neural, "en")), "pull custom");
    }
}
