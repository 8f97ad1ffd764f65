//! A voice of the built-in engine as plain data, and the eSpeak NG variant file that it turns into.
//!
//! Presets, designed voices and clones are all values of this one struct. It may not know files or processes.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Every number has a range ([`BuiltinVoice::check`]); a field that is left out is that of the plain voice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuiltinVoice {
    /// Where the melody is at its lowest and highest, 40 to 600 Hz. The median F0 of speech lies between them.
    pub pitch_low_hz: f32,
    pub pitch_high_hz: f32,
    /// 80 to 400 words a minute.
    pub rate_wpm: f32,
    /// Resonances of the vocal tract relative to an adult male's, 0.7 to 1.6. A shorter tract has higher ones.
    pub formant_scale: f32,
    /// Bandwidth of the resonances, 0.4 to 3: wide sounds nasal or muffled, narrow sounds ringing.
    pub formant_width: f32,
    /// Slope of the spectrum against the plain voice, -12 to 12 dB an octave around 1 kHz: below zero dark, above zero bright.
    pub tilt_db_per_octave: f32,
    /// Noise of breath in the resonances, 0 to 100.
    pub breath: f32,
    /// How much the vocal folds are heard, 0 to 150 %. Near 0 with breath is a whisper.
    pub voicing_percent: f32,
    /// Unevenness from one period to the next, 0 to 7.
    pub roughness: u8,
    /// Slow unsteadiness of the pitch, 0 to 40.
    pub flutter: u8,
    /// Gain on the finished samples, -30 to 18 dB.
    pub volume_db: f32,
}

impl Default for BuiltinVoice {
    fn default() -> Self {
        Self {
            pitch_low_hz: 82.0,
            pitch_high_hz: 118.0,
            rate_wpm: 175.0,
            formant_scale: 1.0,
            formant_width: 1.0,
            tilt_db_per_octave: 0.0,
            breath: 0.0,
            voicing_percent: 100.0,
            roughness: 2,
            flutter: 2,
            volume_db: 0.0,
        }
    }
}

/// Breath lies in the resonances a listener hears as air: weak in the lowest, strongest in the second to fourth.
const BREATH_SHAPE: [f32; 8] = [0.3, 0.7, 1.0, 1.0, 0.9, 0.7, 0.5, 0.4];

/// Points of the plain voice's spectral balance: frequency and level out of 255, as eSpeak NG has them when no `tone` is given, plus one
/// above so that a tilt does not end at 3 kHz.
const TONE_POINTS: [(f32, f32); 5] = [(600.0, 170.0), (1200.0, 135.0), (2000.0, 110.0), (3000.0, 110.0), (5500.0, 110.0)];

/// The library speaks lower than a variant file says by this much at any pitch (fitted to F0 measured from 69 to 376 Hz), so that twice
/// the numbers are more than an octave.
const PITCH_OFFSET_HZ: f32 = 8.0;

/// Below this a tilt is not heard, and the variant file stays without a `tone` line.
const TILT_HEARD_DB: f32 = 0.05;

impl BuiltinVoice {
    /// The first number that is out of its range, as a fragment of a sentence.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f32, low: f32, high: f32| {
            // Written so that NaN fails too.
            if (low..=high).contains(&value) { Ok(()) } else { Err(format!("{name} {value} is not within {low} to {high}")) }
        };
        within("pitch_low_hz", self.pitch_low_hz, 40.0, 600.0)?;
        within("pitch_high_hz", self.pitch_high_hz, self.pitch_low_hz, 600.0)?;
        within("rate_wpm", self.rate_wpm, 80.0, 400.0)?;
        within("formant_scale", self.formant_scale, 0.7, 1.6)?;
        within("formant_width", self.formant_width, 0.4, 3.0)?;
        within("tilt_db_per_octave", self.tilt_db_per_octave, -12.0, 12.0)?;
        within("breath", self.breath, 0.0, 100.0)?;
        within("voicing_percent", self.voicing_percent, 0.0, 150.0)?;
        within("roughness", f32::from(self.roughness), 0.0, 7.0)?;
        within("flutter", f32::from(self.flutter), 0.0, 40.0)?;
        within("volume_db", self.volume_db, -30.0, 18.0)
    }

    /// Body of the variant file, without its `name` line, with the melody moved by `semitones`. Only what the library must do itself
    /// stands in it: rate and volume do not. The library's own pitch parameter is no help: it moves by less than it says.
    ///
    /// Format: eSpeak NG, `docs/voices.md`.
    pub(super) fn variant(&self, semitones: f32) -> String {
        let mut text = String::new();
        let mut line = |entry: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ = text.write_fmt(entry);
            text.push('\n');
        };
        let factor = 2f32.powf(semitones / 12.0);
        let moved = |hz: f32| (hz - PITCH_OFFSET_HZ) * factor + PITCH_OFFSET_HZ;
        line(format_args!("pitch {:.0} {:.0}", moved(self.pitch_low_hz), moved(self.pitch_high_hz)));
        line(format_args!("flutter {}", self.flutter));
        line(format_args!("roughness {}", self.roughness));
        line(format_args!("voicing {:.0}", self.voicing_percent));
        let frequency = self.formant_scale * 100.0;
        let width = self.formant_width * 100.0;
        for formant in 0..9 {
            line(format_args!("formant {formant} {frequency:.0} 100 {width:.0}"));
        }
        if self.breath > 0.0 {
            let mut levels = String::new();
            for share in BREATH_SHAPE {
                let _ = write!(levels, " {:.0}", share * self.breath);
            }
            line(format_args!("breath{levels}"));
        }
        if self.tilt_db_per_octave.abs() > TILT_HEARD_DB {
            let mut points = String::new();
            for (hz, level) in TONE_POINTS {
                let gain_db = self.tilt_db_per_octave * (hz / 1000.0).log2();
                let _ = write!(points, " {hz:.0} {:.0}", (level * 10f32.powf(gain_db / 20.0)).clamp(0.0, 255.0));
            }
            line(format_args!("tone{points}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_field_that_is_left_out_is_the_plain_voices() {
        let voice: BuiltinVoice = serde_json::from_str(r#"{"rate_wpm":150}"#).unwrap();
        assert_eq!(voice, BuiltinVoice { rate_wpm: 150.0, ..BuiltinVoice::default() });
        assert_eq!(voice.check(), Ok(()));
    }

    #[test]
    fn a_stored_profile_is_read_back() {
        let voice = BuiltinVoice { pitch_low_hz: 91.5, roughness: 5, volume_db: -3.25, ..BuiltinVoice::default() };
        let profile = crate::speech::VoiceProfile::Builtin(voice);
        let text = serde_json::to_string(&profile).unwrap();
        assert!(text.starts_with(r#"{"engine":"builtin","pitch_low_hz":91.5,"#), "{text}");
        assert_eq!(serde_json::from_str::<crate::speech::VoiceProfile>(&text).unwrap(), profile);
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let refused = |voice: BuiltinVoice, name: &str| assert!(voice.check().unwrap_err().starts_with(name));
        refused(BuiltinVoice { rate_wpm: f32::NAN, ..BuiltinVoice::default() }, "rate_wpm");
        refused(BuiltinVoice { pitch_high_hz: 60.0, ..BuiltinVoice::default() }, "pitch_high_hz");
        refused(BuiltinVoice { roughness: 8, ..BuiltinVoice::default() }, "roughness");
        refused(BuiltinVoice { volume_db: 40.0, ..BuiltinVoice::default() }, "volume_db");
    }

    #[test]
    fn rate_and_volume_make_no_new_variant_file() {
        let plain = BuiltinVoice::default();
        let other = BuiltinVoice { rate_wpm: 120.0, volume_db: -6.0, ..plain.clone() };
        assert_eq!(plain.variant(0.0), other.variant(0.0));
        let deeper = BuiltinVoice { pitch_low_hz: 70.0, ..plain.clone() };
        assert!(plain.variant(12.0).starts_with("pitch 156 228\n"), "{}", plain.variant(12.0));
        assert_ne!(plain.variant(0.0), deeper.variant(0.0));
    }
}
