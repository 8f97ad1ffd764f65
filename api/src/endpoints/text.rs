//! Text before it is spoken.

use jobs::text::split::{MAX_CHARS_LIMIT, SplitConfig, split};
use salvo::Writer;
use salvo::oapi::endpoint;

use crate::answer::Reply;
use crate::app::App;
use crate::body::JsonRequest;
use crate::problem::Problem;
use crate::wire::split::{SplitAnswer, SplitRequest};

/// Split text into sentences
///
/// `sentences` are whole; `chunks` are the pieces that would be spoken one by one.
#[endpoint(operation_id = "split_text")]
pub async fn split_text(app: App, body: JsonRequest<SplitRequest>) -> Result<Reply<SplitAnswer>, Problem> {
    let (text, config) = body.0.into_parts(app.config.text_chars_max).map_err(Problem::invalid)?;
    // Two million characters take a while: not on a thread that answers others.
    let work = move || {
        let whole = SplitConfig { language: config.language.clone(), max_chars: MAX_CHARS_LIMIT, min_chars: 1, ..SplitConfig::default() };
        SplitAnswer::of(split(&text, &whole), split(&text, &config))
    };
    tokio::task::spawn_blocking(work).await.map(Reply).map_err(Problem::internal)
}
