//! Montages: named, ordered lists of generations.

use jobs::montages::MontageInput;
use jobs::view::MontageView;
use salvo::oapi::{ToParameters, ToSchema};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::problem::{Code, FieldProblem, Problem};
use crate::wire::job::Job;
use crate::wire::list::Item;
use crate::wire::time::rfc3339;

/// A montage in a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[salvo(schema(example = json!({
    "montage_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90", "id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90", "name": "Chapter one",
    "description": null, "generation_count": 2, "created_at": "2026-01-31T12:00:00.123Z", "updated_at": "2026-01-31T12:00:00.123Z"
})))]
pub struct Montage {
    /// The same as `id`.
    pub montage_id: String,
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub generation_count: i64,
    pub created_at: String,
    /// Of its name, its description or its order.
    pub updated_at: String,
}

impl Item for Montage {
    const PLURAL: &'static str = "montages";
    const LIST: &'static str = "MontageList";
}

/// A montage with its generations.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MontageDetails {
    #[serde(flatten)]
    pub montage: Montage,
    /// In the montage's order.
    pub generation_ids: Vec<String>,
    /// In the same order; at most 1,000.
    pub generations: Vec<Job>,
}

impl Montage {
    pub fn of(montage: storage::montages::Montage) -> Self {
        Self {
            montage_id: montage.id.to_string(),
            id: montage.id.to_string(),
            name: montage.name,
            description: montage.description,
            generation_count: montage.generation_count,
            created_at: rfc3339(montage.created_at_ms),
            updated_at: rfc3339(montage.updated_at_ms),
        }
    }
}

impl MontageDetails {
    pub fn of(view: MontageView) -> Self {
        let generation_count = view.generations.len() as i64;
        Self {
            montage: Montage { generation_count, ..Montage::of(view.montage) },
            generation_ids: view.generations.iter().map(|generation| generation.id.to_string()).collect(),
            generations: view.generations.into_iter().map(Job::of).collect(),
        }
    }
}

/// A new montage.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"name": "Chapter one", "generation_ids": ["0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90"]})))]
pub struct NewMontage {
    /// 1 to 200 characters.
    #[serde(alias = "title")]
    #[salvo(schema(min_length = 1, max_length = 200))]
    pub name: String,
    /// At most 2,000 characters.
    #[salvo(schema(max_length = 2000))]
    pub description: Option<String>,
    /// In the wanted order, each once; at most 1,000.
    #[salvo(schema(max_items = 1000))]
    pub generation_ids: Option<Vec<String>>,
}

/// What of a montage is to be changed.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"name": "Chapter two", "generation_ids": []})))]
pub struct MontageChange {
    /// 1 to 200 characters; stays when not given.
    #[serde(alias = "title")]
    #[salvo(schema(min_length = 1, max_length = 200))]
    pub name: Option<String>,
    /// At most 2,000 characters; stays when not given, and is taken away when empty.
    #[salvo(schema(max_length = 2000))]
    pub description: Option<String>,
    /// The whole list in its new order, each once, at most 1,000; stays when not given.
    #[salvo(schema(max_items = 1000))]
    pub generation_ids: Option<Vec<String>>,
}

impl NewMontage {
    pub fn into_input(self) -> Result<MontageInput, Problem> {
        Ok(MontageInput { name: Some(self.name), description: self.description, generation_ids: ids_of(self.generation_ids)? })
    }
}

impl MontageChange {
    pub fn into_input(self) -> Result<MontageInput, Problem> {
        Ok(MontageInput { name: self.name, description: self.description, generation_ids: ids_of(self.generation_ids)? })
    }
}

/// What is no id names nothing.
fn ids_of(texts: Option<Vec<String>>) -> Result<Option<Vec<Uuid>>, Problem> {
    let Some(texts) = texts else {
        return Ok(None);
    };
    let parsed: Vec<Option<Uuid>> = texts.iter().map(|text| Uuid::parse_str(text.trim()).ok()).collect();
    let unknown: Vec<usize> = parsed.iter().enumerate().filter(|(_, id)| id.is_none()).map(|(place, _)| place).collect();
    if !unknown.is_empty() {
        return Err(generations_not_found(&unknown));
    }
    Ok(Some(parsed.into_iter().flatten().collect()))
}

/// At most so many places are named.
const NAMED_MAX: usize = 100;

pub fn generations_not_found(places: &[usize]) -> Problem {
    let message = "there is no generation with this id, or it belongs to another key";
    let errors: Vec<FieldProblem> =
        places.iter().take(NAMED_MAX).map(|place| FieldProblem::new(format!("generation_ids[{place}]"), message)).collect();
    Problem { errors, ..Problem::new(Code::GenerationNotFound, format!("{} of the generation_ids: {message}", places.len())) }
}

#[derive(Debug, Clone, Default, Deserialize, ToParameters)]
pub struct MontageQuery {
    /// 1 to 200.
    #[salvo(parameter(minimum = 1, maximum = 200, default = json!(50)))]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}
