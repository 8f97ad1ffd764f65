-- Voices that were made here, what they were made from, and how people put them in order. Presets have no rows.

CREATE TABLE categories (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    -- The name as it is compared: trimmed and in lower case. SQLite's LOWER knows ASCII only, so we do it.
    name_key      TEXT NOT NULL UNIQUE,
    color         TEXT,
    created_at_ms BIGINT NOT NULL
);

CREATE TABLE voices (
    id                 TEXT PRIMARY KEY,
    owner_id           TEXT NOT NULL,
    private            BIGINT NOT NULL,
    kind               TEXT NOT NULL,
    name               TEXT NOT NULL,
    name_key           TEXT NOT NULL,
    -- Lower-case hex of what a list is sorted by: every collation of Postgres leaves its order alone.
    sort_name          TEXT NOT NULL,
    sort_language      TEXT NOT NULL,
    -- All that a search looks at, in lower case.
    search_text        TEXT NOT NULL,
    description        TEXT NOT NULL,
    language           TEXT NOT NULL,
    gender             TEXT NOT NULL,
    category_id        TEXT REFERENCES categories (id) ON DELETE SET NULL,
    tags               TEXT NOT NULL,
    color              TEXT,
    settings           TEXT NOT NULL,
    revision           BIGINT NOT NULL,
    -- JSON, one entry for each engine and model; NULL until something was made of the samples.
    profiles           TEXT,
    preview_id         TEXT,
    preview_sha256     TEXT,
    preview_size_bytes BIGINT,
    consent            TEXT,
    created_at_ms      BIGINT NOT NULL,
    updated_at_ms      BIGINT NOT NULL
);
-- The three orders of `voices::list`.
CREATE INDEX voices_by_name ON voices (sort_name, id);
CREATE INDEX voices_by_language ON voices (sort_language, id);
CREATE INDEX voices_by_age ON voices (created_at_ms, id);
-- `voices::find_named`.
CREATE INDEX voices_by_name_key ON voices (name_key, id);
CREATE INDEX voices_by_category ON voices (category_id) WHERE category_id IS NOT NULL;

CREATE TABLE voice_samples (
    voice_id    TEXT NOT NULL REFERENCES voices (id) ON DELETE CASCADE,
    id          TEXT NOT NULL,
    idx         BIGINT NOT NULL,
    sha256      TEXT NOT NULL,
    size_bytes  BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    transcript  TEXT,
    -- The part of the recording that counts; all of it where NULL.
    start_ms    BIGINT,
    end_ms      BIGINT,
    weight      DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (voice_id, idx)
);

-- Of presets too, which have no row in voices.
CREATE TABLE favorites (
    owner_id      TEXT NOT NULL,
    voice_id      TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (owner_id, voice_id)
);
CREATE INDEX favorites_by_voice ON favorites (voice_id);
