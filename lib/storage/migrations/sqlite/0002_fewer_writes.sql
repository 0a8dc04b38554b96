-- Fewer rows written per job: on D1 each of them, and each index entry, is paid for; on a disk each takes time.
--
-- Before, a job that moved wrote its lane, its tenant, its task and the queue, and a claim wrote every ready lane of the tenant twice
-- more (the row, and its entry in an index). Now a verb writes each lane that it touches once, and the queue once. What is true of a
-- tenant is the sum of its lanes: they are one range of the primary key, and reading a row costs a thousandth of writing one.

DROP TRIGGER lanes_counted;
DROP TRIGGER lanes_limited;
DROP TRIGGER lanes_woken;
DROP TRIGGER tenants_counted;
DROP TRIGGER tenants_scheduled;
DROP TRIGGER jobs_key_passed;

-- A tenant's tag is the greatest vt of its lanes. A claim writes it to the lanes that it takes from; the others are behind.
UPDATE lanes SET vt = t.vt FROM tenants t WHERE t.tenant_id = lanes.lane_id >> 16;
ALTER TABLE lanes ADD COLUMN turn_from INTEGER NOT NULL DEFAULT 0; -- the tenant's tag before the turns that the lane had last
ALTER TABLE lanes ADD COLUMN slots_left INTEGER NOT NULL DEFAULT 0; -- of the tenant's, after those turns

-- The tag of the latest turn in a claim that asked for the task, for each task: {"task_id": tag}. In the row that a claim writes anyway.
ALTER TABLE queue ADD COLUMN virtual_now TEXT NOT NULL DEFAULT '{}';
UPDATE queue SET virtual_now = (SELECT json_group_object(CAST(task_id AS TEXT), virtual_now) FROM tasks);
ALTER TABLE tasks DROP COLUMN virtual_now;

-- What a tenant may, and nothing of what it does: its row is written by operators alone.
CREATE TABLE tenants_2 (
  tenant_id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  concurrency INTEGER NOT NULL,                -- most jobs running at once; exact
  backlog INTEGER NOT NULL,                    -- most jobs waiting; a submit beyond it is refused
  own_concurrency INTEGER NOT NULL DEFAULT 0,  -- 1: set for this tenant, a new default leaves it alone
  own_backlog INTEGER NOT NULL DEFAULT 0,
  step INTEGER NOT NULL DEFAULT 1000000,       -- 1,000,000 / weight: what one turn adds to the tag
  paused INTEGER NOT NULL DEFAULT 0,
  start_rate_full INTEGER NOT NULL DEFAULT 0,
  reopen_at INTEGER,                           -- when a hold that ends by itself ends
  keep_done_ms INTEGER, keep_dead_ms INTEGER   -- own retention; NULL: the configured one
) STRICT;
INSERT INTO tenants_2 SELECT tenant_id, name, concurrency, backlog, own_concurrency, own_backlog, step, paused, start_rate_full, reopen_at,
  keep_done_ms, keep_dead_ms FROM tenants;
DROP TABLE tenants;
ALTER TABLE tenants_2 RENAME TO tenants;

-- What the claim walks: every lane that has ready jobs and is not held, by its tenant's tag. A tenant or a lane at its limit, or paused,
-- is not in it and costs nothing. One row for each such lane, and no index: to move it is to write it once.
CREATE TABLE turns (
  task_id INTEGER NOT NULL, vt INTEGER NOT NULL, lane_id INTEGER NOT NULL, PRIMARY KEY (task_id, vt, lane_id)
) STRICT, WITHOUT ROWID;
DROP INDEX lanes_claimable;
ALTER TABLE lanes DROP COLUMN held;
INSERT INTO turns (task_id, vt, lane_id)
SELECT l.task_id, (SELECT max(vt) FROM lanes WHERE lane_id >= t.tenant_id << 16 AND lane_id < t.tenant_id + 1 << 16), l.lane_id
FROM lanes l JOIN tenants t ON t.tenant_id = l.lane_id >> 16
WHERE l.ready > 0 AND (l.concurrency IS NULL OR l.running < l.concurrency) AND t.paused = 0 AND t.start_rate_full = 0
  AND t.concurrency > (SELECT sum(running) FROM lanes WHERE lane_id >= t.tenant_id << 16 AND lane_id < t.tenant_id + 1 << 16);

-- A claim took the lane's last job, or its own last slot: it leaves. (The claim itself takes those that stay to the new tag.)
CREATE TRIGGER turns_left AFTER UPDATE OF running ON lanes
WHEN NEW.running > OLD.running AND (NEW.ready = 0 OR NEW.running >= NEW.concurrency)
BEGIN
  DELETE FROM turns WHERE task_id = NEW.task_id AND vt = NEW.turn_from AND lane_id = NEW.lane_id;
END;

-- A claim took the tenant's last slot: all of its lanes leave.
CREATE TRIGGER turns_spent AFTER UPDATE OF running ON lanes
WHEN NEW.running > OLD.running AND NEW.slots_left <= 0
BEGIN
  DELETE FROM turns WHERE (task_id, vt, lane_id) IN (SELECT task_id, NEW.turn_from, lane_id FROM lanes
    WHERE lane_id >= NEW.lane_id >> 16 << 16 AND lane_id < (NEW.lane_id >> 16) + 1 << 16);
END;

-- A lane woke, or a slot became free where there was none: what may be claimed now comes in.
CREATE TRIGGER turns_opened AFTER UPDATE OF ready, running, concurrency ON lanes
WHEN OLD.ready = 0 AND NEW.ready > 0 OR NEW.concurrency IS NOT OLD.concurrency
  OR NEW.running < OLD.running AND (OLD.running >= NEW.concurrency
    OR (SELECT concurrency FROM tenants WHERE tenant_id = NEW.lane_id >> 16) <= OLD.running - NEW.running + (
      SELECT sum(running) FROM lanes WHERE lane_id >= NEW.lane_id >> 16 << 16 AND lane_id < (NEW.lane_id >> 16) + 1 << 16))
BEGIN
  INSERT OR IGNORE INTO turns (task_id, vt, lane_id)
  SELECT l.task_id, t.tag, l.lane_id
  FROM (SELECT max(vt) AS tag, sum(running) AS running FROM lanes
    WHERE lane_id >= NEW.lane_id >> 16 << 16 AND lane_id < (NEW.lane_id >> 16) + 1 << 16) t
  CROSS JOIN lanes l ON l.lane_id >= NEW.lane_id >> 16 << 16 AND l.lane_id < (NEW.lane_id >> 16) + 1 << 16
  WHERE (SELECT paused = 0 AND start_rate_full = 0 AND concurrency > t.running FROM tenants WHERE tenant_id = NEW.lane_id >> 16)
    AND l.ready > 0 AND (l.concurrency IS NULL OR l.running < l.concurrency);
END;

-- A lane fell asleep other than by a claim, or has a limit now that it has reached.
CREATE TRIGGER turns_closed AFTER UPDATE OF ready, concurrency ON lanes
WHEN OLD.ready > 0 AND NEW.ready = 0 AND NEW.running <= OLD.running OR NEW.running >= NEW.concurrency AND NEW.concurrency IS NOT OLD.concurrency
BEGIN
  DELETE FROM turns WHERE task_id = NEW.task_id AND lane_id = NEW.lane_id
    AND vt = (SELECT max(vt) FROM lanes WHERE lane_id >= NEW.lane_id >> 16 << 16 AND lane_id < (NEW.lane_id >> 16) + 1 << 16);
END;

-- A tenant was given other limits.
CREATE TRIGGER turns_limited AFTER UPDATE OF concurrency, paused, start_rate_full ON tenants
BEGIN
  DELETE FROM turns WHERE (task_id, vt, lane_id) IN (
    SELECT l.task_id, t.tag, l.lane_id
    FROM (SELECT max(vt) AS tag, sum(running) AS running FROM lanes
      WHERE lane_id >= NEW.tenant_id << 16 AND lane_id < NEW.tenant_id + 1 << 16) t
    CROSS JOIN lanes l ON l.lane_id >= NEW.tenant_id << 16 AND l.lane_id < NEW.tenant_id + 1 << 16
    WHERE NEW.paused <> 0 OR NEW.start_rate_full <> 0 OR t.running >= NEW.concurrency);
  INSERT OR IGNORE INTO turns (task_id, vt, lane_id)
  SELECT l.task_id, t.tag, l.lane_id
  FROM (SELECT max(vt) AS tag, sum(running) AS running FROM lanes
    WHERE lane_id >= NEW.tenant_id << 16 AND lane_id < NEW.tenant_id + 1 << 16) t
  CROSS JOIN lanes l ON l.lane_id >= NEW.tenant_id << 16 AND l.lane_id < NEW.tenant_id + 1 << 16
  WHERE NEW.paused = 0 AND NEW.start_rate_full = 0 AND t.running < NEW.concurrency
    AND l.ready > 0 AND (l.concurrency IS NULL OR l.running < l.concurrency);
END;

-- A task is counted while it has a limit; it is recounted when it gets one.
CREATE TRIGGER tasks_counted AFTER UPDATE OF running ON lanes
WHEN NEW.running <> OLD.running AND (SELECT concurrency FROM tasks WHERE task_id = NEW.task_id) IS NOT NULL
BEGIN
  UPDATE tasks SET running = running + NEW.running - OLD.running WHERE task_id = NEW.task_id;
END;

-- A job that ends hands its key to the next in line that is not too late to start: that one is only waiting to be cancelled.
CREATE TRIGGER jobs_key_passed AFTER UPDATE OF state ON jobs
WHEN NEW.queue_key IS NOT NULL AND OLD.state > 0 AND OLD.state < 4 AND NEW.state > 3
BEGIN
  UPDATE queue SET blocked = blocked - 1, ready = ready + (n.run_at <= NEW.completed_at), delayed = delayed + (n.run_at > NEW.completed_at)
  FROM (SELECT run_at FROM jobs WHERE tenant_id = NEW.tenant_id AND queue_key = NEW.queue_key AND state = 0
    AND (start_by IS NULL OR start_by > NEW.completed_at) ORDER BY ord LIMIT 1) n;
  UPDATE lanes SET blocked = blocked - 1,
    ready = ready + (n.run_at <= NEW.completed_at), delayed = delayed + (n.run_at > NEW.completed_at),
    next_due = CASE WHEN n.run_at > NEW.completed_at THEN min(coalesce(next_due, n.run_at), n.run_at) ELSE next_due END
  FROM (SELECT lane_id, run_at FROM jobs WHERE tenant_id = NEW.tenant_id AND queue_key = NEW.queue_key AND state = 0
    AND (start_by IS NULL OR start_by > NEW.completed_at) ORDER BY ord LIMIT 1) n
  WHERE lanes.lane_id = n.lane_id;
  UPDATE jobs SET state = CASE WHEN run_at > NEW.completed_at THEN 1 ELSE 2 END
  WHERE id = (SELECT id FROM jobs WHERE tenant_id = NEW.tenant_id AND queue_key = NEW.queue_key AND state = 0
    AND (start_by IS NULL OR start_by > NEW.completed_at) ORDER BY ord LIMIT 1);
END;

UPDATE meta SET value = '2' WHERE name = 'schema';
