-- Timelines: where the pieces of a generation stand, and what was laid beside them.

-- A layout that was saved; without a row the layout is made from the chunks. The revision rises at every save.
CREATE TABLE timelines (
    generation_id TEXT PRIMARY KEY REFERENCES generations (id) ON DELETE CASCADE,
    revision      BIGINT NOT NULL,
    layout        TEXT NOT NULL,
    updated_at_ms BIGINT NOT NULL
);

-- Sound, films and pictures that were brought into a timeline.
CREATE TABLE media (
    id            TEXT PRIMARY KEY,
    generation_id TEXT NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
    kind          TEXT NOT NULL,
    name          TEXT NOT NULL,
    content_type  TEXT NOT NULL,
    sha256        TEXT NOT NULL,
    size_bytes    BIGINT NOT NULL,
    audio_sha256  TEXT,
    audio_bytes   BIGINT,
    duration_ms   BIGINT NOT NULL,
    width         BIGINT,
    height        BIGINT,
    fps           DOUBLE PRECISION,
    created_at_ms BIGINT NOT NULL
);
CREATE INDEX media_by_generation ON media (generation_id, id);

-- What a render is: the generation's audio, or its timeline's.
ALTER TABLE renders ADD COLUMN kind TEXT NOT NULL DEFAULT 'chunks';
