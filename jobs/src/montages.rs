//! Montages: named, ordered lists of an owner's generations, as the caller makes and sees them. It may not know HTTP.

use std::collections::HashSet;

use sha2::{Digest, Sha256};
use storage::montages::{self, Montage};
use storage::{StorageError, Tx, generations};
use uuid::Uuid;

use crate::Jobs;
use crate::submission::FieldError;
use crate::view::{JobView, MontageView};

pub const MONTAGES_MAX: i64 = 10_000;
pub const GENERATIONS_MAX: usize = 1_000;
const NAME_CHARS_MAX: usize = 200;
const DESCRIPTION_CHARS_MAX: usize = 2_000;

/// What a caller gives for a new montage, or to change one; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MontageInput {
    pub name: Option<String>,
    /// Empty for none.
    pub description: Option<String>,
    /// The whole list in order.
    pub generation_ids: Option<Vec<Uuid>>,
}

/// Why a montage was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum MontageError {
    #[error("no montage {0}")]
    NotFound(Uuid),
    /// Places in the caller's list of generations that are not there, or not the owner's.
    #[error("no generations at {0:?}")]
    GenerationsNotFound(Vec<usize>),
    #[error("montage not valid")]
    Invalid(Vec<FieldError>),
    #[error("{MONTAGES_MAX} montages are there already")]
    TooMany,
    /// It is not the version that the caller has seen.
    #[error("changed in the meantime")]
    Stale,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Jobs {
    pub async fn create_montage(&self, owner_id: &str, input: MontageInput) -> Result<MontageView, MontageError> {
        let errors = problems_of(&input, true);
        if !errors.is_empty() {
            return Err(MontageError::Invalid(errors));
        }
        if montages::count(self.storage.rows.read(), owner_id).await? >= MONTAGES_MAX {
            return Err(MontageError::TooMany);
        }
        let now_ms = self.clock.now_ms();
        let montage = Montage {
            id: Uuid::now_v7(),
            owner_id: owner_id.to_owned(),
            name: input.name.unwrap_or_default().trim().to_owned(),
            description: input.description.and_then(described),
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
            generation_count: 0,
        };
        let mut tx = self.storage.rows.begin().await?;
        montages::insert(&mut tx, &montage).await?;
        if let Some(ids) = &input.generation_ids {
            fill(&mut tx, &montage, ids).await?;
        }
        tx.commit().await?;
        self.montage(owner_id, montage.id).await?.ok_or(MontageError::NotFound(montage.id))
    }

    /// Newest first, with how many there are in all.
    pub async fn montages(&self, owner_id: &str, before: Option<Uuid>, limit: u32) -> Result<(Vec<Montage>, i64), StorageError> {
        let pool = self.storage.rows.read();
        Ok((montages::list(pool, owner_id, before, limit).await?, montages::count(pool, owner_id).await?))
    }

    /// `None` for an unknown id and for another owner's.
    pub async fn montage(&self, owner_id: &str, id: Uuid) -> Result<Option<MontageView>, StorageError> {
        let pool = self.storage.rows.read();
        let Some(montage) = montages::find(pool, id).await?.filter(|montage| montage.owner_id == owner_id) else {
            return Ok(None);
        };
        let mut views: Vec<JobView> = Vec::new();
        for generation in generations::list_of_montage(pool, id).await? {
            views.push(self.view_of_generation(&generation).await?);
        }
        let ids: Vec<Uuid> = views.iter().map(|view| view.id).collect();
        Ok(Some(MontageView { version: version_of(&montage, &ids), montage, generations: views }))
    }

    /// `is_wanted` is asked with the version that is stored, under the lock.
    pub async fn change_montage(
        &self,
        owner_id: &str,
        id: Uuid,
        input: MontageInput,
        is_wanted: impl FnOnce(&str) -> bool + Send,
    ) -> Result<MontageView, MontageError> {
        let errors = problems_of(&input, false);
        if !errors.is_empty() {
            return Err(MontageError::Invalid(errors));
        }
        let mut tx = self.storage.rows.begin().await?;
        let found = montages::find_held(&mut tx, id).await?.filter(|montage| montage.owner_id == owner_id);
        let mut montage = found.ok_or(MontageError::NotFound(id))?;
        let ids = montages::generation_ids(&mut tx, id).await?;
        if !is_wanted(&version_of(&montage, &ids)) {
            return Err(MontageError::Stale);
        }
        if let Some(name) = input.name {
            montage.name = name.trim().to_owned();
        }
        if let Some(description) = input.description {
            montage.description = described(description);
        }
        montage.updated_at_ms = self.clock.now_ms();
        montages::update(&mut tx, &montage).await?;
        if let Some(ids) = &input.generation_ids {
            fill(&mut tx, &montage, ids).await?;
        }
        tx.commit().await?;
        self.montage(owner_id, id).await?.ok_or(MontageError::NotFound(id))
    }

    /// Its generations stay. False for an unknown id and for another owner's.
    pub async fn delete_montage(&self, owner_id: &str, id: Uuid) -> Result<bool, StorageError> {
        let mut tx = self.storage.rows.begin().await?;
        let deleted = montages::delete(&mut tx, owner_id, id).await?;
        tx.commit().await?;
        Ok(deleted)
    }

    /// Whether an owner's montage is there and has room; to be asked before a generation is accepted into it.
    pub(crate) async fn has_room_in_montage(&self, owner_id: &str, id: Uuid) -> Result<Option<bool>, StorageError> {
        let montage = montages::find(self.storage.rows.read(), id).await?.filter(|montage| montage.owner_id == owner_id);
        Ok(montage.map(|montage| montage.generation_count < GENERATIONS_MAX as i64))
    }
}

fn described(text: String) -> Option<String> {
    Some(text).filter(|text| !text.trim().is_empty())
}

async fn fill(tx: &mut Tx, montage: &Montage, ids: &[Uuid]) -> Result<(), MontageError> {
    let known = generations::of_owner(tx, &montage.owner_id, ids).await?;
    let unknown: Vec<usize> = ids.iter().enumerate().filter(|(_, id)| !known.contains(id)).map(|(place, _)| place).collect();
    if !unknown.is_empty() {
        return Err(MontageError::GenerationsNotFound(unknown));
    }
    montages::set_generations(tx, montage.id, ids).await?;
    Ok(())
}

fn problems_of(input: &MontageInput, is_new: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = |ok: bool, field: &str, message: String| {
        if !ok {
            errors.push(FieldError { field: field.into(), message });
        }
    };
    let name = input.name.as_deref().map(str::trim);
    check(if is_new { name.is_some_and(|name| !name.is_empty()) } else { name != Some("") }, "name", "must not be empty".into());
    let chars = |text: Option<&str>| text.map_or(0, |text| text.chars().count());
    check(chars(name) <= NAME_CHARS_MAX, "name", format!("must have at most {NAME_CHARS_MAX} characters"));
    let description = chars(input.description.as_deref());
    check(description <= DESCRIPTION_CHARS_MAX, "description", format!("must have at most {DESCRIPTION_CHARS_MAX} characters"));
    let ids = input.generation_ids.as_deref().unwrap_or_default();
    check(ids.len() <= GENERATIONS_MAX, "generation_ids", format!("must be at most {GENERATIONS_MAX}"));
    let mut seen = HashSet::new();
    for (place, id) in ids.iter().enumerate().take(GENERATIONS_MAX) {
        check(seen.insert(id), &format!("generation_ids[{place}]"), "stands in the list before".into());
    }
    errors
}

/// The same for the same name, description and order, whatever else happens to the generations.
fn version_of(montage: &Montage, generation_ids: &[Uuid]) -> String {
    let mut hash = Sha256::new();
    for text in [Some(montage.name.as_str()), montage.description.as_deref()] {
        let text = text.unwrap_or_default();
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    for id in generation_ids {
        hash.update(id.as_bytes());
    }
    hex::encode(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(input: &MontageInput, is_new: bool) -> Vec<String> {
        problems_of(input, is_new).into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn lengths_and_counts_have_limits() {
        let name = |name: &str| MontageInput { name: Some(name.into()), ..MontageInput::default() };
        assert_eq!(fields(&MontageInput::default(), true), ["name"]);
        assert!(fields(&MontageInput::default(), false).is_empty());
        assert_eq!(fields(&name("  "), false), ["name"]);
        assert!(fields(&name(&"ü".repeat(200)), true).is_empty());
        assert_eq!(fields(&name(&"ü".repeat(201)), true), ["name"]);
        let long = MontageInput { description: Some("x".repeat(2_001)), ..name("a") };
        assert_eq!(fields(&long, true), ["description"]);
        let ids: Vec<Uuid> = (0..1_001).map(Uuid::from_u128).collect();
        assert_eq!(fields(&MontageInput { generation_ids: Some(ids.clone()), ..name("a") }, true), ["generation_ids"]);
        let twice = MontageInput { generation_ids: Some(vec![ids[1], ids[2], ids[1]]), ..name("a") };
        assert_eq!(fields(&twice, true), ["generation_ids[2]"]);
    }

    #[test]
    fn the_version_is_of_what_can_be_changed() {
        let montage = Montage {
            id: Uuid::nil(),
            owner_id: "o".into(),
            name: "ab".into(),
            description: Some("c".into()),
            created_at_ms: 0,
            updated_at_ms: 0,
            generation_count: 0,
        };
        let version = |name: &str, description: &str, ids: &[Uuid]| {
            version_of(&Montage { name: name.into(), description: Some(description.into()), ..montage.clone() }, ids)
        };
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let first = version("ab", "c", &[one, two]);
        assert_eq!(first, version("ab", "c", &[one, two]));
        for other in
            [version("a", "bc", &[one, two]), version("ab", "c", &[two, one]), version("ab", "c", &[one]), version("ab", "d", &[one, two])]
        {
            assert_ne!(first, other);
        }
    }
}
