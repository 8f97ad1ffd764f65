//! Voices that can speak.

use jobs::voices::Voice as Known;
use salvo::Writer;
use salvo::oapi::endpoint;
use salvo::oapi::extract::PathParam;

use crate::answer::Reply;
use crate::app::App;
use crate::problem::{Code, Problem};
use crate::query_string::Query;
use crate::wire::list::{self, Page};
use crate::wire::voice::{Voice, VoiceDetails, VoiceQuery, VoiceSort};

/// List all voices
#[endpoint(operation_id = "list_voices")]
pub async fn list_voices(app: App, query: Query<VoiceQuery>) -> Result<Reply<Page<Voice>>, Problem> {
    let query = query.0;
    let limit = list::limit(query.limit)? as usize;
    let first = match query.cursor.as_deref() {
        Some(cursor) => cursor.parse().map_err(|_| Problem::invalid_field("cursor", "is not the next_cursor of a page"))?,
        None => 0_usize,
    };
    let mut voices: Vec<Known> = app.jobs.voices().into_iter().filter(|voice| is_wanted(voice, &query)).collect();
    match query.sort.unwrap_or_default() {
        VoiceSort::Default => {}
        VoiceSort::Name => voices.sort_by_key(|voice| voice.name.to_lowercase()),
        VoiceSort::Language => voices.sort_by_key(|voice| (voice.language.clone(), voice.name.to_lowercase())),
    }
    let total = voices.len();
    let languages = app.jobs.engine_status().capabilities.languages;
    let items: Vec<Voice> = voices.into_iter().skip(first).take(limit).map(|voice| Voice::of(voice, &languages)).collect();
    let next = first.saturating_add(items.len());
    let next_cursor = (next < total && !items.is_empty()).then(|| next.to_string());
    Ok(Reply(Page { items, next_cursor, total: total as i64 }))
}

fn is_wanted(voice: &Known, query: &VoiceQuery) -> bool {
    let kind = query.kind.as_ref().is_none_or(|kind| *kind == voice.kind);
    let language = query.language.as_ref().is_none_or(|wanted| speaks(&voice.language, wanted));
    let part = query.q.as_ref().map(|part| part.trim().to_lowercase());
    let found = part.is_none_or(|part| {
        let texts = [&voice.id, &voice.name, &voice.description, &voice.language, &voice.gender];
        texts.into_iter().chain(&voice.tags).any(|text| text.to_lowercase().contains(&part))
    });
    // Presets are in no category, and nobody has favourites yet.
    kind && language && found && query.category.is_none() && !query.favorite.unwrap_or(false)
}

/// Whether the tag is the wanted one or a region of it.
fn speaks(tag: &str, wanted: &str) -> bool {
    let (tag, wanted) = (tag.to_ascii_lowercase(), wanted.to_ascii_lowercase());
    tag == wanted || tag.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.starts_with('-'))
}

/// Get voice details
#[endpoint(operation_id = "get_voice")]
pub async fn get_voice(app: App, id: PathParam<String>) -> Result<Reply<VoiceDetails>, Problem> {
    let voice = app.jobs.voice(&id).ok_or_else(|| Problem::new(Code::VoiceNotFound, "there is no voice with this id"))?;
    let languages = app.jobs.engine_status().capabilities.languages;
    Ok(Reply(VoiceDetails { voice: Voice::of(voice, &languages), samples: Vec::new() }))
}
