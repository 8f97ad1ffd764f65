//! From a BCP 47 tag to the eSpeak NG voice that speaks it, and the list of what can be spoken here.
//!
//! Pure: the library's list of voices comes in as values. It may not know processes.

use super::host::HostVoice;

/// A language as it is shown and asked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Language {
    /// BCP 47, such as `en-US`.
    pub tag: String,
    /// In English, as eSpeak NG names it.
    pub name: String,
}

/// All that is spoken here, in the order of tags.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Languages {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    language: Language,
    identifier: String,
    /// Lower-case tags that the voice file itself claims; a low number is a strong claim.
    claims: Vec<(u8, String)>,
}

/// Voice files whose name is not the tag that people ask for: (file, tag, name, if not the library's).
const RENAMED: &[(&str, &str, Option<&str>)] = &[
    ("en", "en-GB", None),
    ("pt", "pt-PT", None),
    ("en-US-nyc", "en-US-x-nyc", None),
    // `cmn` of 1.51 spells pinyin out as English letters; this one reads hanzi as they are.
    ("cmn-Latn-pinyin", "zh", Some("Chinese (Mandarin)")),
];

/// Voice files that are worse than another one of the same language, or (Cherokee, in 1.51) stay silent.
const LEFT_OUT: &[&str] = &["cmn", "chr"];

/// What is asked for by other names, lower-case: macrolanguages, retired codes, and regions nearer to one accent than to the first.
const ALIASES: &[(&str, &str)] = &[
    ("en", "en-us"),
    ("en-au", "en-gb"),
    ("en-ie", "en-gb"),
    ("en-in", "en-gb"),
    ("en-nz", "en-gb"),
    ("en-uk", "en-gb"),
    ("en-za", "en-gb"),
    ("en-sc", "en-gb-scotland"),
    ("pt", "pt-br"),
    ("pt-ao", "pt-pt"),
    ("pt-mz", "pt-pt"),
    ("cmn", "zh"),
    ("zh-hk", "yue"),
    ("zh-mo", "yue"),
    ("zh-yue", "yue"),
    ("es-ar", "es-419"),
    ("es-bo", "es-419"),
    ("es-cl", "es-419"),
    ("es-co", "es-419"),
    ("es-cr", "es-419"),
    ("es-cu", "es-419"),
    ("es-do", "es-419"),
    ("es-ec", "es-419"),
    ("es-gt", "es-419"),
    ("es-hn", "es-419"),
    ("es-mx", "es-419"),
    ("es-ni", "es-419"),
    ("es-pa", "es-419"),
    ("es-pe", "es-419"),
    ("es-pr", "es-419"),
    ("es-py", "es-419"),
    ("es-sv", "es-419"),
    ("es-us", "es-419"),
    ("es-uy", "es-419"),
    ("es-ve", "es-419"),
    ("in", "id"),
    ("iw", "he"),
    ("mo", "ro"),
    ("nn", "nb"),
    ("no", "nb"),
    ("sh", "hr"),
];

impl Languages {
    pub(super) fn from_voices(voices: &[HostVoice]) -> Self {
        let mut entries: Vec<Entry> = voices.iter().filter_map(entry).collect();
        entries.sort_by(|a, b| a.language.tag.cmp(&b.language.tag).then_with(|| a.identifier.cmp(&b.identifier)));
        entries.dedup_by(|a, b| a.language.tag == b.language.tag);
        Self { entries }
    }

    pub(super) fn list(&self) -> Vec<Language> {
        self.entries.iter().map(|entry| entry.language.clone()).collect()
    }

    /// The voice file for a tag: the tag itself, another name of it, what a voice file claims, and then the same with the last subtag
    /// taken off (RFC 4647, lookup). The error names the nearest.
    pub(super) fn voice_file(&self, tag: &str) -> Result<&str, String> {
        let asked = tag.trim().replace('_', "-").to_ascii_lowercase();
        let mut range = asked.as_str();
        loop {
            let alias = ALIASES.iter().find(|(from, _)| *from == range).map_or(range, |(_, to)| *to);
            if let Some(entry) = self.entry(alias) {
                return Ok(&entry.identifier);
            }
            let Some((shorter, _)) = range.rsplit_once('-') else { break };
            // A single letter only says what follows it.
            range = shorter.rsplit_once('-').filter(|(_, last)| last.len() == 1).map_or(shorter, |(rest, _)| rest);
        }
        let mut message = format!("language {tag:?} is not spoken by the built-in engine");
        if let Some(nearest) = self.nearest(&asked) {
            message.push_str(&format!("; the nearest is {:?} ({})", nearest.tag, nearest.name));
        }
        Err(message)
    }

    fn entry(&self, tag: &str) -> Option<&Entry> {
        let own = self.entries.iter().find(|entry| entry.language.tag.eq_ignore_ascii_case(tag));
        own.or_else(|| {
            let claims = self.entries.iter().flat_map(|entry| entry.claims.iter().map(move |claim| (claim, entry)));
            claims.filter(|((_, claimed), _)| claimed == tag).min_by_key(|((priority, _), _)| *priority).map(|(_, entry)| entry)
        })
    }

    /// By spelling, of the tag or of the first word of the name, since "english" and "ger" are asked for too.
    fn nearest(&self, asked: &str) -> Option<&Language> {
        let distance = |language: &Language| {
            let name = language.name.split([' ', '(']).next().unwrap_or_default().to_lowercase();
            let prefix_of_name = asked.len() >= 3 && name.starts_with(asked);
            let by_name = if prefix_of_name { 0 } else { edits(asked, &name) };
            edits(asked, &language.tag.to_ascii_lowercase()).min(by_name)
        };
        self.entries.iter().map(|entry| &entry.language).min_by_key(|language| distance(language))
    }
}

fn entry(voice: &HostVoice) -> Option<Entry> {
    let file = voice.identifier.rsplit('/').next()?;
    // Mbrola voices are listed too, but speak only with a program of their own.
    if LEFT_OUT.contains(&file) || voice.identifier.starts_with("mb/") {
        return None;
    }
    let renamed = RENAMED.iter().find(|(from, ..)| *from == file);
    let tag = renamed.map_or(file, |(_, to, _)| *to).to_owned();
    let name = renamed.and_then(|(.., name)| *name).unwrap_or_else(|| voice.name.trim()).to_owned();
    let claims = voice.languages.iter().map(|claim| (claim.priority, claim.tag.to_ascii_lowercase())).collect();
    Some(Entry { language: Language { tag, name }, identifier: voice.identifier.clone(), claims })
}

/// Levenshtein distance, in characters.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::host::HostLanguage;
    use super::*;

    fn languages() -> Languages {
        let voice = |identifier: &str, name: &str, tags: &[(&str, u8)]| HostVoice {
            identifier: identifier.to_owned(),
            name: name.to_owned(),
            languages: tags.iter().map(|&(tag, priority)| HostLanguage { tag: tag.to_owned(), priority }).collect(),
        };
        Languages::from_voices(&[
            voice("gmw/en", "English (Great Britain)", &[("en-gb", 2), ("en", 2)]),
            voice("gmw/en-US", "English (America)", &[("en-us", 2), ("en", 3)]),
            voice("gmw/de", "German", &[("de", 5)]),
            voice("roa/pt", "Portuguese (Portugal)", &[("pt", 5), ("pt-pt", 5)]),
            voice("roa/pt-BR", "Portuguese (Brazil)", &[("pt-br", 5), ("pt", 6)]),
            voice("roa/es", "Spanish (Spain)", &[("es", 5)]),
            voice("roa/es-419", "Spanish (Latin America)", &[("es-419", 5), ("es-mx", 6), ("es", 6)]),
            voice("roa/fr", "French (France)", &[("fr-fr", 5), ("fr", 5)]),
            voice("sit/cmn", "Chinese (Mandarin, latin as English)", &[("cmn", 5), ("zh", 5)]),
            voice("sit/cmn-Latn-pinyin", "Chinese (Mandarin, latin as Pinyin)", &[("cmn-latn-pinyin", 5), ("zh", 5)]),
            voice("sit/yue", "Chinese (Cantonese)", &[("yue", 5), ("zh", 8)]),
            voice("gmq/nb", "Norwegian Bokmål", &[("nb", 5), ("no", 5)]),
            voice("zls/hr", "Croatian", &[("hr", 5), ("hbs", 5)]),
            voice("mb/mb-de4", "German", &[("de", 9)]),
        ])
    }

    #[test]
    fn a_tag_finds_its_voice_file() {
        let languages = languages();
        for (tag, file) in [
            ("en-US", "gmw/en-US"),
            ("EN_us", "gmw/en-US"),
            ("en", "gmw/en-US"),
            ("en-GB", "gmw/en"),
            ("en-AU", "gmw/en"),
            ("en-CA", "gmw/en-US"),
            ("de-AT", "gmw/de"),
            ("de-DE-x-platt", "gmw/de"),
            ("pt", "roa/pt-BR"),
            ("pt-PT", "roa/pt"),
            ("es-ES", "roa/es"),
            ("es-MX", "roa/es-419"),
            ("fr-FR", "roa/fr"),
            ("zh", "sit/cmn-Latn-pinyin"),
            ("zh-Hans-CN", "sit/cmn-Latn-pinyin"),
            ("cmn", "sit/cmn-Latn-pinyin"),
            ("zh-HK", "sit/yue"),
            ("no", "gmq/nb"),
            ("hbs", "zls/hr"),
        ] {
            assert_eq!(languages.voice_file(tag).unwrap(), file, "{tag}");
        }
    }

    #[test]
    fn an_unknown_language_names_the_nearest() {
        let languages = languages();
        let nearest = |tag: &str| languages.voice_file(tag).unwrap_err();
        assert!(nearest("english").contains("English"), "{}", nearest("english"));
        assert!(nearest("ger").contains("\"de\""), "{}", nearest("ger"));
        assert!(nearest("nbb").contains("\"nb\""), "{}", nearest("nbb"));
        assert!(nearest("").contains("not spoken"));
        assert!(Languages::default().voice_file("en").unwrap_err().ends_with("built-in engine"));
    }

    #[test]
    fn each_tag_is_listed_once_and_broken_voices_are_not() {
        let list = languages().list();
        let tags: Vec<&str> = list.iter().map(|language| language.tag.as_str()).collect();
        assert_eq!(tags, ["de", "en-GB", "en-US", "es", "es-419", "fr", "hr", "nb", "pt-BR", "pt-PT", "yue", "zh"]);
        assert_eq!(list[11].name, "Chinese (Mandarin)");
    }
}
