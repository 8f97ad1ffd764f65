//! Full-text search over generations: every word of a query must occur in the title, the text or the name of a voice. One meaning on both
//! databases: text and query are folded here, and SQL only compares folded with folded.
//!
//! A word is found inside longer ones too: Chinese, Japanese and Thai have no spaces, and German glues words together.

use serde_json::Value;
use sqlx::Row;
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use crate::StorageError;
use crate::generations::like_escaped;
use crate::rows::Rows;
use crate::statement::{Script, Statement};

/// Texts have up to megabytes each.
const BACKFILL_ROWS: i64 = 20;

/// What is found of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchText(String);

impl SearchText {
    /// `voices` is the JSON of a generation's row: an object with a `name` in each value. Takes time with the length of the text: not for
    /// inside a transaction.
    pub fn of(title: Option<&str>, text: &str, voices: &str) -> Self {
        let voices: Value = serde_json::from_str(voices).unwrap_or_default();
        let names = voices.as_object().into_iter().flat_map(|voices| voices.values().filter_map(|voice| voice["name"].as_str()));
        let parts: Vec<&str> = title.into_iter().chain([text]).chain(names).collect();
        Self(fold(&parts.join("\n")))
    }
}

/// The words of a query, folded; those that nothing is left of are dropped.
pub fn words(query: &str) -> Vec<String> {
    let mut words: Vec<String> = fold(query).split_whitespace().map(str::to_owned).collect();
    words.sort();
    words.dedup();
    words
}

/// Texts that a reader takes for the same become the same: upper and lower case, composed and decomposed letters, wide and narrow forms
/// (NFKC, Unicode Standard Annex 15), Latin and Greek letters with and without their accents, ß and ss.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase().replace('\0', "");
    }
    let mut folded = String::with_capacity(text.len());
    let mut sheds_accents = false;
    for letter in text.nfkd().filter(|letter| *letter != '\0') {
        if ('\u{300}'..='\u{36f}').contains(&letter) {
            // Elsewhere a mark makes another letter: й is no и, が is no か.
            if !sheds_accents {
                folded.push(letter);
            }
            continue;
        }
        sheds_accents = letter.is_ascii_alphabetic() || matches!(letter, 'ı' | 'Α'..='ω');
        for lower in letter.to_lowercase() {
            match lower {
                'ß' => folded.push_str("ss"),
                'ς' => folded.push('σ'),
                'ı' => folded.push('i'),
                lower => folded.push(lower),
            }
        }
    }
    folded.nfc().collect()
}

/// A LIKE pattern for a word anywhere, with `\` as the escape.
pub(crate) fn pattern(word: &str) -> String {
    format!("%{}%", like_escaped(word))
}

/// To be run in the transaction that stores the generations.
pub(crate) fn push_insert<'t>(script: &mut Script, texts: impl Iterator<Item = (Uuid, &'t SearchText)>) {
    let query = script.next("INSERT INTO generation_search (generation_id, folded) ");
    for (place, (generation_id, text)) in texts.enumerate() {
        query.push(if place == 0 { "VALUES (" } else { ", (" }).push_list([generation_id.to_string(), text.0.clone()]).push(")");
    }
}

/// Folds what was stored before there was a search; a few rows a transaction, so that a stop in between loses little. Several processes may
/// do it at once: they write the same.
pub(crate) async fn backfill(rows: &Rows) -> Result<u64, StorageError> {
    let mut done = 0;
    loop {
        let waiting = sqlx::query(
            "SELECT g.id, g.title, g.text, g.voices FROM generation_search s JOIN generations g ON g.id = s.generation_id \
             WHERE s.folded IS NULL ORDER BY s.generation_id LIMIT $1",
        )
        .bind(BACKFILL_ROWS)
        .fetch_all(rows.read())
        .await?;
        if waiting.is_empty() {
            return Ok(done);
        }
        let mut folded = Vec::with_capacity(waiting.len());
        for row in &waiting {
            let (id, title): (String, Option<String>) = (row.try_get("id")?, row.try_get("title")?);
            let (text, voices): (String, String) = (row.try_get("text")?, row.try_get("voices")?);
            folded.push((id, SearchText::of(title.as_deref(), &text, &voices)));
        }
        let mut tx = rows.begin().await?;
        for (id, text) in folded {
            let mut query = Statement::new("UPDATE generation_search SET folded = ");
            query.push_bind(text.0).push(" WHERE generation_id = ").push_bind(id);
            query.build().execute(tx.connection()).await?;
        }
        tx.commit().await?;
        done += waiting.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::generations::{self, GenerationFilter};
    use crate::rows::{RowsConfig, migrator};

    #[test]
    fn what_a_reader_takes_for_the_same_is_the_same() {
        for (one, other) in [
            ("MÜLLER", "müller"),
            ("Müller", "Mu\u{308}ller"),
            ("Müller", "muller"),
            ("STRASSE", "straße"),
            ("ΟΔΟΣ", "οδος"),
            ("Ἀθῆναι", "αθηναι"),
            ("İSTANBUL", "istanbul"),
            ("ＡＢＣ１", "abc1"),
            ("ｶﾞｷﾞ", "ガギ"),
            ("가", "\u{1100}\u{1161}"),
            ("Ёлка", "ёлка"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        for (one, other) in [("мой", "мои"), ("が", "か"), ("ни", "ній"), ("बाल", "बल"), ("a b", "ab")] {
            assert_ne!(fold(one), fold(other), "{one} {other}");
        }
    }

    #[test]
    fn a_query_is_a_set_of_words() {
        assert_eq!(words("  Der  ÄLTESTE\tder\u{3000}10%_ "), ["10%_", "alteste", "der"]);
        assert_eq!(words(" \0 \n"), Vec::<String>::new());
        assert_eq!(pattern("1\\0%_"), "%1\\\\0\\%\\_%");
    }

    /// A database as version 1 left it.
    #[tokio::test]
    async fn what_was_stored_before_there_was_a_search_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let config = RowsConfig::new(format!("sqlite://{}?mode=rwc", folder.path().join("old.sqlite").display()));
        sqlx::any::install_default_drivers();
        let old = sqlx::AnyPool::connect(&config.database_url).await.unwrap();
        migrator(1).unwrap().run(&old).await.unwrap();
        let mut ids = Vec::new();
        for nth in 0..(BACKFILL_ROWS * 2 + 1) {
            let id = Uuid::now_v7();
            sqlx::query(
                "INSERT INTO generations (id, owner_id, kind, status, title, text, language, params, voices, priority, chunks_total, \
                 chunks_done, attempt, cancel_requested, created_at_ms) \
                 VALUES ($1, 'o', 'generate.preset', 'completed', $2, $3, 'de', '{}', '{\"v\": {\"name\": \"Zoë\"}}', 0, 1, 1, 1, 0, 0)",
            )
            .bind(id.to_string())
            .bind((nth == 7).then_some("ÄLTESTE"))
            .bind(format!("Straße {nth}."))
            .execute(&old)
            .await
            .unwrap();
            ids.push(id);
        }
        old.close().await;
        for _ in 0..2 {
            let rows = Rows::open(&config).await.unwrap();
            let found = async |query: &str| {
                let filter = GenerationFilter { words: words(query), ..GenerationFilter::of_owner("o") };
                generations::list(rows.read(), &filter, None, 200).await.unwrap().iter().map(|found| found.id).collect::<Vec<_>>()
            };
            assert_eq!(found("strasse zoe").await.len(), ids.len());
            assert_eq!(found("älteste").await, [ids[7]]);
            assert_eq!(found("strasse 40.").await, [ids[40]]);
            rows.close().await;
        }
    }

    #[test]
    fn titles_texts_and_voices_are_found() {
        let text = SearchText::of(Some("Über Land"), "The text.", r#"{"v1": {"name": "Zoë"}, "v2": {"name": "Bob"}, "v3": {}}"#);
        assert_eq!(text.0, "uber land\nthe text.\nzoe\nbob");
        assert_eq!(SearchText::of(None, "x", "not json").0, "x");
    }
}
