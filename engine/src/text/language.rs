//! Which language a sentence is in: by script where the script decides alone, else by small words and letters together with the
//! n-gram models `whichlang` and `whatlang`, none of which is reliable alone on ten words.
//!
//! Only the first [`SAMPLE_CHARS`] characters are looked at. This file may not know which languages an engine speaks.

use whatlang::{Detector, Lang};

use super::function_words::{LATIN, languages_of_letter, languages_of_word};
use super::marks;

/// More text than this does not change the answer.
const SAMPLE_CHARS: usize = 600;
/// Fewer letters say nothing about a language of the Latin or Cyrillic script.
const MIN_LETTERS: usize = 12;

/// A language and how much there is to say for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guess {
    pub(super) tag: String,
    /// The evidence is strong enough to switch language in the middle of a paragraph.
    pub(super) sure: bool,
}

/// The language of `text` as a BCP 47 primary tag (`en`, `zh`, `ja`, `pt`, ...), or `fallback` as it was given where the text is too
/// short to tell or is in the fallback's own language (so `en-GB` stays `en-GB`).
pub fn detect(text: &str, fallback: &str) -> String {
    guess(text, &[], fallback).tag
}

/// As [`detect`], but only among `allowed`, whose entry is returned as it was given; empty allows everything. `fallback` is returned
/// where nothing speaks for any of them.
pub fn detect_among(text: &str, allowed: &[&str], fallback: &str) -> String {
    guess(text, allowed, fallback).tag
}

/// `pt_br` -> `pt-BR`, `ZH-hans` -> `zh-Hans`; `None` where it cannot be a tag. `auto` passes.
pub(crate) fn canonical_tag(value: &str) -> Option<String> {
    let mut tag = String::with_capacity(value.len());
    for (place, part) in value.trim().split(['-', '_']).enumerate() {
        let fits = match place {
            0 => (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic()),
            _ => (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()),
        };
        if !fits || place > 4 {
            return None;
        }
        if place > 0 {
            tag.push('-');
        }
        match part.len() {
            2 if place > 0 => tag.push_str(&part.to_ascii_uppercase()),
            4 if place > 0 => {
                tag.push_str(&part[..1].to_ascii_uppercase());
                tag.push_str(&part[1..].to_ascii_lowercase());
            }
            _ => tag.push_str(&part.to_ascii_lowercase()),
        }
    }
    Some(tag)
}

/// `pt-BR` -> `pt`, in lower case.
pub(super) fn primary(tag: &str) -> String {
    tag.split(['-', '_']).next().unwrap_or(tag).to_ascii_lowercase()
}

pub(super) fn guess(text: &str, allowed: &[&str], fallback: &str) -> Guess {
    let choice = Choice { allowed, fallback, fallback_primary: primary(fallback) };
    let sample = sample(text);
    for (script, letters) in scripts_by_weight(&sample) {
        if let Some(guess) = script.guess(&sample, letters, &choice) {
            return guess;
        }
    }
    choice.keep()
}

/// What the answer may be.
struct Choice<'a> {
    allowed: &'a [&'a str],
    fallback: &'a str,
    fallback_primary: String,
}

impl Choice<'_> {
    fn keep(&self) -> Guess {
        Guess { tag: self.fallback.to_owned(), sure: false }
    }

    fn permits(&self, tag: &str) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|allowed| primary(allowed) == tag)
    }

    /// The caller's own spelling of `tag` where there is one.
    fn answer(&self, tag: &str, sure: bool) -> Guess {
        let own = if self.fallback_primary == tag && (self.allowed.is_empty() || self.allowed.contains(&self.fallback)) {
            self.fallback
        } else {
            self.allowed.iter().copied().find(|allowed| primary(allowed) == tag).unwrap_or(tag)
        };
        Guess { tag: own.to_owned(), sure }
    }

    /// The first of `tags` that may be answered, the fallback before the others.
    fn first(&self, tags: &[&str], sure: bool) -> Option<Guess> {
        let kept = tags.iter().find(|tag| **tag == self.fallback_primary);
        kept.into_iter().chain(tags).find(|tag| self.permits(tag)).map(|tag| self.answer(tag, sure))
    }
}

/// The words that count: no marks, no addresses of pages or people.
fn sample(text: &str) -> String {
    let cut = text.char_indices().nth(2 * SAMPLE_CHARS).map_or(text.len(), |(at, _)| at);
    let mut sample = String::new();
    for word in marks::strip(&text[..cut]).split_whitespace() {
        if sample.len() >= 4 * SAMPLE_CHARS {
            break;
        }
        if !(word.contains("://") || word.contains('@') || word.starts_with("www.")) {
            sample.push_str(word);
            sample.push(' ');
        }
    }
    if let Some((at, _)) = sample.char_indices().nth(SAMPLE_CHARS) {
        sample.truncate(at);
    }
    sample
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Cyrillic,
    Arabic,
    Devanagari,
    /// Han, hiragana and katakana, Chinese and Japanese alike.
    Han,
    /// A script that one living language owns.
    Own(&'static str),
}

/// First and last code point of the blocks that matter, in order.
static BLOCKS: &[(u32, u32, Script)] = &[
    (0x0041, 0x024F, Script::Latin),
    (0x0370, 0x03FF, Script::Own("el")),
    (0x0400, 0x052F, Script::Cyrillic),
    (0x0530, 0x058F, Script::Own("hy")),
    (0x0590, 0x05FF, Script::Own("he")),
    (0x0600, 0x06FF, Script::Arabic),
    (0x0750, 0x077F, Script::Arabic),
    (0x08A0, 0x08FF, Script::Arabic),
    (0x0900, 0x097F, Script::Devanagari),
    (0x0980, 0x09FF, Script::Own("bn")),
    (0x0A00, 0x0A7F, Script::Own("pa")),
    (0x0A80, 0x0AFF, Script::Own("gu")),
    (0x0B00, 0x0B7F, Script::Own("or")),
    (0x0B80, 0x0BFF, Script::Own("ta")),
    (0x0C00, 0x0C7F, Script::Own("te")),
    (0x0C80, 0x0CFF, Script::Own("kn")),
    (0x0D00, 0x0D7F, Script::Own("ml")),
    (0x0D80, 0x0DFF, Script::Own("si")),
    (0x0E00, 0x0E7F, Script::Own("th")),
    (0x0E80, 0x0EFF, Script::Own("lo")),
    (0x0F00, 0x0FFF, Script::Own("bo")),
    (0x1000, 0x109F, Script::Own("my")),
    (0x10A0, 0x10FF, Script::Own("ka")),
    (0x1100, 0x11FF, Script::Own("ko")),
    (0x1200, 0x139F, Script::Own("am")),
    (0x1780, 0x17FF, Script::Own("km")),
    (0x1C80, 0x1C8F, Script::Cyrillic),
    (0x1C90, 0x1CBF, Script::Own("ka")),
    (0x1E00, 0x1EFF, Script::Latin),
    (0x1F00, 0x1FFF, Script::Own("el")),
    (0x3005, 0x3007, Script::Han),
    (0x3040, 0x30FF, Script::Han),
    (0x3130, 0x318F, Script::Own("ko")),
    (0x31F0, 0x31FF, Script::Han),
    (0x3400, 0x4DBF, Script::Han),
    (0x4E00, 0x9FFF, Script::Han),
    (0xA960, 0xA97F, Script::Own("ko")),
    (0xAC00, 0xD7FF, Script::Own("ko")),
    (0xF900, 0xFAFF, Script::Han),
    (0xFB1D, 0xFB4F, Script::Own("he")),
    (0xFB50, 0xFDFF, Script::Arabic),
    (0xFE70, 0xFEFE, Script::Arabic),
    (0xFF66, 0xFF9F, Script::Han),
    (0x20000, 0x3FFFF, Script::Han),
];

fn script_of(c: char) -> Option<Script> {
    if !c.is_alphabetic() {
        return None;
    }
    let code = c as u32;
    let (_, last, script) = *BLOCKS.get(BLOCKS.partition_point(|block| block.0 <= code).checked_sub(1)?)?;
    (code <= last).then_some(script)
}

/// The scripts of the sample with their letters, the weightiest first. A Han character or a Hangul syllable says as much as two or
/// three letters.
fn scripts_by_weight(sample: &str) -> Vec<(Script, usize)> {
    let mut counts: Vec<(Script, usize)> = Vec::new();
    for script in sample.chars().filter_map(script_of) {
        match counts.iter_mut().find(|(known, _)| *known == script) {
            Some((_, count)) => *count += 1,
            None => counts.push((script, 1)),
        }
    }
    let weight = |(script, count): &(Script, usize)| match script {
        Script::Han => count * 5,
        Script::Own("ko") => count * 4,
        _ => count * 2,
    };
    counts.sort_by_key(|entry| std::cmp::Reverse(weight(entry)));
    counts
}

impl Script {
    /// `None` where the script's languages are not allowed.
    fn guess(self, sample: &str, letters: usize, choice: &Choice<'_>) -> Option<Guess> {
        match self {
            Script::Own("ko") | Script::Han if letters < 2 => Some(choice.keep()),
            Script::Own("he") if sample.contains(['ײ', 'װ', 'ױ']) => choice.first(&["yi", "he"], true),
            Script::Own(tag) => choice.permits(tag).then(|| choice.answer(tag, true)),
            Script::Han => han(sample, choice),
            Script::Arabic => arabic(sample, choice),
            Script::Devanagari => devanagari(sample, choice),
            Script::Cyrillic => cyrillic(sample, letters, choice),
            Script::Latin => latin(sample, letters, choice),
        }
    }
}

/// Kana makes it Japanese, but one の in a Chinese shop's name does not. Without kana it is Chinese, unless the sentence before was
/// Japanese and this one is short.
fn han(sample: &str, choice: &Choice<'_>) -> Option<Guess> {
    let of_han = sample.chars().filter(|c| script_of(*c) == Some(Script::Han));
    let (mut kana, mut all) = (0, 0);
    for c in of_han {
        all += 1;
        kana += usize::from(matches!(c as u32, 0x3041..=0x30FF | 0x31F0..=0x31FF | 0xFF66..=0xFF9F));
    }
    if kana * 12 > all {
        return choice.first(&["ja"], true).or_else(|| choice.first(&["zh", "yue"], false));
    }
    if choice.fallback_primary == "ja" && all < MIN_LETTERS && choice.permits("ja") {
        return Some(choice.keep());
    }
    let chinese = if choice.fallback_primary == "yue" { ["yue", "zh"] } else { ["zh", "yue"] };
    choice.first(&chinese, true).or_else(|| choice.first(&["ja"], false))
}

fn arabic(sample: &str, choice: &Choice<'_>) -> Option<Guess> {
    let count = |letters: &[char]| sample.chars().filter(|c| letters.contains(c)).count();
    let urdu = count(&['ٹ', 'ڈ', 'ڑ', 'ں', 'ے', 'ھ', 'ہ']);
    let persian = count(&['پ', 'چ', 'ژ', 'گ', 'ک', 'ی']);
    let arabic = count(&['ة', 'ى', 'ي', 'ك', 'أ', 'إ', 'ؤ']);
    let tags = match () {
        () if urdu > 0 && urdu * 2 >= persian.min(arabic) => ["ur", "fa", "ar"],
        () if persian > arabic => ["fa", "ar", "ur"],
        // Without a letter of its own a word may be any of them: the fallback may keep it.
        () if arabic == 0 && matches!(choice.fallback_primary.as_str(), "fa" | "ur") => return Some(choice.keep()),
        () => ["ar", "fa", "ur"],
    };
    tags.into_iter().find(|tag| choice.permits(tag)).map(|tag| choice.answer(tag, true))
}

fn devanagari(sample: &str, choice: &Choice<'_>) -> Option<Guess> {
    const HINDI: &[&str] = &["है", "हैं", "का", "की", "के", "में", "को", "से", "और", "था", "थी", "नहीं", "यह", "मैं", "हूँ", "पर", "ने", "कि"];
    const MARATHI: &[&str] = &["आहे", "आहेत", "आणि", "मी", "ती", "तो", "नाही", "होते", "होता", "या", "ला", "हे", "मला", "काय", "कसे", "आज"];
    const NEPALI: &[&str] = &["छ", "छन्", "र", "मा", "लाई", "हो", "गर्न", "भने", "पनि", "तपाईं", "हुन्छ", "थियो", "यो", "छैन", "को", "नेपाल"];
    let words: Vec<&str> = sample.split(|c: char| !c.is_alphanumeric() && !matches!(c as u32, 0x0900..=0x097F)).collect();
    let hits = |list: &[&str]| words.iter().filter(|word| list.contains(word)).count();
    let mut scored = [("hi", hits(HINDI)), ("mr", hits(MARATHI) + sample.matches('ळ').count()), ("ne", hits(NEPALI))];
    scored.sort_by_key(|(tag, hits)| (std::cmp::Reverse(*hits), *tag != choice.fallback_primary));
    let sure = scored[0].1 >= scored[1].1 + 2 || scored[0].0 == choice.fallback_primary;
    scored.into_iter().find(|(tag, _)| choice.permits(tag)).map(|(tag, _)| choice.answer(tag, sure))
}

fn cyrillic(sample: &str, letters: usize, choice: &Choice<'_>) -> Option<Guess> {
    const FAMILY: [&str; 7] = ["ru", "uk", "bg", "sr", "be", "mk", "kk"];
    let lower = sample.to_lowercase();
    let has = |letters: &[char]| lower.contains(letters);
    let own = match () {
        () if has(&['ў']) => Some("be"),
        () if has(&['ї', 'є', 'ґ']) => Some("uk"),
        () if has(&['ә', 'ғ', 'қ', 'ң', 'ө', 'ұ', 'ү', 'һ']) => Some("kk"),
        () if has(&['ѓ', 'ќ', 'ѕ']) => Some("mk"),
        () if has(&['ђ', 'ћ']) => Some("sr"),
        () if has(&['ы', 'э', 'ё']) => Some(if has(&['і']) { "be" } else { "ru" }),
        () if has(&['і']) => Some("uk"),
        () if has(&['ј', 'љ', 'њ', 'џ']) => Some("sr"),
        () => None,
    };
    if let Some(tag) = own
        && choice.permits(tag)
    {
        return Some(choice.answer(tag, true));
    }
    if letters < MIN_LETTERS || own.is_some() {
        return choice.first(&FAMILY, false);
    }
    // Macedonian and Serbian show their letters within a few words; Bulgarian has none of its own, only words.
    let tag = if bulgarian_hits(&lower) >= 2 && choice.permits("bg") { "bg" } else { "ru" };
    if tag == "bg" { Some(choice.answer(tag, true)) } else { choice.first(&FAMILY, true) }
}

fn bulgarian_hits(lower: &str) -> usize {
    const OWN: &[&str] = &["какво", "къде", "съм", "сте", "ще", "беше", "няма", "във", "със", "тази", "тези"];
    const SHARED: &[&str] =
        &["е", "са", "сме", "си", "се", "кога", "защо", "аз", "тя", "много", "днес", "това", "този", "има", "още", "като", "след"];
    let words = lower.split(|c: char| !c.is_alphabetic());
    let hits: usize = words.map(|word| if OWN.contains(&word) { 2 } else { usize::from(SHARED.contains(&word)) }).sum();
    hits + usize::from(lower.contains('ъ'))
}

/// The evidence of one sentence in points; one point is about one article.
fn latin(sample: &str, letters: usize, choice: &Choice<'_>) -> Option<Guess> {
    let permitted: Vec<bool> = LATIN.iter().map(|profile| choice.permits(profile.tag)).collect();
    if !permitted.contains(&true) {
        return None;
    }
    if letters < MIN_LETTERS {
        return Some(choice.keep());
    }
    let lower = sample.to_lowercase();
    let mut points = vec![0.0_f32; LATIN.len()];
    let place_of = |tag: &str| LATIN.iter().position(|profile| profile.tag == tag);
    add_words(&lower, &mut points);
    add_letters(&lower, &mut points);
    if let Some(place) = place_of(&choice.fallback_primary) {
        points[place] += 0.5;
    }
    let mut lead = Lead::of(&points, &permitted)?;
    // The models are a hundred times slower than the words; most sentences do not need them.
    if !lead.is_clear() {
        if let Some(place) = whichlang_tag(&lower).and_then(place_of) {
            points[place] += if letters < 25 { 0.8 } else { 1.4 };
        }
        if let Some((tag, confidence)) = whatlang_tag(&lower, &permitted)
            && let Some(place) = place_of(tag)
        {
            points[place] += 0.4 + 1.2 * confidence;
        }
        lead = Lead::of(&points, &permitted)?;
    }
    if lead.points <= 0.0 {
        return Some(choice.keep());
    }
    Some(choice.answer(LATIN[lead.place].tag, lead.is_clear()))
}

/// The language with the most points, and how far it is in front.
struct Lead {
    place: usize,
    points: f32,
    margin: f32,
}

impl Lead {
    fn of(points: &[f32], permitted: &[bool]) -> Option<Lead> {
        let mut ranked: Vec<usize> = (0..points.len()).filter(|place| permitted[*place]).collect();
        ranked.sort_by(|a, b| points[*b].total_cmp(&points[*a]));
        let place = *ranked.first()?;
        let margin = ranked.get(1).map_or(points[place], |second| points[place] - points[*second]);
        Some(Lead { place, points: points[place], margin })
    }

    fn is_clear(&self) -> bool {
        self.margin >= 1.5 && self.points >= 2.5
    }
}

/// A word of one language is worth a point, a word of many a fraction.
fn add_words(lower: &str, points: &mut [f32]) {
    let straight = lower.replace('’', "'");
    for word in straight.split(|c: char| !(c.is_alphabetic() || c == '\'')) {
        let languages = languages_of_word(word.trim_matches('\''));
        let share = 1.2 / (languages.len().max(1) as f32).powf(0.8);
        for place in languages {
            points[usize::from(*place)] += share;
        }
    }
}

/// A letter counts for the languages that use it and against those that do not.
fn add_letters(lower: &str, points: &mut [f32]) {
    let mut for_letters = vec![0.0_f32; points.len()];
    let mut foreign = vec![0.0_f32; points.len()];
    for letter in lower.chars().filter(|c| !c.is_ascii() && (c.is_alphabetic() || matches!(c, '¿' | '¡'))) {
        let languages = languages_of_letter(letter);
        if languages.is_empty() {
            continue;
        }
        let share = 1.5 / (languages.len() as f32).powf(0.8);
        for (place, against) in foreign.iter_mut().enumerate() {
            if languages.contains(&(place as u8)) {
                for_letters[place] += share;
            } else {
                *against += 0.7;
            }
        }
    }
    for (place, points) in points.iter_mut().enumerate() {
        *points += for_letters[place].min(4.0) - foreign[place].min(4.0);
    }
}

fn whichlang_tag(lower: &str) -> Option<&'static str> {
    use whichlang::Lang as L;
    Some(match whichlang::detect_language(lower) {
        L::Deu => "de",
        L::Eng => "en",
        L::Fra => "fr",
        L::Ita => "it",
        L::Nld => "nl",
        L::Por => "pt",
        L::Spa => "es",
        L::Swe => "sv",
        L::Tur => "tr",
        L::Vie => "vi",
        _ => return None,
    })
}

/// The languages that `whatlang` may answer, by our tags. Esperanto, Tagalog, Javanese and the like are left out: they attract short
/// sentences of other languages.
static WHATLANG: &[(Lang, &str)] = &[
    (Lang::Eng, "en"),
    (Lang::Deu, "de"),
    (Lang::Fra, "fr"),
    (Lang::Spa, "es"),
    (Lang::Por, "pt"),
    (Lang::Ita, "it"),
    (Lang::Nld, "nl"),
    (Lang::Swe, "sv"),
    (Lang::Dan, "da"),
    (Lang::Nob, "nb"),
    (Lang::Fin, "fi"),
    (Lang::Pol, "pl"),
    (Lang::Ces, "cs"),
    (Lang::Slk, "sk"),
    (Lang::Hun, "hu"),
    (Lang::Ron, "ro"),
    (Lang::Tur, "tr"),
    (Lang::Vie, "vi"),
    (Lang::Ind, "id"),
    (Lang::Hrv, "hr"),
    (Lang::Slv, "sl"),
    (Lang::Lit, "lt"),
    (Lang::Lav, "lv"),
    (Lang::Est, "et"),
    (Lang::Cat, "ca"),
    (Lang::Afr, "af"),
    (Lang::Cym, "cy"),
    (Lang::Aze, "az"),
];

fn whatlang_tag(lower: &str, permitted: &[bool]) -> Option<(&'static str, f32)> {
    let may = |tag: &str| LATIN.iter().zip(permitted).any(|(profile, permitted)| *permitted && profile.tag == tag);
    let allowed: Vec<Lang> = WHATLANG.iter().filter(|(_, tag)| may(tag)).map(|(lang, _)| *lang).collect();
    if allowed.is_empty() {
        return None;
    }
    let found = Detector::with_allowlist(allowed).detect(lower)?;
    let tag = WHATLANG.iter().find(|(lang, _)| *lang == found.lang()).map(|(_, tag)| *tag)?;
    Some((tag, found.confidence() as f32))
}
