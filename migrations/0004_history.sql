-- History: full-text search, montages, and what deleting a generation asks. The rules of 0001 hold.

-- What a search looks in, folded (`storage/src/search.rs`): both databases have their own idea of lower case, and neither knows umlauts.
-- A table of its own, so that no other statement carries a second copy of the text. NULL: not folded yet, done when the database is opened.
CREATE TABLE generation_search (
    generation_id TEXT PRIMARY KEY REFERENCES generations (id) ON DELETE CASCADE,
    folded        TEXT
);
CREATE INDEX generation_search_open ON generation_search (generation_id) WHERE folded IS NULL;
INSERT INTO generation_search (generation_id) SELECT id FROM generations;

-- Every filter of the history is in the index: counting and paging touch no row that they don't return (`generations::list`, `count`).
CREATE INDEX generations_history ON generations (owner_id, id, status, kind, voice_id, created_at_ms);
DROP INDEX generations_by_owner;

CREATE TABLE montages (
    id            TEXT PRIMARY KEY,
    owner_id      TEXT NOT NULL,
    name          TEXT NOT NULL,
    description   TEXT,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL
);
CREATE INDEX montages_by_owner ON montages (owner_id, id);

-- In order of place, then of id. No reference to montages: accepting a generation into one must not wait for a change of it.
CREATE TABLE montage_items (
    montage_id    TEXT NOT NULL,
    generation_id TEXT NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
    place         BIGINT NOT NULL,
    PRIMARY KEY (montage_id, generation_id)
);
CREATE INDEX montage_items_by_generation ON montage_items (generation_id);

-- A deleted generation takes its text out of the answers that are kept (`idempotency::forget_answers`).
CREATE INDEX idempotency_by_job ON idempotency (job_id) WHERE job_id IS NOT NULL;
