//! A description read: who speaks, what is said of the voice and how strongly, and which words say nothing here.
//!
//! "not" turns the next meaning within two words, mildly: "not deep" is a little higher than plain, and "not very deep" less so. It may
//! not know what the meanings do to a voice.

use super::Effect;
use super::words::{self, Meaning};
use crate::builtin::Gender;

/// Words between a negation and what it turns.
const NEGATION_REACH: usize = 3;
/// "not deep" is half as high as "high" would be.
const NEGATED: f32 = -0.5;
const STRONGEST: f32 = 2.5;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Understood {
    pub(super) gender: Gender,
    pub(super) child: bool,
    pub(super) meanings: Vec<Strong>,
    pub(super) accent: Option<&'static str>,
    pub(super) terms: Vec<String>,
    pub(super) ignored: Vec<String>,
    /// First synonyms with their strengths.
    meant: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Strong {
    pub(super) effects: &'static [Effect],
    pub(super) strength: f32,
}

/// What the words before the next meaning do to it.
#[derive(Debug, Clone)]
struct Pending {
    strength: f32,
    negated: Option<usize>,
    words: Vec<String>,
}

impl Pending {
    fn none() -> Self {
        Self { strength: 1.0, negated: None, words: Vec::new() }
    }

    fn total(&self) -> f32 {
        match self.negated {
            // "not very deep" is nearer to plain than "not deep".
            Some(_) => NEGATED / self.strength.max(0.5),
            None => self.strength.min(STRONGEST),
        }
    }
}

pub(super) fn read(description: &str) -> Understood {
    let mut understood = Understood {
        gender: Gender::Neutral,
        child: false,
        meanings: Vec::new(),
        accent: None,
        terms: Vec::new(),
        ignored: Vec::new(),
        meant: Vec::new(),
    };
    let mut speaker_known = false;
    for clause in clauses(description) {
        let mut rest: &[String] = &clause;
        let mut pending = Pending::none();
        while let Some(word) = rest.first() {
            let (len, name, meaning) = words::find(rest).unwrap_or((1, "", Meaning::Filler));
            let known = !name.is_empty();
            let term = rest[..len].join(" ");
            match meaning {
                Meaning::Filler if known => {}
                Meaning::Filler => {
                    if !understood.ignored.contains(word) {
                        understood.ignored.push(word.clone());
                    }
                }
                Meaning::Intensifier(factor) => {
                    pending.strength *= factor;
                    pending.words.push(term);
                }
                Meaning::Negation => {
                    pending = Pending { negated: Some(0), words: vec![term], ..Pending::none() };
                }
                Meaning::Turn => pending = Pending::none(),
                Meaning::Speaker { gender, child, effects } => {
                    if pending.negated.is_none() && !speaker_known {
                        speaker_known = true;
                        (understood.gender, understood.child) = (gender, child);
                    } else if pending.negated.is_some() && !speaker_known {
                        // "not male" says who it is not.
                        understood.gender = opposite(gender);
                    }
                    understood.take(effects, name, &mut pending, term);
                }
                Meaning::Effects(effects) => understood.take(effects, name, &mut pending, term),
                Meaning::Accent(tag) => {
                    if pending.negated.is_none() {
                        understood.accent = understood.accent.or(Some(tag));
                    }
                    understood.take(&[], name, &mut pending, term);
                }
            }
            pending.negated = pending.negated.map(|words| words + len).filter(|words| *words <= NEGATION_REACH);
            rest = &rest[len..];
        }
    }
    understood
}

impl Understood {
    /// The same for descriptions that mean the same.
    pub(super) fn canonical(&self) -> String {
        let mut meant = self.meant.clone();
        meant.sort_unstable();
        meant.join(";")
    }

    fn take(&mut self, effects: &'static [Effect], name: &str, pending: &mut Pending, term: String) {
        let strength = pending.total();
        self.meanings.push(Strong { effects, strength });
        self.meant.push(format!("{name}*{strength:.2}"));
        pending.words.push(term);
        self.terms.push(pending.words.join(" "));
        *pending = Pending::none();
    }
}

fn opposite(gender: Gender) -> Gender {
    match gender {
        Gender::Female => Gender::Male,
        Gender::Male => Gender::Female,
        Gender::Neutral => Gender::Neutral,
    }
}

/// Lower-case words, cut where a negation cannot reach over. Hyphens join words that are found as a phrase.
fn clauses(description: &str) -> Vec<Vec<String>> {
    let lower = description.to_lowercase().replace('\u{2019}', "'");
    let clause = |part: &str| {
        let words = part.split(|c: char| !(c.is_alphanumeric() || c == '\''));
        words.map(|word| word.trim_matches('\'').to_owned()).filter(|word| !word.is_empty()).collect::<Vec<String>>()
    };
    lower.split(['.', ',', ';', ':', '!', '?', '\n', '(', ')']).map(clause).filter(|words| !words.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strengths(description: &str) -> Vec<(String, f32)> {
        let understood = read(description);
        understood.terms.iter().cloned().zip(understood.meanings.iter().map(|meaning| meaning.strength)).collect()
    }

    #[test]
    fn words_before_a_meaning_change_it() {
        let one = |description: &str| strengths(description)[0].1;
        assert_eq!(one("deep"), 1.0);
        assert_eq!(one("very deep"), 1.5);
        assert_eq!(one("very very deep"), 2.25);
        assert_eq!(one("slightly deep"), 0.5);
        assert_eq!(one("a little bit deep"), 0.5);
        assert_eq!(one("not deep"), -0.5);
        assert!(one("not very deep") > one("not deep") && one("not very deep") < 0.0);
        assert_eq!(strengths("not deep but warm"), [("not deep".to_owned(), -0.5), ("warm".to_owned(), 1.0)]);
        assert_eq!(strengths("not a voice of a strange and deep kind")[0].1, 1.0, "out of reach");
        assert_eq!(strengths("not, deep")[0].1, 1.0, "another clause");
    }

    #[test]
    fn who_speaks_is_said_once() {
        let who = |description: &str| (read(description).gender, read(description).child);
        assert_eq!(who("a woman with a boyish charm, like a man"), (Gender::Female, false));
        assert_eq!(who("little girl"), (Gender::Female, true));
        assert_eq!(who("an old man"), (Gender::Male, false));
        assert_eq!(who("not male"), (Gender::Female, false));
        assert_eq!(who("calm"), (Gender::Neutral, false));
    }

    #[test]
    fn what_is_not_known_is_said() {
        let understood = read("A Purple, deep voice of velvet and a purple zebra");
        assert_eq!(understood.ignored, ["purple", "velvet", "zebra"]);
        assert_eq!(understood.terms, ["deep"]);
        assert_eq!(read("high-pitched").terms, ["high pitched"]);
    }
}
