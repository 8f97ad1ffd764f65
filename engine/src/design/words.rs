//! The words of voice design and what each does. English; entries are words or phrases of up to three words, lower-case.
//!
//! Numbers by ear and by the averages of phonetics: F0 of speakers by sex and age from H. Hollien, T. Shipp 1972 and R. Baken, R. Orlikoff
//! 2000, tract lengths from W. T. Fitch, J. Giedd 1999. It may not know grammar.

use super::Effect::{self, Breath, Flutter, Pitch, Range, Rate, Roughness, Tilt, Tract, Voicing, Volume, Width};
use crate::builtin::Gender;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Meaning {
    /// Who speaks: an adult unless `child`.
    Speaker {
        gender: Gender,
        child: bool,
        effects: &'static [Effect],
    },
    Effects(&'static [Effect]),
    /// BCP 47.
    Accent(&'static str),
    /// Makes the next meaning stronger or weaker.
    Intensifier(f32),
    /// Turns the next meaning round.
    Negation,
    /// Ends the reach of a negation.
    Turn,
    /// Says nothing.
    Filler,
}

use Meaning::{Accent, Effects, Filler, Intensifier, Negation, Speaker, Turn};

const OLD: &[Effect] = &[Pitch(0.95), Rate(0.86), Range(0.9), Flutter(5.0), Roughness(2.0), Breath(4.0)];

const fn speaker(gender: Gender, child: bool) -> Meaning {
    Speaker { gender, child, effects: &[] }
}

const fn old(gender: Gender) -> Meaning {
    Speaker { gender, child: false, effects: OLD }
}

const fn teen(gender: Gender) -> Meaning {
    Speaker { gender, child: false, effects: &[Pitch(1.14), Tract(1.05), Rate(1.06)] }
}

/// Synonyms share a line.
pub(super) static TABLE: &[(&[&str], Meaning)] = &[
    // Who speaks.
    (
        &["male", "man", "men", "masculine", "father", "dad", "gentleman", "guy", "uncle", "king", "brother", "he", "his", "husband"],
        speaker(Gender::Male, false),
    ),
    (
        &["female", "woman", "women", "feminine", "mother", "mom", "mum", "lady", "aunt", "queen", "sister", "she", "her", "wife"],
        speaker(Gender::Female, false),
    ),
    (
        &["neutral gender", "androgynous", "genderless", "nonbinary", "non binary", "gender neutral", "genderneutral"],
        speaker(Gender::Neutral, false),
    ),
    (&["boy", "son", "schoolboy"], speaker(Gender::Male, true)),
    (&["girl", "daughter", "schoolgirl"], speaker(Gender::Female, true)),
    (&["child", "kid", "childlike", "toddler"], speaker(Gender::Neutral, true)),
    (&["grandfather", "grandpa", "old man"], old(Gender::Male)),
    (&["grandmother", "grandma", "granny", "old lady", "old woman"], old(Gender::Female)),
    (&["teenage boy", "teen boy", "young man"], teen(Gender::Male)),
    (&["teenage girl", "teen girl", "young woman"], teen(Gender::Female)),
    // Age.
    (&["elderly", "old", "ancient", "senior"], Effects(OLD)),
    (&["middle aged", "mature"], Effects(&[Pitch(0.97), Rate(0.97)])),
    (&["young", "youthful", "teen", "teenage", "teenager", "adolescent"], Effects(&[Pitch(1.08), Tract(1.03), Rate(1.06)])),
    // Pitch.
    (&["deep", "low", "low pitched", "bass", "sonorous"], Effects(&[Pitch(0.8), Tract(0.94), Tilt(-2.0)])),
    (&["baritone"], Effects(&[Pitch(0.9), Tract(0.97)])),
    (&["tenor"], Effects(&[Pitch(1.15)])),
    (&["alto"], Effects(&[Pitch(0.9), Tract(0.98), Tilt(-0.5)])),
    (&["soprano"], Effects(&[Pitch(1.22), Tract(1.03)])),
    (&["high", "high pitched", "shrill", "squeaky"], Effects(&[Pitch(1.2), Tract(1.05), Tilt(1.0)])),
    (&["bright", "crisp", "brilliant", "sparkling"], Effects(&[Pitch(1.06), Tract(1.02), Tilt(2.0)])),
    (&["dark", "mellow", "muffled", "dull"], Effects(&[Pitch(0.95), Tilt(-3.0)])),
    (&["big", "large", "giant", "huge", "tall", "broad", "booming"], Effects(&[Pitch(0.9), Tract(0.9), Volume(1.0)])),
    (&["small", "tiny", "little", "thin"], Effects(&[Pitch(1.1), Tract(1.08)])),
    (&["warm", "rich", "velvety", "smooth", "full"], Effects(&[Pitch(0.95), Tilt(-1.5), Breath(3.0), Roughness(-1.0)])),
    (&["cold", "sharp", "harsh", "metallic", "piercing"], Effects(&[Tilt(3.0), Width(0.8)])),
    (&["resonant", "ringing"], Effects(&[Width(0.7), Tract(0.98)])),
    // Mood.
    (
        &["calm", "relaxed", "serene", "peaceful", "meditative", "patient", "sleepy", "tired"],
        Effects(&[Range(0.65), Rate(0.88), Volume(-1.0)]),
    ),
    (
        &["soft", "gentle", "soothing", "tender", "kind", "delicate"],
        Effects(&[Range(0.75), Rate(0.92), Volume(-2.0), Breath(10.0), Tilt(-1.0)]),
    ),
    (&["energetic", "excited", "enthusiastic", "lively", "dynamic"], Effects(&[Range(1.5), Rate(1.12), Pitch(1.06), Volume(1.0)])),
    (&["cheerful", "happy", "friendly", "joyful", "playful", "upbeat"], Effects(&[Range(1.35), Rate(1.05), Pitch(1.06), Tilt(1.0)])),
    (&["sad", "melancholic", "gloomy", "depressed"], Effects(&[Range(0.6), Rate(0.84), Pitch(0.94), Volume(-1.5)])),
    (&["angry", "aggressive", "furious"], Effects(&[Range(1.3), Rate(1.08), Roughness(2.0), Tilt(2.5), Volume(2.0)])),
    (
        &["serious", "authoritative", "newsreader", "news anchor", "professional", "formal", "announcer"],
        Effects(&[Range(0.9), Rate(0.97), Tract(0.98), Roughness(-1.0), Flutter(-1.0)]),
    ),
    (&["confident", "strong", "powerful", "commanding", "firm"], Effects(&[Volume(2.0), Pitch(0.96), Tilt(1.0), Breath(-5.0)])),
    (&["nervous", "anxious", "shaky", "trembling"], Effects(&[Flutter(14.0), Rate(1.08), Pitch(1.05)])),
    (&["mysterious", "sinister", "spooky", "evil", "villain"], Effects(&[Pitch(0.88), Rate(0.88), Breath(14.0), Tilt(-1.5)])),
    (&["storyteller", "narrator", "audiobook"], Effects(&[Rate(0.94), Range(1.15)])),
    (&["expressive", "melodic", "animated", "lilting", "dramatic", "singsong"], Effects(&[Range(1.6)])),
    // Throat.
    (&["breathy", "airy", "sultry"], Effects(&[Breath(30.0), Voicing(0.8)])),
    (&["husky", "smoky"], Effects(&[Breath(20.0), Roughness(2.0), Pitch(0.95), Voicing(0.85)])),
    (&["whisper", "whispering", "whispered", "whispery"], Effects(&[Breath(75.0), Voicing(0.0), Volume(-3.0)])),
    (&["hoarse", "raspy", "rough", "scratchy"], Effects(&[Roughness(4.0), Flutter(3.0), Breath(6.0)])),
    (&["gravelly", "growling", "gruff", "croaky"], Effects(&[Roughness(5.0), Flutter(3.0), Pitch(0.93)])),
    (&["clear", "clean", "articulate", "pure"], Effects(&[Breath(-10.0), Roughness(-2.0), Width(0.9)])),
    (&["nasal", "nasally", "pinched"], Effects(&[Width(1.7), Tilt(1.0)])),
    (
        &["robotic", "robot", "mechanical", "android", "monotone", "flat", "monotonous"],
        Effects(&[Range(0.05), Flutter(-2.0), Roughness(-2.0)]),
    ),
    // Tempo and loudness.
    (&["slow", "slowly", "unhurried", "leisurely", "deliberate"], Effects(&[Rate(0.8)])),
    (&["fast", "quick", "quickly", "rapid", "hurried", "brisk"], Effects(&[Rate(1.25)])),
    (&["loud", "shouting"], Effects(&[Volume(4.0), Tilt(1.0)])),
    (&["quiet", "silent", "hushed"], Effects(&[Volume(-4.0), Breath(5.0)])),
    // Accents.
    (&["british", "english accent", "london"], Accent("en-GB")),
    (&["posh", "received pronunciation", "oxford"], Accent("en-GB-x-rp")),
    (&["scottish", "scots"], Accent("en-GB-scotland")),
    (&["northern english", "lancashire"], Accent("en-GB-x-gbclan")),
    (&["american", "us"], Accent("en-US")),
    (&["new york", "new yorker"], Accent("en-US-x-nyc")),
    (&["caribbean", "jamaican"], Accent("en-029")),
    (&["german"], Accent("de")),
    (&["french"], Accent("fr")),
    (&["belgian"], Accent("fr-BE")),
    (&["swiss"], Accent("fr-CH")),
    (&["spanish"], Accent("es")),
    (&["latin american", "mexican", "argentinian", "colombian"], Accent("es-419")),
    (&["italian"], Accent("it")),
    (&["portuguese"], Accent("pt-PT")),
    (&["brazilian"], Accent("pt-BR")),
    (&["russian"], Accent("ru")),
    (&["polish"], Accent("pl")),
    (&["dutch"], Accent("nl")),
    (&["swedish"], Accent("sv")),
    (&["turkish"], Accent("tr")),
    (&["hindi"], Accent("hi")),
    (&["chinese", "mandarin"], Accent("zh")),
    (&["japanese"], Accent("ja")),
    (&["korean"], Accent("ko")),
    (&["arabic"], Accent("ar")),
    // Grammar.
    (&["very", "really", "quite deeply", "highly", "super"], Intensifier(1.5)),
    (&["extremely", "incredibly", "extra", "exceptionally"], Intensifier(2.0)),
    (&["slightly", "a bit", "a little", "a touch", "somewhat", "a little bit", "mildly", "subtly", "a hint of"], Intensifier(0.5)),
    (&["fairly", "rather", "quite", "moderately", "pretty"], Intensifier(0.8)),
    (&["too", "overly"], Intensifier(1.0)),
    (&["not", "no", "never", "without", "isn't", "isnt", "non", "un", "don't", "less", "nor", "hardly"], Negation),
    (&["but", "however", "though", "rather than"], Turn),
    (
        &[
            "a",
            "an",
            "the",
            "and",
            "or",
            "of",
            "with",
            "in",
            "on",
            "for",
            "to",
            "from",
            "is",
            "are",
            "be",
            "who",
            "that",
            "like",
            "as",
            "has",
            "have",
            "having",
            "it",
            "its",
            "this",
            "please",
            "voice",
            "voices",
            "sound",
            "sounds",
            "sounding",
            "sounded",
            "speaker",
            "speaking",
            "speaks",
            "speech",
            "spoken",
            "talks",
            "talking",
            "tone",
            "toned",
            "pitch",
            "pitched",
            "accent",
            "accented",
            "style",
            "person",
            "adult",
            "years",
            "year",
            "aged",
            "some",
            "one",
            "very much",
            "should",
            "must",
            "would",
            "i",
            "want",
            "make",
            "kind of",
            "sort of",
            "at",
            "by",
            "my",
            "your",
            "their",
            "someone",
            "somebody",
            "pace",
            "natural",
            "normal",
            "plain",
            "ordinary",
            "average",
        ],
        Filler,
    ),
];

/// The longest entry that `words` begin with: how many words it has, and what it means.
pub(super) fn find(words: &[String]) -> Option<(usize, &'static str, Meaning)> {
    (1..=words.len().min(3)).rev().find_map(|len| {
        let phrase = words[..len].join(" ");
        let entry = |(synonyms, meaning): &'static (&'static [&'static str], Meaning)| {
            synonyms.iter().find(|synonym| **synonym == phrase).map(|_| (len, synonyms[0], *meaning))
        };
        TABLE.iter().find_map(entry)
    })
}
