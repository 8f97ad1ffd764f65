-- What a job without a generation has finished of its work: another run goes on behind it. Goes with the job, or when the job is done.
CREATE TABLE job_parts (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    -- From 0, in order.
    part   BIGINT NOT NULL,
    -- JSON, as the kind of job has it.
    body   TEXT NOT NULL,
    PRIMARY KEY (job_id, part)
);
