//! The form of an API key: `cvk_`, 8 characters of id, 32 random bytes in base62 (43 characters), 6 characters of CRC-32, all one word.
//!
//! The id finds the row, the checksum refuses typing errors without asking the database, the SHA-256 of the whole key is all that is kept.
//! Pure: random bytes are arguments. This file may not know rows or HTTP.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub const PREFIX: &str = "cvk_";
pub const ID_CHARS: usize = 8;
/// 62^43 is the first power of 62 above 2^256.
pub const SECRET_CHARS: usize = 43;
/// 62^6 is the first power of 62 above 2^32.
const CHECKSUM_CHARS: usize = 6;
const KEY_CHARS: usize = PREFIX.len() + ID_CHARS + SECRET_CHARS + CHECKSUM_CHARS;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A whole key. Shown once to the person it is made for and never printed otherwise: its `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}...)", self.id())
    }
}

/// Why a text is no key. It says nothing about whether such a key exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an API key")]
pub struct Malformed;

impl Key {
    /// Makes a key of random bytes: 8 for the id, 32 for the secret.
    pub fn from_random(id: [u8; ID_CHARS], secret: [u8; 32]) -> Self {
        // The id is a name, not a secret: the slight bias of the remainder does no harm.
        let id: String = id.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect();
        Self::of_id(&id, secret)
    }

    /// Another form of the key with this id: what [`Key::id`] gave.
    pub fn of_id(id: &str, secret: [u8; 32]) -> Self {
        let mut text = format!("{PREFIX}{id}{}", base62(&secret, SECRET_CHARS));
        let checksum = crc32fast::hash(text.as_bytes());
        text.push_str(&base62(&checksum.to_be_bytes(), CHECKSUM_CHARS));
        Self(text)
    }

    /// Accepts exactly what [`Key::from_random`] makes.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let well_formed =
            text.len() == KEY_CHARS && text.starts_with(PREFIX) && text[PREFIX.len()..].bytes().all(|b| b.is_ascii_alphanumeric());
        if !well_formed {
            return Err(Malformed);
        }
        let (body, checksum) = text.split_at(KEY_CHARS - CHECKSUM_CHARS);
        let expected = base62(&crc32fast::hash(body.as_bytes()).to_be_bytes(), CHECKSUM_CHARS);
        if checksum == expected { Ok(Self(text.to_owned())) } else { Err(Malformed) }
    }

    /// The public part.
    pub fn id(&self) -> &str {
        &self.0[PREFIX.len()..PREFIX.len() + ID_CHARS]
    }

    /// The whole key, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// SHA-256 in lower-case hex. No salt and no stretching: 256 random bits can't be guessed.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.0.as_bytes()))
    }
}

/// Stands in for the hash of a key that is not there; no key has it.
pub const NO_HASH: &str = "----------------------------------------------------------------";

/// Whether two hashes are equal, in a time that does not depend on where they differ.
pub fn same_hash(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// Big-endian bytes as a base62 number of a fixed number of digits (enough for the largest value).
pub fn base62(bytes: &[u8], digits: usize) -> String {
    let mut number = bytes.to_vec();
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let value = remainder * 256 + u32::from(*byte);
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *digit = ALPHABET[remainder as usize];
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_made_key_parses_to_itself(id: [u8; 8], secret: [u8; 32]) {
            let key = Key::from_random(id, secret);
            prop_assert_eq!(key.reveal().len(), 61);
            prop_assert!(key.reveal().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
            let parsed = Key::parse(key.reveal()).unwrap();
            prop_assert_eq!(&parsed, &key);
            prop_assert!(same_hash(&parsed.hash(), &key.hash()));
        }

        #[test]
        fn one_changed_character_is_refused(id: [u8; 8], secret: [u8; 32], place in 0_usize..61, other in "[0-9A-Za-z]") {
            let key = Key::from_random(id, secret);
            let mut text = key.reveal().to_owned();
            text.replace_range(place..=place, &other);
            prop_assert_eq!(Key::parse(&text).is_ok(), text == key.reveal());
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = Key::parse(&text);
            let _ = Key::parse(&format!("cvk_{text}"));
        }

        #[test]
        fn different_secrets_give_different_keys(id: [u8; 8], a: [u8; 32], b: [u8; 32]) {
            let (first, second) = (Key::from_random(id, a), Key::from_random(id, b));
            prop_assert_eq!(first == second, a == b);
            prop_assert_eq!(same_hash(&first.hash(), &second.hash()), a == b);
            prop_assert!(!same_hash(&first.hash(), NO_HASH));
        }
    }

    #[test]
    fn extremes_fit_their_width() {
        assert_eq!(base62(&[0; 32], 43), "0".repeat(43));
        // 2^256 - 1 and 2^32 - 1, computed with Python's integers.
        assert_eq!(base62(&[255; 32], 43), "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1");
        assert_eq!(base62(&[255; 4], 6), "4gfFC3");
    }

    #[test]
    fn debug_hides_the_secret() {
        let key = Key::from_random([7; 8], [9; 32]);
        assert!(!format!("{key:?}").contains(&key.reveal()[12..]));
    }
}
