//! Descriptions and the voices they become: a table of what must come out, and that stronger words do more. What is heard is measured in
//! `builtin/designing.rs`.
#![allow(clippy::unwrap_used)]

use engine::builtin::BuiltinVoice;
use engine::design::{DesignError, DesignRequest, DesignedVoice, MAX_DESCRIPTION_CHARS, design};
use engine::speech::VoiceProfile;

fn of(description: &str) -> DesignedVoice {
    design(DesignRequest { description, seed: 7, variant: 0 }).unwrap()
}

fn voice(description: &str) -> BuiltinVoice {
    match of(description).profile {
        VoiceProfile::Builtin(voice) => voice,
        VoiceProfile::Converted(_) | VoiceProfile::Neural(_) => panic!("a designed voice is no clone"),
    }
}

fn f0_hz(voice: &BuiltinVoice) -> f32 {
    (voice.pitch_low_hz * voice.pitch_high_hz).sqrt()
}

/// Description, gender, accent or nothing, pitch in Hz, words a minute.
type Row = (&'static str, &'static str, &'static str, std::ops::Range<f32>, std::ops::Range<f32>);

const ROWS: &[Row] = &[
    ("", "neutral", "", 140.0..150.0, 168.0..182.0),
    ("a man", "male", "", 104.0..106.0, 168.0..182.0),
    ("male voice", "male", "", 104.0..106.0, 168.0..182.0),
    ("a woman", "female", "", 194.0..196.0, 168.0..182.0),
    ("Female.", "female", "", 194.0..196.0, 168.0..182.0),
    ("a child", "neutral", "", 268.0..272.0, 176.0..192.0),
    ("a boy", "male", "", 268.0..272.0, 176.0..192.0),
    ("a girl", "female", "", 268.0..272.0, 176.0..192.0),
    ("an androgynous voice", "neutral", "", 140.0..150.0, 168.0..182.0),
    ("deep man", "male", "", 82.0..86.0, 168.0..182.0),
    ("very deep man", "male", "", 73.0..78.0, 168.0..182.0),
    ("extremely deep man", "male", "", 65.0..69.0, 168.0..182.0),
    ("slightly deep man", "male", "", 92.0..95.0, 168.0..182.0),
    ("a man, not deep", "male", "", 115.0..120.0, 168.0..182.0),
    ("a man, not very deep", "male", "", 107.0..117.0, 168.0..182.0),
    ("high woman", "female", "", 230.0..238.0, 168.0..182.0),
    ("high-pitched woman", "female", "", 230.0..238.0, 168.0..182.0),
    ("a woman with a low voice", "female", "", 154.0..158.0, 168.0..182.0),
    ("old man", "male", "", 98.0..101.0, 145.0..157.0),
    ("an elderly woman", "female", "", 184.0..187.0, 145.0..157.0),
    ("grandma", "female", "", 184.0..187.0, 145.0..157.0),
    ("grandpa", "male", "", 98.0..101.0, 145.0..157.0),
    ("a young man", "male", "", 118.0..121.0, 179.0..193.0),
    ("young woman", "female", "", 221.0..224.0, 179.0..193.0),
    ("teenage boy", "male", "", 118.0..121.0, 179.0..193.0),
    ("youthful female", "female", "", 209.0..212.0, 179.0..193.0),
    ("middle-aged man", "male", "", 101.0..103.0, 162.0..178.0),
    ("a calm man", "male", "", 104.0..106.0, 148.0..160.0),
    ("a soothing woman", "female", "", 194.0..196.0, 155.0..168.0),
    ("an energetic man", "male", "", 110.0..113.0, 188.0..204.0),
    ("a cheerful woman", "female", "", 205.0..208.0, 177.0..191.0),
    ("a sad man", "male", "", 97.0..100.0, 141.0..153.0),
    ("an angry man", "male", "", 104.0..106.0, 182.0..197.0),
    ("slow man", "male", "", 104.0..106.0, 134.0..146.0),
    ("fast woman", "female", "", 194.0..196.0, 210.0..228.0),
    ("a very fast woman", "female", "", 194.0..196.0, 235.0..255.0),
    ("a man who is not slow", "male", "", 104.0..106.0, 188.0..204.0),
    ("British man", "male", "en-GB", 104.0..106.0, 168.0..182.0),
    ("a man with a british accent", "male", "en-GB", 104.0..106.0, 168.0..182.0),
    ("scottish woman", "female", "en-GB-scotland", 194.0..196.0, 168.0..182.0),
    ("posh lady", "female", "en-GB-x-rp", 194.0..196.0, 168.0..182.0),
    ("American guy", "male", "en-US", 104.0..106.0, 168.0..182.0),
    ("a New York man", "male", "en-US-x-nyc", 104.0..106.0, 168.0..182.0),
    ("caribbean woman", "female", "en-029", 194.0..196.0, 168.0..182.0),
    ("a French woman", "female", "fr", 194.0..196.0, 168.0..182.0),
    ("Belgian man", "male", "fr-BE", 104.0..106.0, 168.0..182.0),
    ("mexican man", "male", "es-419", 104.0..106.0, 168.0..182.0),
    ("brazilian woman", "female", "pt-BR", 194.0..196.0, 168.0..182.0),
    ("German man", "male", "de", 104.0..106.0, 168.0..182.0),
    ("a man, not british", "male", "", 104.0..106.0, 168.0..182.0),
    ("not male", "female", "", 194.0..196.0, 168.0..182.0),
    ("a warm man", "male", "", 99.0..101.0, 168.0..182.0),
    ("baritone", "neutral", "", 128.0..133.0, 168.0..182.0),
    ("a tenor man", "male", "", 119.0..122.0, 168.0..182.0),
    ("soprano woman", "female", "", 236.0..240.0, 168.0..182.0),
    ("a giant", "neutral", "", 129.0..132.0, 168.0..182.0),
    ("a sinister man", "male", "", 91.0..94.0, 148.0..160.0),
    ("nervous woman", "female", "", 203.0..207.0, 182.0..197.0),
    ("a storyteller, male", "male", "", 104.0..106.0, 158.0..171.0),
    ("male newsreader", "male", "", 104.0..106.0, 163.0..177.0),
    ("deep calm elderly male British voice", "male", "en-GB", 78.0..82.0, 126.0..138.0),
    ("A bright, quick and friendly young woman", "female", "", 240.0..256.0, 222.0..250.0),
    ("a man with a woman's warmth", "male", "", 104.0..106.0, 168.0..182.0),
    ("a man. not deep but slow", "male", "", 115.0..120.0, 134.0..146.0),
];

#[test]
fn each_description_becomes_its_voice() {
    assert!(ROWS.len() >= 60);
    for (description, gender, accent, pitch_hz, rate_wpm) in ROWS {
        let designed = of(description);
        let voice = voice(description);
        assert_eq!(voice.check(), Ok(()), "{description}");
        assert_eq!(designed.gender, *gender, "{description}");
        assert_eq!(designed.accent.as_deref().unwrap_or(""), *accent, "{description}");
        assert!(pitch_hz.contains(&f0_hz(&voice)), "{description}: {} Hz", f0_hz(&voice));
        assert!(rate_wpm.contains(&voice.rate_wpm), "{description}: {} words a minute", voice.rate_wpm);
    }
}

#[test]
fn words_of_the_throat_change_its_numbers() {
    let plain = voice("a man");
    assert!(voice("a breathy man").breath > voice("a husky man").breath && voice("a husky man").breath > plain.breath);
    assert!(voice("a hoarse man").roughness > plain.roughness && voice("a gravelly man").roughness > plain.roughness);
    assert_eq!(voice("a whispering man").voicing_percent, 0.0);
    assert_eq!(voice("a man who does not whisper").voicing_percent, 100.0);
    assert!(voice("a nasal man").formant_width > 1.4 && voice("a resonant man").formant_width < 0.8);
    assert!(voice("a bright man").tilt_db_per_octave > 1.0 && voice("a dark man").tilt_db_per_octave < -2.0);
    assert!(voice("a loud man").volume_db > plain.volume_db && voice("a quiet man").volume_db < plain.volume_db);
    let range = |voice: BuiltinVoice| voice.pitch_high_hz / voice.pitch_low_hz;
    assert!(range(voice("an expressive man")) > range(plain.clone()) * 1.1);
    assert!(range(voice("a robotic man")) < 1.1 && range(voice("a calm man")) < range(plain));
    assert!(voice("a shaky man").flutter > 10);
}

#[test]
fn stronger_words_do_more() {
    let orders = [
        ["very deep man", "deep man", "slightly deep man", "man", "man, not deep"],
        ["woman, not high", "woman", "slightly high woman", "high woman", "very high woman"],
    ];
    for order in orders {
        for pair in order.windows(2) {
            assert!(f0_hz(&voice(pair[0])) < f0_hz(&voice(pair[1])), "{} is not below {}", pair[0], pair[1]);
        }
    }
    for pair in ["very slow man", "slow man", "slightly slow man", "man", "slightly fast man", "fast man", "very fast man"].windows(2) {
        assert!(voice(pair[0]).rate_wpm < voice(pair[1]).rate_wpm, "{} is not slower than {}", pair[0], pair[1]);
    }
}

#[test]
fn what_is_not_understood_is_said() {
    let designed = of("A turquoise, deep man who lives in Ohio and is turquoise");
    assert_eq!(designed.ignored_terms, ["turquoise", "lives", "ohio"]);
    assert_eq!(designed.understood_terms, ["deep", "man"]);
    assert!(of("eine tiefe Stimme").understood_terms.is_empty());
}

#[test]
fn equal_requests_are_equal_voices_and_variants_are_others() {
    for description in ["", "a deep man", "a calm elderly woman", "a boy", "extremely high squeaky tiny girl", "very very deep giant man"] {
        let variant = |seed, variant| design(DesignRequest { description, seed, variant }).unwrap();
        let all: Vec<BuiltinVoice> = (0..4)
            .map(|number| match variant(11, number).profile {
                VoiceProfile::Builtin(voice) => voice,
                VoiceProfile::Converted(_) | VoiceProfile::Neural(_) => panic!("a designed voice is no clone"),
            })
            .collect();
        for (number, voice) in all.iter().enumerate() {
            assert_eq!(voice.check(), Ok(()), "{description}");
            assert!(all[..number].iter().all(|other| other != voice), "{description}: variant {number} is an earlier one");
        }
        assert_eq!(variant(11, 2), variant(11, 2));
        assert_ne!(variant(11, 2).profile, variant(12, 2).profile, "{description}: the seed does nothing");
        assert_eq!(variant(11, 0), variant(12, 0), "the first is what was described, whatever the seed");
    }
    assert_eq!(of("a deep man").profile, of("man, DEEP voice!").profile.clone(), "words count, not their order");
}

#[test]
fn what_is_too_much_is_refused() {
    let long = "deep ".repeat(MAX_DESCRIPTION_CHARS);
    assert_eq!(design(DesignRequest { description: &long, seed: 0, variant: 0 }), Err(DesignError::TooLong));
    assert_eq!(design(DesignRequest { description: "", seed: 0, variant: 4 }), Err(DesignError::Variant(4)));
    let much = "very ".repeat(150) + "deep " + &"extremely high loud fast shaky breathy ".repeat(5);
    assert_eq!(voice(&much).check(), Ok(()));
}
