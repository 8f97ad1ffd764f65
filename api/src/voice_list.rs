//! One list of presets and stored voices, in one order, page by page. Presets are few and lie in memory; stored voices come from the
//! database from the cursor on, so that a page costs the same wherever it is.

use std::cmp::Ordering;

use jobs::voices::Voice as Preset;
use serde::{Deserialize, Serialize};
use storage::StorageError;
use storage::voices::{self, Voice as Stored, VoiceFilter, VoiceOrder, VoicePlace, search_text, sort_language, sort_name};

use crate::app::App;
use crate::problem::Problem;
use crate::wire::voice::VoiceSort;

/// A voice of the list.
#[derive(Debug, Clone)]
pub(crate) enum Listed {
    Preset(Box<Preset>),
    Stored(Box<Stored>),
}

/// Where a voice stands in an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Presets and stored voices are sorted apart, or together.
    group: u8,
    /// Hex, for orders by text.
    text: String,
    /// Place of a preset, or age of a stored voice.
    number: i64,
    id: String,
}

/// A cursor: a place in a certain order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    sort: VoiceSort,
    place: Place,
}

#[derive(Debug)]
pub(crate) struct ListPage {
    pub voices: Vec<Listed>,
    pub next_cursor: Option<String>,
    pub total: i64,
}

/// What is asked for, beside the filter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageWish<'a> {
    pub sort: VoiceSort,
    pub cursor: Option<&'a str>,
    pub limit: usize,
}

/// `favorites`: the ids of the reader's.
pub(crate) async fn page(app: &App, filter: &VoiceFilter, favorites: &[String], wish: PageWish<'_>) -> Result<ListPage, Problem> {
    let sort = wish.sort;
    let after = wish.cursor.map(|text| read_cursor(text, sort)).transpose()?;
    let mut presets = Vec::new();
    for (index, preset) in app.jobs.presets().into_iter().enumerate() {
        if is_wanted(&preset, filter, favorites) {
            presets.push((place_of_preset(&preset, index, sort), Listed::Preset(Box::new(preset))));
        }
    }
    let pool = app.storage.rows.read();
    let total = presets.len() as i64 + voices::count(pool, filter).await?;
    let mut places: Vec<(Place, Listed)> = presets;
    places.retain(|(place, _)| after.as_ref().is_none_or(|after| compare(place, after, sort) == Ordering::Greater));
    for stored in stored_after(app, filter, sort, after.as_ref(), wish.limit + 1).await? {
        places.push((place_of_stored(&stored, sort), Listed::Stored(Box::new(stored))));
    }
    places.sort_by(|(one, _), (other, _)| compare(one, other, sort));
    let more = places.len() > wish.limit;
    places.truncate(wish.limit);
    let next_cursor = places.last().filter(|_| more).map(|(place, _)| write_cursor(place, sort)).transpose()?;
    Ok(ListPage { voices: places.into_iter().map(|(_, voice)| voice).collect(), next_cursor, total })
}

async fn stored_after(
    app: &App,
    filter: &VoiceFilter,
    sort: VoiceSort,
    after: Option<&Place>,
    limit: usize,
) -> Result<Vec<Stored>, StorageError> {
    let order = match sort {
        VoiceSort::Default | VoiceSort::Created => VoiceOrder::Newest,
        VoiceSort::Name => VoiceOrder::Name,
        VoiceSort::Language => VoiceOrder::Language,
    };
    let after = match after {
        Some(place) if place.group > group_of_stored(sort) => return Ok(Vec::new()),
        Some(place) if place.group == group_of_stored(sort) => Some(match order {
            VoiceOrder::Newest => VoicePlace::Age { created_at_ms: place.number, id: place.id.clone() },
            _ => VoicePlace::Text { sorted_by: place.text.clone(), id: place.id.clone() },
        }),
        _ => None,
    };
    voices::list(app.storage.rows.read(), filter, order, after.as_ref(), limit as u32).await
}

fn group_of_stored(sort: VoiceSort) -> u8 {
    u8::from(sort == VoiceSort::Default)
}

fn place_of_preset(preset: &Preset, index: usize, sort: VoiceSort) -> Place {
    let group = u8::from(sort == VoiceSort::Created);
    Place { group, text: text_key(&preset.name, &preset.language, sort), number: -(index as i64), id: preset.id.clone() }
}

fn place_of_stored(voice: &Stored, sort: VoiceSort) -> Place {
    let text = text_key(&voice.name, &voice.language, sort);
    Place { group: group_of_stored(sort), text, number: voice.created_at_ms, id: voice.id.to_string() }
}

fn text_key(name: &str, language: &str, sort: VoiceSort) -> String {
    match sort {
        VoiceSort::Name => sort_name(name),
        VoiceSort::Language => sort_language(language, name),
        VoiceSort::Default | VoiceSort::Created => String::new(),
    }
}

/// As the database sorts: by text upwards, by age downwards.
fn compare(one: &Place, other: &Place, sort: VoiceSort) -> Ordering {
    match sort {
        VoiceSort::Name | VoiceSort::Language => (&one.text, &one.id).cmp(&(&other.text, &other.id)),
        VoiceSort::Default | VoiceSort::Created => {
            one.group.cmp(&other.group).then_with(|| (other.number, &other.id).cmp(&(one.number, &one.id)))
        }
    }
}

fn write_cursor(place: &Place, sort: VoiceSort) -> Result<String, Problem> {
    serde_json::to_vec(&Cursor { sort, place: place.clone() }).map(hex::encode).map_err(Problem::internal)
}

fn read_cursor(text: &str, sort: VoiceSort) -> Result<Place, Problem> {
    let cursor = hex::decode(text).ok().and_then(|bytes| serde_json::from_slice::<Cursor>(&bytes).ok());
    // A NUL is no text for Postgres; no place of ours has one.
    let whole = cursor.filter(|cursor| cursor.sort == sort && !cursor.place.text.contains('\0') && !cursor.place.id.contains('\0'));
    let wrong = || Problem::invalid_field("cursor", "is not the next_cursor of a page of the same order");
    whole.map(|cursor| cursor.place).ok_or_else(wrong)
}

fn is_wanted(preset: &Preset, filter: &VoiceFilter, favorites: &[String]) -> bool {
    let kind = filter.kind.as_ref().is_none_or(|kind| *kind == preset.kind);
    let language = filter.language.as_ref().is_none_or(|wanted| speaks(&preset.language, wanted));
    let favorite = filter.favorite.is_none_or(|favorite| favorite == favorites.contains(&preset.id));
    let found = filter.contains.as_ref().is_none_or(|part| {
        let fields = [&preset.name, &preset.description, &preset.language, &preset.gender, &preset.id];
        search_text(fields.into_iter().chain(&preset.tags).map(String::as_str)).contains(&part.to_lowercase())
    });
    // Presets are in no category.
    kind && language && favorite && found && filter.category.is_none() && !filter.own_only
}

/// Whether the tag is the wanted one or a region of it.
fn speaks(tag: &str, wanted: &str) -> bool {
    let (tag, wanted) = (tag.to_ascii_lowercase(), wanted.to_ascii_lowercase());
    tag == wanted || tag.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.starts_with('-'))
}
