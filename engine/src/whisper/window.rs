//! One window from samples to segments with words: silence left out, the language found, the text decoded, cut at its times, and each word
//! placed. It may not know the windows before and after it, nor how long a recording is.

use super::decode::{Before, Decoded, decode};
use super::decoder::{Heard, Looks};
use super::model::Whisper;
use super::segments::{Piece, cut};
use super::{GoOn, SAMPLE_RATE_HZ, Segment, TranscribeError, WindowText, Wish, Word, words};
use crate::qwen3_tts::ModelError;

/// Below -60 dB of full scale there is nothing to hear.
const SILENCE: f32 = 0.001;
/// Kept of the silence before the first sound.
const LEAD_MS: u64 = 200;
/// A silence that is left out; a shorter one is heard with what follows.
const SKIPPED_MS_MIN: u64 = 1_000;
/// A window that would move on by less than this share is done with, or a text without end would crawl.
const ADVANCE_SHARE_MIN: u64 = 20;

fn to_ms(samples: usize) -> u64 {
    samples as u64 * 1_000 / u64::from(SAMPLE_RATE_HZ)
}

impl Whisper {
    /// `samples` begin where the window does and are as long as a window, or shorter where the recording ends. `language` is that of the
    /// windows before, or what the caller wishes.
    ///
    /// # Errors
    /// [`TranscribeError`]; a language that the model does not have is [`ModelError::Request`].
    pub fn window(&self, samples: &[f32], wish: &Wish, language: Option<&str>, go_on: GoOn<'_>) -> Result<WindowText, TranscribeError> {
        let samples = &samples[..samples.len().min(self.window_samples())];
        let language = language.or(wish.language.as_deref());
        let nothing = |advance_ms: u64| WindowText { language: language.map(str::to_owned), segments: Vec::new(), advance_ms };
        let Some(first) = samples.iter().position(|sample| sample.abs() > SILENCE) else {
            return Ok(nothing(to_ms(samples.len()).max(1)));
        };
        if to_ms(first) >= SKIPPED_MS_MIN {
            return Ok(nothing(to_ms(first) - LEAD_MS));
        }
        let heard = self.parts.listen(samples, go_on)?;
        let language = match language {
            Some(language) => Some(language.to_owned()),
            None => self.language_of(&heard)?,
        };
        let before = self.before(wish, language.as_deref())?;
        let decoded = decode(self, &heard, &before, go_on)?;
        let whole_ms = to_ms(samples.len()).max(1);
        if decoded.is_silence() {
            return Ok(WindowText { language, segments: Vec::new(), advance_ms: whole_ms });
        }
        let positions = self.parts.config.max_source_positions as u32;
        let (pieces, done) = cut(&decoded.ids, self.tokens.first_time(), positions);
        let done_ms = u64::from(done) * super::config::POSITION_MS;
        let least_ms = to_ms(self.window_samples()) / ADVANCE_SHARE_MIN;
        let advance_ms = if done_ms < least_ms.max(1) { whole_ms } else { done_ms.min(whole_ms) };
        let placed = if wish.words { self.words(&heard, &before, &pieces, language.as_deref(), samples, go_on)? } else { Vec::new() };
        let segments = self.segments(&decoded, pieces, placed, whole_ms);
        Ok(WindowText { language, segments, advance_ms })
    }

    fn before(&self, wish: &Wish, language: Option<&str>) -> Result<Before, TranscribeError> {
        let beginning = self.tokens.beginning(language, wish.translate).ok_or_else(|| {
            let known: Vec<&str> = self.tokens.languages.keys().map(String::as_str).collect();
            let asked = language.unwrap_or("no language");
            ModelError::Request(format!("the model does not know {asked}; it knows {}", known.join(", ")))
        })?;
        let prompt = match wish.prompt.as_deref().filter(|prompt| !prompt.trim().is_empty()) {
            Some(prompt) => self.tokens.prompt(prompt, self.parts.config.max_target_positions / 2)?,
            None => Vec::new(),
        };
        Ok(Before { prompt, beginning })
    }

    /// The likeliest; `None` in a model of one language.
    fn language_of(&self, heard: &Heard) -> Result<Option<String>, TranscribeError> {
        let mut cache = self.parts.decoder.cache()?;
        let scores = self.parts.decoder.next(&[self.tokens.start], heard, &mut cache)?;
        let score = |id: u32| scores.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let best = self.tokens.languages.iter().max_by(|(_, one), (_, next)| score(**one).total_cmp(&score(**next)));
        Ok(best.map(|(name, _)| name.clone()))
    }

    fn segments(&self, decoded: &Decoded, pieces: Vec<Piece>, placed: Vec<Vec<Word>>, whole_ms: u64) -> Vec<Segment> {
        let mut placed = placed.into_iter();
        let segment = |piece: Piece| {
            let words = placed.next().unwrap_or_default();
            let ms = |position: u32| (u64::from(position) * super::config::POSITION_MS).min(whole_ms);
            Segment {
                start_ms: ms(piece.start),
                end_ms: ms(piece.end),
                text: self.tokens.text(&piece.ids),
                avg_logprob: decoded.avg_logprob,
                no_speech_prob: decoded.no_speech_prob,
                compression_ratio: decoded.compression_ratio,
                temperature: decoded.temperature,
                words,
            }
        };
        let segments = pieces.into_iter().map(segment);
        segments.filter(|segment| segment.end_ms > segment.start_ms && !segment.text.trim().is_empty()).collect()
    }

    /// Of each piece, by reading its text once more and looking where the alignment heads look.
    fn words(
        &self,
        heard: &Heard,
        before: &Before,
        pieces: &[Piece],
        language: Option<&str>,
        samples: &[f32],
        go_on: GoOn<'_>,
    ) -> Result<Vec<Vec<Word>>, TranscribeError> {
        let of_pieces: Vec<usize> = pieces.iter().map(|piece| piece.ids.len()).collect();
        let text: Vec<u32> = pieces.iter().flat_map(|piece| piece.ids.iter().copied()).collect();
        let skipped = before.beginning.len();
        let ids = [&before.beginning[..], &[self.tokens.no_times], &text, &[self.tokens.end]].concat();
        if text.is_empty() || ids.len() > self.parts.config.max_target_positions {
            return Ok(Vec::new());
        }
        if go_on().is_break() {
            return Err(TranscribeError::Stopped);
        }
        let (mut cache, mut looks) = (self.parts.decoder.cache()?, Looks::new());
        let scores = self.parts.decoder.run(&ids, heard, &mut cache, &self.parts.alignment_heads, &mut looks)?;
        let scores = scores.narrow(0, skipped, text.len())?.to_vec2::<f32>()?;
        let probability = |(row, id): (&Vec<f32>, &u32)| super::choose::probability(&row[..self.tokens.end as usize], *id);
        let probabilities: Vec<f32> = scores.iter().zip(&text).map(probability).collect();
        // Beyond the samples there is nothing to look at.
        let positions = (samples.len() / (2 * super::config::HOP)).clamp(1, self.parts.config.max_source_positions);
        let rows = |weights: candle_core::Tensor| weights.narrow(0, skipped, text.len() + 1)?.narrow(1, 0, positions)?.to_vec2::<f32>();
        let looks: Vec<Vec<Vec<f32>>> = looks.into_iter().map(|(_, weights)| rows(weights)).collect::<Result<_, _>>()?;
        let begins = words::align(&looks, self.parts.config.median_filter_width);
        let split = self.tokens.words(&text, language);
        let timed = words::timed(&split, &begins, &probabilities);
        let mut placed = words::shared_out(&split, timed, &of_pieces);
        for (words, piece) in placed.iter_mut().zip(pieces) {
            // Nothing comes after it that the heads could look at.
            if let Some(last) = words.last_mut() {
                last.end_ms = last.end_ms.max(u64::from(piece.end) * super::config::POSITION_MS);
            }
        }
        let counts: Vec<usize> = placed.iter().map(Vec::len).collect();
        let mut all: Vec<Word> = placed.into_iter().flatten().collect();
        words::snug(&mut all, samples);
        let mut all = all.into_iter();
        Ok(counts.into_iter().map(|count| all.by_ref().take(count).collect()).collect())
    }
}
