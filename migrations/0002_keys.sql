-- Keys that come from keys: rotation, use, who did what to which, what is left of their limits, and one-time tickets.

ALTER TABLE api_keys ADD COLUMN previous_sha256 TEXT;
ALTER TABLE api_keys ADD COLUMN previous_until_ms BIGINT;
ALTER TABLE api_keys ADD COLUMN rotated_at_ms BIGINT;
ALTER TABLE api_keys ADD COLUMN requests BIGINT NOT NULL DEFAULT 0;
-- For the walk down from a key (api_keys::subtree).
CREATE INDEX api_keys_by_parent ON api_keys (parent_id);

CREATE TABLE key_audit (
    -- UUIDv7: in the order of time.
    id           TEXT PRIMARY KEY,
    at_ms        BIGINT NOT NULL,
    action       TEXT NOT NULL,
    key_id       TEXT,
    -- Absent: done on the command line, or by somebody without a key.
    actor_key_id TEXT,
    address      TEXT,
    detail       TEXT NOT NULL
);
-- For pruning (audit::add).
CREATE INDEX key_audit_by_time ON key_audit (at_ms);

-- One row for each bucket that is not full: when its calls would all have been paid for, in epoch microseconds (rate_buckets::draw).
CREATE TABLE rate_buckets (
    key_id     TEXT NOT NULL,
    scope      TEXT NOT NULL,
    light      BIGINT NOT NULL,
    arrival_us BIGINT NOT NULL,
    PRIMARY KEY (key_id, scope, light)
);

CREATE TABLE ws_tickets (
    ticket_sha256 TEXT PRIMARY KEY,
    key_id        TEXT NOT NULL,
    -- Of the key's secret that asked for the ticket: it dies with that one.
    secret_sha256 TEXT NOT NULL,
    expires_at_ms BIGINT NOT NULL
);
