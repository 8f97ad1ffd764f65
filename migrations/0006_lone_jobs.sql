-- Jobs without a generation (cloning, design, previews, downloads), and what they make of voices.

-- How far such a job is; a generation's jobs leave it empty.
ALTER TABLE jobs ADD COLUMN stage TEXT;
ALTER TABLE jobs ADD COLUMN progress DOUBLE PRECISION;
-- `lone_jobs::list` and `lone_jobs::count`.
CREATE INDEX jobs_lone ON jobs (owner_id, id) WHERE generation_id IS NULL;

-- The job that makes the voice; NULL once it is made.
ALTER TABLE voices ADD COLUMN job_id TEXT;
-- `voices::unmade_without_job`.
CREATE INDEX voices_by_job ON voices (job_id) WHERE job_id IS NOT NULL;

-- A few words in a voice. Those of a designed voice hold what it becomes when they are picked.
CREATE TABLE voice_previews (
    id            TEXT PRIMARY KEY,
    -- Of a preset, which has no row: an id made from its name.
    voice_id      TEXT NOT NULL,
    -- Equal ones are made once.
    params_hash   TEXT NOT NULL,
    text          TEXT NOT NULL,
    language      TEXT NOT NULL,
    profiles      TEXT,
    seed          BIGINT,
    sha256        TEXT NOT NULL,
    size_bytes    BIGINT NOT NULL,
    duration_ms   BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX voice_previews_alike ON voice_previews (voice_id, params_hash);
