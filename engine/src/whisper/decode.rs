//! A window's ids: greedy first, then drawn with rising temperatures while the text repeats itself or is unlikely. Source: `transcribe.py` and
//! `decoding.py` of openai-whisper, with one draw for each temperature. This file may not know samples or segments.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::choose::{Draw, choose, probability};
use super::decoder::Heard;
use super::model::Whisper;
use super::{GoOn, TranscribeError, rules};

const TEMPERATURES: [f32; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
/// Above, the text repeats itself.
const COMPRESSION_RATIO_MAX: f32 = 2.4;
/// Below, the model does not believe itself.
const AVG_LOGPROB_MIN: f32 = -1.0;
/// Above, and with an unlikely text, nobody spoke.
const NO_SPEECH_MAX: f32 = 0.6;

#[derive(Debug, Clone)]
pub(super) struct Decoded {
    /// Text and times, without the end.
    pub(super) ids: Vec<u32>,
    pub(super) avg_logprob: f32,
    pub(super) no_speech_prob: f32,
    pub(super) compression_ratio: f32,
    pub(super) temperature: f32,
}

impl Decoded {
    pub(super) fn is_silence(&self) -> bool {
        self.no_speech_prob > NO_SPEECH_MAX && self.avg_logprob <= AVG_LOGPROB_MIN
    }

    fn is_good(&self) -> bool {
        self.is_silence() || (self.compression_ratio <= COMPRESSION_RATIO_MAX && self.avg_logprob >= AVG_LOGPROB_MIN)
    }
}

/// What comes before the text: a prompt, and the beginning that says language and task.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) prompt: Vec<u32>,
    pub(super) beginning: Vec<u32>,
}

pub(super) fn decode(model: &Whisper, heard: &Heard, before: &Before, go_on: GoOn<'_>) -> Result<Decoded, TranscribeError> {
    let mut last = once(model, heard, before, TEMPERATURES[0], go_on)?;
    for temperature in TEMPERATURES.into_iter().skip(1) {
        if last.is_good() {
            break;
        }
        last = once(model, heard, before, temperature, go_on)?;
    }
    Ok(last)
}

fn once(model: &Whisper, heard: &Heard, before: &Before, temperature: f32, go_on: GoOn<'_>) -> Result<Decoded, TranscribeError> {
    let tokens = &model.tokens;
    let decoder = &model.parts.decoder;
    let capacity = model.parts.config.max_target_positions;
    let ids_max = (capacity / 2).min(capacity.saturating_sub(before.prompt.len() + before.beginning.len()));
    let mut cache = decoder.cache()?;
    let start = [&before.prompt[..], &before.beginning[..]].concat();
    let mut none = Vec::new();
    let first = decoder.run(&start, heard, &mut cache, &[], &mut none)?;
    let after = |row: usize| -> Result<Vec<f32>, TranscribeError> { Ok(first.get(row)?.to_vec1()?) };
    let no_speech_prob = match tokens.no_speech {
        Some(id) => probability(&after(before.prompt.len())?, id),
        None => 0.0,
    };
    let mut scores = after(start.len() - 1)?;
    // Of a seed that nothing but the temperature sets, so that equal windows give equal texts.
    let mut draw = Draw::new((temperature * 10.0).round() as u64);
    let (mut ids, mut sum) = (Vec::new(), 0.0);
    loop {
        if go_on().is_break() {
            return Err(TranscribeError::Stopped);
        }
        rules::apply(&mut scores, &ids, tokens);
        let Some((id, logprob)) = choose(&scores, temperature, &mut draw) else { break };
        sum += logprob;
        if id == tokens.end {
            break;
        }
        ids.push(id);
        if ids.len() >= ids_max {
            break;
        }
        scores = decoder.next(&[id], heard, &mut cache)?;
    }
    Ok(Decoded {
        avg_logprob: sum / (ids.len() + 1) as f32,
        no_speech_prob,
        compression_ratio: compression_ratio(&tokens.text(&ids)),
        temperature,
        ids,
    })
}

/// Bytes of a text for each that zlib packs it into.
fn compression_ratio(text: &str) -> f32 {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    let bytes = match packed.write_all(text.as_bytes()).and_then(|()| packed.finish()) {
        Ok(bytes) => bytes.len(),
        Err(_) => text.len(),
    };
    text.len() as f32 / bytes.max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_itself_packs_well() {
        assert!(compression_ratio(&"and then ".repeat(40)) > COMPRESSION_RATIO_MAX);
        assert!(compression_ratio("Nobody knows how the pigeons of Trafalgar Square find bread.") < COMPRESSION_RATIO_MAX);
        assert!(compression_ratio("").abs() < f32::EPSILON);
    }
}
