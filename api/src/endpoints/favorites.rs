//! Which voices the caller likes, presets included.

use salvo::Writer;
use salvo::oapi::endpoint;
use salvo::oapi::extract::PathParam;
use storage::favorites;
use uuid::Uuid;

use super::voices::{FAVORITES_MAX, favorites_of, find_stored};
use crate::answer::Reply;
use crate::app::App;
use crate::authenticate::Caller;
use crate::body::OptionalJsonRequest;
use crate::problem::{Code, Problem};
use crate::wire::voice::{FavoriteChange, FavoriteState, Favorites, Viewer, Voice};

/// Get favorite voices
#[endpoint(operation_id = "list_favorites")]
pub async fn list_favorites(app: App, caller: Caller) -> Result<Reply<Favorites>, Problem> {
    let ids = favorites_of(&app, &caller).await?;
    let languages = app.jobs.engine_status().capabilities.languages;
    let previewed = app.jobs.previewed_presets().await?;
    let offer = app.jobs.engines().offer();
    let viewer = Viewer { owner_id: &caller.owner_id, languages: &languages, favorites: &ids, previewed: &previewed, offer: &offer };
    let stored_ids: Vec<&str> = ids.iter().map(String::as_str).filter(|id| Uuid::parse_str(id).is_ok()).collect();
    let stored = storage::voices::find_visible(app.storage.rows.read(), &caller.owner_id, &stored_ids).await?;
    let presets = app.jobs.presets();
    let mut shown = Vec::new();
    for id in &ids {
        // One that was shared and is not any longer is not shown; the mark stays.
        if let Some(preset) = presets.iter().find(|preset| preset.id == *id) {
            shown.push(Voice::of_preset(preset.clone(), viewer));
        } else if let Some(voice) = stored.iter().find(|voice| voice.id.to_string() == *id) {
            shown.push(Voice::of_stored(voice.clone(), viewer));
        }
    }
    Ok(Reply(Favorites { favorites: shown.iter().map(|voice| voice.id.clone()).collect(), voices: shown }))
}

/// Toggle favorite
#[endpoint(operation_id = "toggle_favorite")]
pub async fn toggle_favorite(
    app: App,
    caller: Caller,
    id: PathParam<String>,
    change: OptionalJsonRequest<FavoriteChange>,
) -> Result<Reply<FavoriteState>, Problem> {
    let voice_id = match app.jobs.preset(&id) {
        Some(preset) => preset.id,
        None => find_stored(&app, &caller, &id).await?.id.to_string(),
    };
    let mut tx = app.storage.rows.begin().await?;
    let favorite = match change.0.favorite {
        Some(favorite) => favorite,
        None => !favorites::contains(&mut tx, &caller.owner_id, &voice_id).await?,
    };
    if favorite && favorites::count(&mut tx, &caller.owner_id).await? >= i64::from(FAVORITES_MAX) {
        return Err(Problem::new(Code::Conflict, format!("there are {FAVORITES_MAX} favourites already; take one away first")));
    }
    favorites::set(&mut tx, &caller.owner_id, &voice_id, favorite, app.clock.now_ms()).await?;
    tx.commit().await?;
    Ok(Reply(FavoriteState { voice_id, is_favorite: favorite }))
}
