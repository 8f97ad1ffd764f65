//! Languages as models are asked for them: BCP 47 tags of callers, `<2xx>` tokens of MADLAD, names in Qwen3's prompt. Pure.

use std::collections::BTreeMap;

use crate::text::language::canonical_tag;

/// The languages that a model can be asked for, each with what it is called there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Targets {
    /// Tag in lower case, to the model's own word.
    words: BTreeMap<String, String>,
}

/// Tags of today for the words that MADLAD's vocabulary has for them (old ISO codes, macro-languages).
const OTHER_TAGS: [(&str, &str); 8] =
    [("he", "iw"), ("nb", "no"), ("nn", "no"), ("tl", "fil"), ("jw", "jv"), ("in", "id"), ("ji", "yi"), ("cmn", "zh")];

/// How many languages an error names.
const NAMED_MAX: usize = 60;

impl Targets {
    /// Of tokens such as `<2fr>` and `<2zh_Latn>`; others are no languages.
    pub(super) fn of_tokens<'t>(tokens: impl Iterator<Item = &'t str>) -> Self {
        let word = |token: &'t str| {
            let name = token.strip_prefix("<2")?.strip_suffix('>')?;
            let tag = name.replace('_', "-");
            let parts: Vec<&str> = tag.split('-').collect();
            let is_language = (2..=3).contains(&parts[0].len()) && parts.len() <= 2 && canonical_tag(&tag).is_some();
            // `zxx` is what MADLAD calls no language.
            (is_language && parts[0] != "zxx").then(|| (tag.to_ascii_lowercase(), token.to_owned()))
        };
        Self { words: tokens.filter_map(word).collect() }
    }

    /// Names that a chat model is told. Of the 119 languages that Qwen3's report lists, those with many speakers.
    pub(super) fn of_qwen3() -> Self {
        Self { words: NAMES.iter().map(|(tag, name)| ((*tag).to_owned(), (*name).to_owned())).collect() }
    }

    /// What the model calls the language of a tag: exactly that tag, or its language without script and region.
    pub fn word(&self, tag: &str) -> Option<&str> {
        let tag = canonical_tag(tag)?.to_ascii_lowercase();
        let mut tries = vec![tag.clone()];
        let primary = tag.split('-').next().unwrap_or_default().to_owned();
        // Script without region, region without script.
        tries.extend(tag.split('-').skip(1).map(|part| format!("{primary}-{part}")));
        tries.push(primary.clone());
        tries.extend(OTHER_TAGS.iter().filter(|(today, _)| *today == primary).map(|(_, old)| (*old).to_owned()));
        tries.iter().find_map(|tag| self.words.get(tag)).map(String::as_str)
    }

    pub fn len(&self) -> usize {
        self.words.len()
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// For an error: the tags, the first sixty of them.
    pub fn named(&self) -> String {
        let tags: Vec<&str> = self.words.keys().map(String::as_str).take(NAMED_MAX).collect();
        let more = self.words.len().saturating_sub(tags.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", tags.join(", "))
    }
}

/// Whether there is nothing to translate from one to the other: `en` and `en-GB`, not `pt-PT` and `pt-BR`.
pub fn same_language(one: &str, other: &str) -> bool {
    let lower = |tag: &str| canonical_tag(tag).unwrap_or_else(|| tag.to_owned()).to_ascii_lowercase();
    let (one, other) = (lower(one), lower(other));
    let mut parts = one.split('-').zip(other.split('-'));
    parts.all(|(one, other)| one == other)
}

static NAMES: &[(&str, &str)] = &[
    ("af", "Afrikaans"),
    ("am", "Amharic"),
    ("ar", "Arabic"),
    ("az", "Azerbaijani"),
    ("be", "Belarusian"),
    ("bg", "Bulgarian"),
    ("bn", "Bengali"),
    ("bs", "Bosnian"),
    ("ca", "Catalan"),
    ("cs", "Czech"),
    ("cy", "Welsh"),
    ("da", "Danish"),
    ("de", "German"),
    ("de-at", "Austrian German"),
    ("de-ch", "Swiss Standard German"),
    ("el", "Greek"),
    ("en", "English"),
    ("en-gb", "British English"),
    ("en-us", "American English"),
    ("es", "Spanish"),
    ("es-419", "Latin American Spanish"),
    ("es-es", "European Spanish"),
    ("es-mx", "Mexican Spanish"),
    ("et", "Estonian"),
    ("eu", "Basque"),
    ("fa", "Persian"),
    ("fi", "Finnish"),
    ("fil", "Filipino"),
    ("fr", "French"),
    ("fr-ca", "Canadian French"),
    ("ga", "Irish"),
    ("gl", "Galician"),
    ("gu", "Gujarati"),
    ("he", "Hebrew"),
    ("hi", "Hindi"),
    ("hr", "Croatian"),
    ("hu", "Hungarian"),
    ("hy", "Armenian"),
    ("id", "Indonesian"),
    ("is", "Icelandic"),
    ("it", "Italian"),
    ("ja", "Japanese"),
    ("jv", "Javanese"),
    ("ka", "Georgian"),
    ("kk", "Kazakh"),
    ("km", "Khmer"),
    ("kn", "Kannada"),
    ("ko", "Korean"),
    ("lo", "Lao"),
    ("lt", "Lithuanian"),
    ("lv", "Latvian"),
    ("mk", "Macedonian"),
    ("ml", "Malayalam"),
    ("mr", "Marathi"),
    ("ms", "Malay"),
    ("mt", "Maltese"),
    ("my", "Burmese"),
    ("nb", "Norwegian Bokmål"),
    ("ne", "Nepali"),
    ("nl", "Dutch"),
    ("nn", "Norwegian Nynorsk"),
    ("no", "Norwegian"),
    ("pa", "Punjabi"),
    ("pl", "Polish"),
    ("pt", "Portuguese"),
    ("pt-br", "Brazilian Portuguese"),
    ("pt-pt", "European Portuguese"),
    ("ro", "Romanian"),
    ("ru", "Russian"),
    ("si", "Sinhala"),
    ("sk", "Slovak"),
    ("sl", "Slovenian"),
    ("sq", "Albanian"),
    ("sr", "Serbian"),
    ("sv", "Swedish"),
    ("sw", "Swahili"),
    ("ta", "Tamil"),
    ("te", "Telugu"),
    ("th", "Thai"),
    ("tl", "Tagalog"),
    ("tr", "Turkish"),
    ("uk", "Ukrainian"),
    ("ur", "Urdu"),
    ("uz", "Uzbek"),
    ("vi", "Vietnamese"),
    ("yue", "Cantonese"),
    ("zh", "Chinese (simplified)"),
    ("zh-cn", "Chinese (simplified)"),
    ("zh-hans", "Chinese (simplified)"),
    ("zh-hant", "Chinese (traditional)"),
    ("zh-hk", "Chinese (traditional)"),
    ("zh-tw", "Chinese (traditional)"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_finds_the_words_of_its_language() {
        let madlad = Targets::of_tokens(
            ["<2fr>", "<2iw>", "<2zh>", "<2zh_Latn>", "<2fil>", "<2translate>", "<2zxx_xx_dtynoise>", "</s>"].into_iter(),
        );
        assert_eq!(madlad.len(), 5);
        for (tag, word) in [
            ("fr", Some("<2fr>")),
            ("fr-CA", Some("<2fr>")),
            ("FR_ca", Some("<2fr>")),
            ("he", Some("<2iw>")),
            ("zh-Latn-CN", Some("<2zh_Latn>")),
            ("zh-Hant", Some("<2zh>")),
            ("tl", Some("<2fil>")),
            ("de", None),
            ("translate", None),
            ("", None),
            ("<2fr>", None),
        ] {
            assert_eq!(madlad.word(tag), word, "{tag}");
        }
        let qwen3 = Targets::of_qwen3();
        assert_eq!(qwen3.word("pt-BR"), Some("Brazilian Portuguese"));
        assert_eq!(qwen3.word("pt-AO"), Some("Portuguese"));
        assert_eq!(qwen3.word("zh-Hant-TW"), Some("Chinese (traditional)"));
        assert_eq!(qwen3.word("tlh"), None);
        assert!(qwen3.named().ends_with("more"), "{}", qwen3.named());
        assert_eq!(madlad.named(), "fil, fr, iw, zh, zh-latn");
    }

    #[test]
    fn a_region_alone_is_another_language_only_against_another_region() {
        assert!(same_language("en", "en-GB") && same_language("EN_us", "en"));
        assert!(!same_language("pt-PT", "pt-BR") && !same_language("en", "fr"));
    }
}
