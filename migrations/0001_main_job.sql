-- One text for SQLite and Postgres. Four rules keep it so: only TEXT, BIGINT, DOUBLE PRECISION and (where needed) bytes;
-- times are epoch milliseconds; booleans are 0 and 1; JSON is TEXT.

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
-- The number of the newest event. A row instead of a sequence: a sequence hands out numbers before the commit, and a reader with a
-- cursor would then skip an event whose transaction commits late.
INSERT INTO counters (name, value) VALUES ('event_seq', 0);

CREATE TABLE api_keys (
    id              TEXT PRIMARY KEY,
    owner_id        TEXT NOT NULL,
    parent_id       TEXT,
    name            TEXT NOT NULL,
    secret_sha256   TEXT NOT NULL,
    scopes          TEXT NOT NULL,
    limits          TEXT NOT NULL,
    created_at_ms   BIGINT NOT NULL,
    expires_at_ms   BIGINT,
    revoked_at_ms   BIGINT,
    last_used_at_ms BIGINT
);

CREATE TABLE generations (
    id               TEXT PRIMARY KEY,
    owner_id         TEXT NOT NULL,
    kind             TEXT NOT NULL,
    status           TEXT NOT NULL,
    title            TEXT,
    text             TEXT NOT NULL,
    voice_id         TEXT,
    voice_name       TEXT,
    language         TEXT NOT NULL,
    params           TEXT NOT NULL,
    voices           TEXT NOT NULL,
    metadata         TEXT,
    priority         BIGINT NOT NULL,
    chunks_total     BIGINT NOT NULL,
    chunks_done      BIGINT NOT NULL,
    attempt          BIGINT NOT NULL,
    cancel_requested BIGINT NOT NULL,
    error            TEXT,
    result           TEXT,
    created_at_ms    BIGINT NOT NULL,
    started_at_ms    BIGINT,
    finished_at_ms   BIGINT,
    traceparent      TEXT,
    tracestate       TEXT
);
CREATE INDEX generations_by_owner ON generations (owner_id, id);
CREATE INDEX generations_open ON generations (status, id) WHERE status IN ('queued', 'running', 'merging', 'interrupted');

-- The unit of durability: one take of one chunk.
CREATE TABLE chunks (
    generation_id  TEXT NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
    idx            BIGINT NOT NULL,
    take           BIGINT NOT NULL,
    text           TEXT NOT NULL,
    voice_id       TEXT NOT NULL,
    language       TEXT NOT NULL,
    spec           TEXT NOT NULL,
    params_hash    TEXT NOT NULL,
    status         TEXT NOT NULL,
    attempt        BIGINT NOT NULL,
    sha256         TEXT,
    size_bytes     BIGINT,
    sample_count   BIGINT,
    duration_ms    BIGINT,
    words          TEXT,
    rtf            DOUBLE PRECISION,
    cached         BIGINT NOT NULL,
    suspect        BIGINT NOT NULL,
    error          TEXT,
    finished_at_ms BIGINT,
    PRIMARY KEY (generation_id, idx, take)
);
CREATE INDEX chunks_by_params ON chunks (params_hash) WHERE status = 'completed';

-- Merged files of a generation; the newest is its audio.
CREATE TABLE renders (
    id            TEXT PRIMARY KEY,
    generation_id TEXT NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
    params        TEXT NOT NULL,
    content_type  TEXT NOT NULL,
    sha256        TEXT NOT NULL,
    size_bytes    BIGINT NOT NULL,
    duration_ms   BIGINT NOT NULL,
    report        TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL
);
CREATE INDEX renders_by_generation ON renders (generation_id, id);

CREATE TABLE jobs (
    id               TEXT PRIMARY KEY,
    kind             TEXT NOT NULL,
    queue            TEXT NOT NULL,
    state            TEXT NOT NULL,
    priority         BIGINT NOT NULL,
    owner_id         TEXT NOT NULL,
    generation_id    TEXT,
    turn             BIGINT NOT NULL,
    payload          TEXT NOT NULL,
    result           TEXT,
    error            TEXT,
    attempt          BIGINT NOT NULL,
    attempts_max     BIGINT NOT NULL,
    crashes          BIGINT NOT NULL,
    run_at_ms        BIGINT NOT NULL,
    lease_no         BIGINT NOT NULL,
    lease_owner      TEXT,
    lease_until_ms   BIGINT,
    cancel_requested BIGINT NOT NULL,
    dedupe_key       TEXT,
    traceparent      TEXT,
    tracestate       TEXT,
    created_at_ms    BIGINT NOT NULL,
    started_at_ms    BIGINT,
    finished_at_ms   BIGINT
);
-- Each partial index answers one question of the protocol in O(log n): what is next, what is due, what is leased, what is alike.
CREATE INDEX jobs_ready ON jobs (queue, priority, owner_id, turn, id) WHERE state = 'queued';
CREATE INDEX jobs_due ON jobs (run_at_ms) WHERE state = 'scheduled';
CREATE INDEX jobs_leased ON jobs (lease_owner, lease_until_ms) WHERE state = 'running';
CREATE INDEX jobs_by_generation ON jobs (generation_id, state);
CREATE UNIQUE INDEX jobs_dedupe ON jobs (dedupe_key) WHERE dedupe_key IS NOT NULL AND state IN ('scheduled', 'queued', 'running');

-- One lane for each queue, priority and owner: who was served when, and how far the lane's virtual time has come.
CREATE TABLE lanes (
    queue        TEXT NOT NULL,
    priority     BIGINT NOT NULL,
    owner_id     TEXT NOT NULL,
    served_no    BIGINT NOT NULL,
    served_at_ms BIGINT NOT NULL,
    turn         BIGINT NOT NULL,
    PRIMARY KEY (queue, priority, owner_id)
);

-- Append-only. Written in the transaction of the state change it tells.
CREATE TABLE events (
    seq           BIGINT PRIMARY KEY,
    owner_id      TEXT NOT NULL,
    generation_id TEXT,
    type          TEXT NOT NULL,
    data          TEXT NOT NULL,
    at_ms         BIGINT NOT NULL
);
CREATE INDEX events_by_owner ON events (owner_id, seq);

-- A queue in this table gives out no jobs.
CREATE TABLE paused_queues (
    queue        TEXT PRIMARY KEY,
    paused_at_ms BIGINT NOT NULL
);

-- Idempotency-Key: what was asked under a key, and what was answered. The row of a submission is written in the transaction that accepts it.
CREATE TABLE idempotency (
    api_key_id    TEXT NOT NULL,
    idem_key      TEXT NOT NULL,
    request_hash  TEXT NOT NULL,
    process       TEXT NOT NULL,
    job_id        TEXT,
    status        BIGINT,
    answer        TEXT,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (api_key_id, idem_key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at_ms);
