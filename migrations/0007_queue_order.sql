-- The place in the queue is counted in the index, for every answer to an accept (`generations::push_ahead`, `queue_position`). The rules of
-- 0001 hold.
CREATE INDEX generations_waiting ON generations (status, priority, id) WHERE status IN ('queued', 'running', 'merging', 'interrupted');
DROP INDEX generations_open;
