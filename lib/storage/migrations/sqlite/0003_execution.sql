-- Holds that end by themselves and circuits, endings that are refused or told to a webhook, dead letters in groups, bulk actions,
-- schedules, and the workers that are there.

-- A lane that is held is one whose limit is 0; one whose circuit is open may, once its time has come, start one job: the probe.
ALTER TABLE lanes ADD COLUMN circuit INTEGER NOT NULL DEFAULT 0;      -- 1: open while reopen_at says so, then it probes
ALTER TABLE lanes ADD COLUMN circuit_before INTEGER NOT NULL DEFAULT 0; -- before the batch of endings that was counted last
ALTER TABLE lanes ADD COLUMN streak INTEGER NOT NULL DEFAULT 0;       -- attempts that failed in a row, alike, with none done between
ALTER TABLE lanes ADD COLUMN streak_fingerprint TEXT;
ALTER TABLE lanes ADD COLUMN most INTEGER GENERATED ALWAYS AS (
  CASE WHEN reopen_at IS NOT NULL THEN 0 WHEN circuit = 1 THEN min(1, coalesce(concurrency, 1)) ELSE concurrency END) VIRTUAL;
CREATE INDEX lanes_reopen ON lanes (reopen_at) WHERE reopen_at IS NOT NULL;
CREATE INDEX lanes_circuit ON lanes (task_id) WHERE circuit = 1;

ALTER TABLE tasks ADD COLUMN reopen_at INTEGER;                       -- all its jobs wait until then; what is past holds nothing
ALTER TABLE tenants ADD COLUMN webhook_url TEXT;                      -- called when a job ends that names nothing else

-- A copy names its original by public id.
ALTER TABLE jobs DROP COLUMN copy_of;
ALTER TABLE jobs ADD COLUMN copy_of TEXT;
ALTER TABLE jobs ADD COLUMN overdue INTEGER NOT NULL DEFAULT 0;       -- 1: its worker was there when the time of the attempt was over
ALTER TABLE jobs ADD COLUMN webhook_told INTEGER NOT NULL DEFAULT 0;  -- 1: a job of its own tells the webhook of this ending
CREATE INDEX jobs_untold ON jobs (completed_at) WHERE webhook_url IS NOT NULL AND webhook_told = 0 AND completed_at IS NOT NULL;

-- What failed by what went wrong: all that a group says stands in the index.
UPDATE jobs SET fingerprint = CASE reason WHEN 'lease_lost' THEN 'lease_lost' ELSE 'unknown' END WHERE state > 4 AND state < 7;
CREATE INDEX jobs_groups ON jobs (fingerprint, id, lane_id, completed_at, reason) WHERE state > 4 AND state < 7;

-- The three places that compare with a lane's limit compare with what it is now.
DROP TRIGGER turns_left;
DROP TRIGGER turns_opened;
DROP TRIGGER turns_closed;
DROP TRIGGER turns_limited;

-- A claim took the lane's last job, or its own last slot: it leaves. (The claim itself takes those that stay to the new tag.)
CREATE TRIGGER turns_left AFTER UPDATE OF running ON lanes
WHEN NEW.running > OLD.running AND (NEW.ready = 0 OR NEW.running >= NEW.most)
BEGIN
  DELETE FROM turns WHERE task_id = NEW.task_id AND vt = NEW.turn_from AND lane_id = NEW.lane_id;
END;

-- A lane woke, a slot became free where there was none, or a hold ended: what may be claimed now comes in.
CREATE TRIGGER turns_opened AFTER UPDATE OF ready, running, concurrency, circuit, reopen_at ON lanes
WHEN OLD.ready = 0 AND NEW.ready > 0 OR NEW.most IS NOT OLD.most
  OR NEW.running < OLD.running AND (OLD.running >= NEW.most
    OR (SELECT concurrency FROM tenants WHERE tenant_id = NEW.lane_id >> 16) <= OLD.running - NEW.running + (
      SELECT sum(running) FROM lanes WHERE lane_id >= NEW.lane_id >> 16 << 16 AND lane_id < (NEW.lane_id >> 16) + 1 << 16))
BEGIN
  INSERT OR IGNORE INTO turns (task_id, vt, lane_id)
  SELECT l.task_id, t.tag, l.lane_id
  FROM (SELECT max(vt) AS tag, sum(running) AS running FROM lanes
    WHERE lane_id >= NEW.lane_id >> 16 << 16 AND lane_id < (NEW.lane_id >> 16) + 1 << 16) t
  CROSS JOIN lanes l ON l.lane_id >= NEW.lane_id >> 16 << 16 AND l.lane_id < (NEW.lane_id >> 16) + 1 << 16
  WHERE (SELECT paused = 0 AND start_rate_full = 0 AND concurrency > t.running FROM tenants WHERE tenant_id = NEW.lane_id >> 16)
    AND l.ready > 0 AND (l.most IS NULL OR l.running < l.most);
END;

-- A lane fell asleep other than by a claim, or has a limit now that it has reached, or a hold.
CREATE TRIGGER turns_closed AFTER UPDATE OF ready, concurrency, circuit, reopen_at ON lanes
WHEN OLD.ready > 0 AND NEW.ready = 0 AND NEW.running <= OLD.running OR NEW.running >= NEW.most AND NEW.most IS NOT OLD.most
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
    AND l.ready > 0 AND (l.most IS NULL OR l.running < l.most);
END;

-- One action on many jobs. Ticks carry it on: it walks its jobs from the newest, and remembers below which it has still to look.
CREATE TABLE bulk_actions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,        -- never given again: it is public
  tenant_id INTEGER,                           -- NULL: jobs of all tenants
  action TEXT NOT NULL,
  name TEXT,
  status TEXT NOT NULL,                        -- running, canary, done, stopped
  reason TEXT,
  filter TEXT, ids TEXT,                       -- JSON; one of both
  rate_per_s INTEGER, canary INTEGER, canary_ids TEXT NOT NULL DEFAULT '[]',
  cursor INTEGER,
  seen INTEGER NOT NULL DEFAULT 0, changed INTEGER NOT NULL DEFAULT 0, skipped INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, ended_at INTEGER,
  next_at INTEGER                              -- when it goes on; NULL: it has ended
) STRICT;
CREATE INDEX bulk_actions_due ON bulk_actions (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX bulk_actions_tenant ON bulk_actions (tenant_id, id);

CREATE TABLE schedules (
  id INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  task TEXT NOT NULL,
  payload TEXT NOT NULL,
  cron TEXT NOT NULL, timezone TEXT NOT NULL,
  missed TEXT NOT NULL, overlap TEXT NOT NULL,
  paused INTEGER NOT NULL,
  max_retries INTEGER NOT NULL,
  next_at INTEGER,                             -- the next slot; NULL: there is none
  last_at INTEGER, last_job_id INTEGER,
  created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
  UNIQUE (tenant_id, name)
) STRICT;
CREATE INDEX schedules_due ON schedules (next_at) WHERE paused = 0 AND next_at IS NOT NULL;

CREATE TABLE workers (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  tasks TEXT NOT NULL,                         -- JSON
  version TEXT NOT NULL,
  first_seen_at INTEGER NOT NULL, last_seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX workers_seen ON workers (last_seen_at);

UPDATE meta SET value = '3' WHERE name = 'schema';
