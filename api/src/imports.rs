//! Archives that were looked at and are kept for a while, for the request that imports them. They live in this process and its temporary
//! folder: a restart forgets them, and another node does not know them. They count against their owner's temporary bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::app::App;
use crate::archive::ArchiveContents;
use crate::upload::Upload;

pub const KEPT_MS: u64 = 15 * 60 * 1_000;
/// Of one owner; the oldest goes for a new one.
const KEPT_MAX: usize = 8;

#[derive(Debug)]
pub struct Pending {
    pub owner_id: String,
    /// Its only file is the archive.
    pub upload: Arc<Upload>,
    pub contents: ArchiveContents,
    pub expires_at_ms: i64,
}

#[derive(Debug, Default)]
pub struct Imports(Mutex<HashMap<Uuid, Arc<Pending>>>);

impl Imports {
    fn insert(&self, id: Uuid, pending: Pending) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |kept: &HashMap<Uuid, Arc<Pending>>| {
            // Ids are UUIDv7: the smallest is the oldest.
            let ids = kept.iter().filter(|(_, other)| other.owner_id == pending.owner_id).map(|(id, _)| *id);
            (ids.clone().count(), ids.min())
        };
        while let (KEPT_MAX.., Some(oldest)) = own(&kept) {
            kept.remove(&oldest);
        }
        kept.insert(id, Arc::new(pending));
    }

    /// `None` for another owner's, too.
    pub fn find(&self, owner_id: &str, id: Uuid, now_ms: i64) -> Option<Arc<Pending>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&id).filter(|pending| pending.owner_id == owner_id && pending.expires_at_ms > now_ms).cloned()
    }

    pub fn remove(&self, id: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// Keeps an archive for [`KEPT_MS`].
pub fn keep(app: &App, pending: Pending) -> Uuid {
    let id = Uuid::now_v7();
    app.imports.insert(id, pending);
    let app = app.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = app.clock.sleep(KEPT_MS) => {}
            () = app.stopping.cancelled() => {}
        }
        app.imports.remove(id);
    });
    id
}
