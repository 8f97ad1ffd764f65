//! Equal requests give equal samples, whatever was spoken before and in whichever process.

use engine::builtin::{BuiltinVoice, presets};

use super::installed::{installed, request, speak};

/// Every way in which the library's memory of earlier speech could be heard: noise, unsteady pitch, uneven periods.
fn restless() -> [BuiltinVoice; 4] {
    let plain = BuiltinVoice::default();
    [
        plain.clone(),
        BuiltinVoice { breath: 60.0, voicing_percent: 10.0, ..plain.clone() },
        BuiltinVoice { flutter: 30, roughness: 7, ..plain.clone() },
        BuiltinVoice { breath: 20.0, flutter: 20, roughness: 4, tilt_db_per_octave: 3.0, formant_scale: 1.2, ..plain },
    ]
}

#[test]
fn nothing_that_was_spoken_before_is_heard() {
    let Some(installed) = installed("nothing_that_was_spoken_before_is_heard") else { return };
    let mut engine = installed.engine();
    let others =
        ["One more sentence.", "Zwei!", "¿Qué tal?", "a", "Something that is a good deal longer, with a pause [pause:50ms] in it."];
    for (index, voice) in restless().iter().enumerate() {
        let asked = request("The same words, spoken again and again.", "en-US", voice);
        let first = speak(&mut engine, &asked).unwrap();
        for (turn, preset) in presets().iter().cycle().take(20).enumerate() {
            let mut other = request(others[turn % others.len()], ["de", "es", "en-GB"][turn % 3], &preset.voice);
            other.speed = 0.6 + 0.2 * (turn % 8) as f32;
            speak(&mut engine, &other).unwrap();
        }
        assert_eq!(speak(&mut engine, &asked).unwrap(), first, "voice {index} after 20 others");
        assert_eq!(speak(&mut installed.engine(), &asked).unwrap(), first, "voice {index} in a new process");
    }
}
