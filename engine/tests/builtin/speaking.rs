//! A request becomes speech with word times, through the handle that the rest of the program uses.

use std::sync::Arc;

use engine::builtin::{BuiltinEngine, BuiltinVoice};
use engine::handle::{EngineConfig, EngineHandle};
use engine::speech::{Availability, SpeechEngine};
use tokio_util::sync::CancellationToken;

use super::installed::{installed, request, seconds};

#[tokio::test]
async fn a_sentence_is_spoken_through_the_handle() {
    let Some(installed) = installed("a_sentence_is_spoken_through_the_handle") else { return };
    let installation = Arc::clone(&installed.installation);
    let handle = EngineHandle::start(EngineConfig::default(), move || {
        Ok(Box::new(BuiltinEngine::new(Arc::clone(&installation))) as Box<dyn SpeechEngine>)
    })
    .unwrap();
    assert_eq!(handle.availability(), Availability::Ready);
    assert!(handle.capabilities().languages.len() > 100);
    let request = request("Hello world, this is a voice.", "en-US", &BuiltinVoice::default());
    let speech = handle.synthesize(request.clone(), CancellationToken::new()).await.unwrap();
    assert!((1.5..3.0).contains(&seconds(&speech)), "{} s", seconds(&speech));
    let words: Vec<&str> = speech.words.iter().map(|word| word.word.as_str()).collect();
    assert_eq!(words, ["Hello", "world", "this", "is", "a", "voice"]);
    for pair in speech.words.windows(2) {
        assert!(pair[0].start_ms < pair[0].end_ms && pair[0].end_ms <= pair[1].start_ms, "{pair:?}");
    }
    assert_eq!(handle.synthesize(request, CancellationToken::new()).await.unwrap(), speech);
    assert_eq!((handle.calls(), handle.busy()), (2, 0));
    handle.shutdown().await;
}
