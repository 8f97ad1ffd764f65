//! How long a text may and must take: where a frame loop stops by itself, and when what came out is no speech of that text.
//!
//! Qwen3-TTS sometimes misses its end and babbles on, or ends at once. Both are told by the number of frames against the number of
//! characters; a caller makes such a chunk again with another seed. Pure; this file may not know tensors.

/// Frames in a second.
pub const FRAMES_PER_S: f32 = 12.5;

/// Longest and shortest believable speech of a text, in frames of 80 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Ended here, the speech has run away.
    pub max_frames: usize,
    /// Ended before, the speech has stopped too early.
    pub min_frames: usize,
}

/// Silence, breath and a slow voice, in frames, whatever the length of the text.
const SLACK_FRAMES: f32 = 25.0;
/// The slowest believable speech, frames a character: 5 Latin letters or 2 Chinese characters a second.
const SLOW_LETTER: f32 = 2.5;
const SLOW_WIDE: f32 = 6.0;
/// The fastest: 62 letters or 25 Chinese characters a second is no speech.
const FAST_LETTER: f32 = 0.2;
const FAST_WIDE: f32 = 0.5;
/// Below this many spoken characters a text has no shortest length but one frame.
const SHORT_TEXT: usize = 12;

/// Chinese characters, kana and Hangul: one syllable or more each.
fn is_wide(c: char) -> bool {
    matches!(u32::from(c), 0x1100..=0x11FF | 0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xAC00..=0xD7AF | 0xF900..=0xFAFF | 0x2_0000..=0x3_FFFF)
}

impl FrameLimits {
    /// `ceiling_frames`: never more, whatever the text.
    pub fn of(text: &str, ceiling_frames: usize) -> Self {
        let (mut most, mut least, mut spoken) = (SLACK_FRAMES, 0.0, 0);
        for c in text.chars() {
            // A digit is a word.
            most += if is_wide(c) || c.is_numeric() { SLOW_WIDE } else { SLOW_LETTER };
            if c.is_alphanumeric() {
                least += if is_wide(c) { FAST_WIDE } else { FAST_LETTER };
                spoken += 1;
            }
        }
        let max_frames = (most as usize).clamp(1, ceiling_frames.max(1));
        let min_frames = if spoken < SHORT_TEXT { 1 } else { (least as usize).clamp(1, max_frames) };
        Self { max_frames, min_frames }
    }
}

/// So long the same few sounds, and no speech comes any more: four seconds.
const STUCK_FRAMES: usize = 50;
/// The longest circle looked for.
const MAX_CIRCLE: usize = 4;

/// Whether the first codes have gone in a small circle for [`STUCK_FRAMES`].
pub(super) fn is_stuck(first_codes: &[u32]) -> bool {
    let Some(from) = first_codes.len().checked_sub(STUCK_FRAMES) else { return false };
    let last = &first_codes[from..];
    (1..=MAX_CIRCLE).any(|circle| last[circle..] == last[..STUCK_FRAMES - circle])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_texts_may_take_longer() {
        let short = FrameLimits::of("hello world", 4_096);
        let long = FrameLimits::of(&"hello world ".repeat(20), 4_096);
        assert_eq!(short.min_frames, 1);
        assert!(long.max_frames > 10 * short.max_frames / 2 && long.min_frames > 30, "{long:?}");
        assert!(FrameLimits::of("你好世界", 4_096).max_frames > FrameLimits::of("abcd", 4_096).max_frames);
    }

    #[test]
    fn real_speech_lies_within() {
        // 15 letters a second, 5 Chinese characters a second.
        let english = "The quick brown fox jumps over the lazy dog, and nobody minds at all.";
        let frames = (english.len() as f32 / 15.0 * FRAMES_PER_S) as usize;
        let limits = FrameLimits::of(english, 4_096);
        assert!(limits.min_frames * 2 < frames && frames * 2 < limits.max_frames, "{frames} {limits:?}");
        let chinese = "今天天气很好我们一起去公园散步吧";
        let frames = (chinese.chars().count() as f32 / 5.0 * FRAMES_PER_S) as usize;
        let limits = FrameLimits::of(chinese, 4_096);
        assert!(limits.min_frames * 2 < frames && frames * 2 < limits.max_frames, "{frames} {limits:?}");
    }

    #[test]
    fn the_ceiling_holds() {
        assert_eq!(FrameLimits::of(&"a".repeat(100_000), 300), FrameLimits { max_frames: 300, min_frames: 300 });
    }

    #[test]
    fn a_circle_is_stuck_and_speech_is_not() {
        assert!(is_stuck(&[7; 50]));
        assert!(!is_stuck(&[7; 49]));
        let circle = |size: u32| (0..90).map(|at| at % size).collect::<Vec<u32>>();
        assert!(is_stuck(&circle(4)));
        assert!(!is_stuck(&circle(5)));
        let mut late = circle(3);
        late.push(9);
        assert!(!is_stuck(&late));
    }
}
