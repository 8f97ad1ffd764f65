//! The audio of one chunk, as soon as it is made.

use audio::wav::Tags;
use jobs::format::{AudioFormat, convert_chunk, tags_of};
use salvo::oapi::extract::PathParam;
use salvo::oapi::{Components, EndpointOutRegister, Operation, endpoint};
use salvo::{Depot, Request, Response, Writer, async_trait};
use storage::chunks::{self, Chunk, ChunkAudio, ChunkId, ChunkStatus};
use storage::generations::Generation;
use storage::{BlobKey, StorageError};
use uuid::Uuid;

use super::{not_found, parse_id};
use crate::answer::Accepted;
use crate::app::App;
use crate::authenticate::Caller;
use crate::file_answer::{self, FileAnswer};
use crate::file_name::content_disposition;
use crate::problem::{Code, Problem};
use crate::query_string::Query;
use crate::wire::chunk::{ChunkQuery, ChunkState};
use crate::wire::generation::format_of;

/// The chunk's file, or its state while there is none.
#[derive(Debug)]
pub enum FileOrState {
    File(FileAnswer),
    NotReady(Accepted<ChunkState>),
}

#[async_trait]
impl Writer for FileOrState {
    async fn write(self, req: &mut Request, depot: &mut Depot, res: &mut Response) {
        match self {
            Self::File(file) => file.write(req, depot, res).await,
            Self::NotReady(accepted) => res.render(accepted),
        }
    }
}

impl EndpointOutRegister for FileOrState {
    fn register(components: &mut Components, operation: &mut Operation) {
        Accepted::<ChunkState>::register(components, operation);
        file_answer::document_audio(operation);
    }
}

/// Retrieve generated audio chunk
///
/// 202 with `Retry-After` while it is not made yet; 410 when it is no longer kept.
#[endpoint(operation_id = "get_chunk_audio")]
pub async fn get_chunk_audio(
    app: App,
    caller: Caller,
    task_id: PathParam<String>,
    index: PathParam<String>,
    query: Query<ChunkQuery>,
) -> Result<FileOrState, Problem> {
    let wanted = format_of(query.0.format.as_deref())?.unwrap_or(AudioFormat::Wav);
    let id = parse_id(&task_id, Code::TaskNotFound, "task")?;
    let generation = app.jobs.generation(&caller.owner_id, id).await?.ok_or_else(|| not_found(Code::TaskNotFound, "task"))?;
    let none = || Problem::new(Code::ChunkNotFound, "the task has no chunk with this index and take");
    let index: u32 = index.parse().map_err(|_| none())?;
    let chunk = match query.0.take {
        Some(take) => chunks::find(app.storage.rows.read(), ChunkId { generation_id: id, index, take }).await?,
        None => newest_finished(&app, id, index).await?,
    };
    let chunk = chunk.ok_or_else(none)?;
    match (&chunk.audio, chunk.status) {
        (Some(audio), _) => file_of(&app, &generation, chunk.id, audio, wanted).await.map(FileOrState::File),
        (None, ChunkStatus::Queued) => Ok(FileOrState::NotReady(not_ready(&chunk))),
        (None, status) => Err(Problem::new(Code::AudioNotFound, format!("the chunk is {status}"))),
    }
}

async fn file_of(app: &App, generation: &Generation, id: ChunkId, audio: &ChunkAudio, wanted: AudioFormat) -> Result<FileAnswer, Problem> {
    let ChunkId { generation_id, index, take } = id;
    let title = generation.title.as_ref().map(|title| format!("{title} {:04}", index + 1));
    let disposition = content_disposition(title.as_deref(), &format!("chunk-{generation_id}-{index}"), wanted.name());
    let key = BlobKey::Chunk { generation_id, index, take };
    if wanted == AudioFormat::Wav {
        return Ok(FileAnswer::blob(key, &audio.blob.sha256, audio.blob.size_bytes, wanted.content_type(), disposition));
    }
    let wav = app.storage.blobs.get(key).await?;
    let tags = Tags { title, ..tags_of(generation) };
    let converting = tokio::task::spawn_blocking(move || convert_chunk(wav, wanted, tags));
    let bytes = converting.await.map_err(Problem::internal)??;
    Ok(FileAnswer::bytes(bytes, wanted.content_type(), disposition))
}

/// The file of a take that is known to be finished.
pub(super) async fn finished(app: &App, caller: &Caller, id: ChunkId) -> Result<FileAnswer, Problem> {
    let generation = app.jobs.generation(&caller.owner_id, id.generation_id).await?;
    let generation = generation.ok_or_else(|| not_found(Code::TaskNotFound, "task"))?;
    let chunk = chunks::find(app.storage.rows.read(), id).await?;
    let audio = chunk.and_then(|chunk| chunk.audio).ok_or_else(|| Problem::new(Code::AudioNotFound, "the take is no longer kept"))?;
    file_of(app, &generation, id, &audio, AudioFormat::Wav).await
}

fn not_ready(chunk: &Chunk) -> Accepted<ChunkState> {
    let ChunkId { generation_id, index, take } = chunk.id;
    let body = ChunkState { task_id: generation_id.to_string(), index, take, status: chunk.status.to_string() };
    Accepted { body, location: format!("/api/jobs/{generation_id}"), retry_after_s: Some(1) }
}

/// The newest take that is finished; while none is, the newest.
async fn newest_finished(app: &App, generation_id: Uuid, index: u32) -> Result<Option<Chunk>, StorageError> {
    let newest = chunks::find_newest(app.storage.rows.read(), generation_id, index).await?;
    let mut candidate = newest.clone();
    while let Some(chunk) = candidate {
        if chunk.audio.is_some() {
            return Ok(Some(chunk));
        }
        if chunk.id.take <= 1 {
            break;
        }
        candidate = chunks::find(app.storage.rows.read(), ChunkId { take: chunk.id.take - 1, ..chunk.id }).await?;
    }
    Ok(newest)
}
