-- The whole store: one queue, its tenants, their lanes, and the jobs in them. SQLite and Cloudflare D1 run this same text.
--
-- jobs.state: 0 blocked (another job has its key) · 1 delayed · 2 ready · 3 running · 4 done · 5 failed · 6 dead letter · 7 cancelled:
-- below 3 a job waits, above 3 it has ended.
-- Times are integer epoch milliseconds, handed in by the caller: no statement reads a clock.
--
-- Counters flow upward. A verb moves jobs and adds the moves to their lanes, in one batch; triggers carry the rest to the
-- tenant, to the queue, and back down to the tenant's ready lanes, so no verb can forget to.

-- What is true of the queue as a whole, in one row: metrics cost the same with ten tenants and ten million.
CREATE TABLE queue (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  version INTEGER NOT NULL DEFAULT 0,          -- moves with every change: an open page asks for this alone
  last_job_id INTEGER NOT NULL DEFAULT 0,
  submitted INTEGER NOT NULL DEFAULT 0,        -- jobs that ever came in (retried ones again); never falls
  finished INTEGER NOT NULL DEFAULT 0,         -- jobs that ever ended; never falls
  active_tenants INTEGER NOT NULL DEFAULT 0,   -- tenants with a job that has not ended
  ready INTEGER NOT NULL DEFAULT 0, delayed INTEGER NOT NULL DEFAULT 0, blocked INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO queue (one) VALUES (1);

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE tenants (
  tenant_id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  concurrency INTEGER NOT NULL,                -- most jobs running at once; exact
  backlog INTEGER NOT NULL,                    -- most jobs waiting; a submit beyond it is refused
  own_concurrency INTEGER NOT NULL DEFAULT 0,  -- 1: set for this tenant, a new default leaves it alone
  own_backlog INTEGER NOT NULL DEFAULT 0,
  step INTEGER NOT NULL DEFAULT 1000000,       -- 1,000,000 / weight: what one service adds to the tag
  vt INTEGER NOT NULL DEFAULT 0,               -- virtual time: the smallest tag is served next
  paused INTEGER NOT NULL DEFAULT 0,
  start_rate_full INTEGER NOT NULL DEFAULT 0,
  reopen_at INTEGER,                           -- when a hold that ends by itself ends
  keep_done_ms INTEGER, keep_dead_ms INTEGER,  -- own retention; NULL: the configured one
  ready INTEGER NOT NULL DEFAULT 0, delayed INTEGER NOT NULL DEFAULT 0, blocked INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0,
  held INTEGER GENERATED ALWAYS AS ((running >= concurrency) | (paused << 1) | (start_rate_full << 2)) VIRTUAL,
  waiting INTEGER GENERATED ALWAYS AS (ready + delayed + blocked) VIRTUAL,
  CHECK (ready >= 0 AND delayed >= 0 AND blocked >= 0 AND running >= 0)
) STRICT;

-- A held task is left out of what a claim asks for: one row, whatever the number of tenants.
CREATE TABLE tasks (
  task_id INTEGER PRIMARY KEY CHECK (task_id BETWEEN 1 AND 65535),
  name TEXT NOT NULL UNIQUE,
  concurrency INTEGER,
  paused INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0 CHECK (running >= 0),
  virtual_now INTEGER NOT NULL DEFAULT 0       -- tag of the latest turn in a claim that asked for it: a tenant that wakes begins here
) STRICT;

-- One tenant's jobs of one task: what the claim chooses between. lane_id = tenant_id << 16 | task_id, so a tenant's lanes are one range.
-- vt and the first bit of held are copies of the tenant's, kept true while the lane has ready jobs (trigger tenants_scheduled).
CREATE TABLE lanes (
  lane_id INTEGER PRIMARY KEY,
  task_id INTEGER NOT NULL,
  concurrency INTEGER,                         -- most running of this tenant and task; NULL: only the tenant's limit counts
  held INTEGER NOT NULL DEFAULT 0,             -- bits: 1 the tenant is held · 2 at its own limit · 4 circuit open
  vt INTEGER NOT NULL DEFAULT 0,
  next_due INTEGER,                            -- when to look for delayed jobs that are due: their earliest run_at, or right away
  reopen_at INTEGER,
  ready INTEGER NOT NULL DEFAULT 0, delayed INTEGER NOT NULL DEFAULT 0, blocked INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0,
  CHECK (ready >= 0 AND delayed >= 0 AND blocked >= 0 AND running >= 0)
) STRICT;
CREATE INDEX lanes_claimable ON lanes (task_id, vt) WHERE ready > 0 AND held = 0;
CREATE INDEX lanes_due ON lanes (next_due) WHERE next_due IS NOT NULL;

CREATE TABLE jobs (
  id INTEGER PRIMARY KEY,
  tenant_id INTEGER NOT NULL,
  lane_id INTEGER NOT NULL,
  state INTEGER NOT NULL,
  ord INTEGER NOT NULL,                        -- order within a tenant: (due_ms - 2026 - priority * 60000) << 22 | (id & 4194303)
  priority INTEGER NOT NULL DEFAULT 0,
  seq INTEGER NOT NULL DEFAULT 1,              -- number of the latest event in its history
  created_at INTEGER NOT NULL,
  run_at INTEGER NOT NULL,
  start_by INTEGER,
  started_at INTEGER,
  completed_at INTEGER,
  expires_at INTEGER,
  failures INTEGER NOT NULL DEFAULT 0,         -- attempts that ended in an error
  losses INTEGER NOT NULL DEFAULT 0,           -- leases lost in a row; not the task's fault, counted apart
  claims INTEGER NOT NULL DEFAULT 0,           -- times handed to a worker; only grows
  max_retries INTEGER NOT NULL,
  timeout_ms INTEGER,
  lease_until INTEGER,
  token INTEGER,                               -- fencing token of the current lease
  cancel_requested_at INTEGER,
  tail INTEGER NOT NULL,                       -- the random part of the public id
  task_in_payload INTEGER NOT NULL DEFAULT 0,  -- 1: the payload names the task, which is taken out before the task sees it
  worker TEXT,
  reason TEXT,
  queue_key TEXT,                              -- jobs of one key of a tenant run one after the other
  trace_id TEXT NOT NULL,
  trace_parent TEXT,
  fingerprint TEXT,                            -- groups alike errors
  parent_id INTEGER,
  copy_of INTEGER,
  webhook_url TEXT,
  tags TEXT,
  progress TEXT,
  error TEXT,
  result TEXT,
  payload TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_ready ON jobs (lane_id, ord) WHERE state = 2;
CREATE INDEX jobs_delayed ON jobs (lane_id, run_at) WHERE state = 1;
CREATE INDEX jobs_running ON jobs (lease_until) WHERE state = 3;
CREATE INDEX jobs_list ON jobs (lane_id, id);
CREATE INDEX jobs_trouble ON jobs (state, id) WHERE state > 4;
CREATE INDEX jobs_lane_trouble ON jobs (lane_id, state, id) WHERE state > 4;
CREATE INDEX jobs_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX jobs_start_by ON jobs (start_by) WHERE start_by IS NOT NULL AND state < 3;
CREATE UNIQUE INDEX jobs_key_holder ON jobs (tenant_id, queue_key) WHERE queue_key IS NOT NULL AND state > 0 AND state < 4;
CREATE INDEX jobs_key_waiting ON jobs (tenant_id, queue_key, ord) WHERE queue_key IS NOT NULL AND state = 0;

CREATE TABLE job_tags (tenant_id INTEGER NOT NULL, tag TEXT NOT NULL, job_id INTEGER NOT NULL, PRIMARY KEY (tenant_id, tag, job_id)) STRICT, WITHOUT ROWID;

-- Who has used a key: kind 1 idempotency, 2 unique job, 3 schedule slot. A key lives by its own clock, apart from its job's.
CREATE TABLE keys (
  tenant_id INTEGER NOT NULL, kind INTEGER NOT NULL, key TEXT NOT NULL,
  job_id INTEGER NOT NULL, fingerprint TEXT, expires_at INTEGER,
  PRIMARY KEY (tenant_id, kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_expiry ON keys (expires_at) WHERE expires_at IS NOT NULL;

-- The history of a job, without what its own row still tells: that it was submitted, its latest claim, and its end. Those are
-- written here only when the row is about to forget them, so a job that simply succeeds costs no row (lib/history.ts reads both).
CREATE TABLE job_events (
  job_id INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, data TEXT,
  PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;

-- lanes -> tenants. Running grows only by a claim, so that is where a tenant pays for its turns. One that wakes begins where the others
-- are: it has neither saved up turns while it slept, nor owes any that it had while it was alone.
CREATE TRIGGER lanes_counted AFTER UPDATE OF ready, delayed, blocked, running, done, failed, dead, cancelled ON lanes
BEGIN
  UPDATE tenants SET
    vt = CASE WHEN NEW.running > OLD.running THEN max(vt, (SELECT virtual_now FROM tasks WHERE task_id = NEW.task_id)) + (NEW.running - OLD.running) * step
              WHEN ready = 0 AND NEW.ready > OLD.ready THEN max(vt, (SELECT virtual_now FROM tasks WHERE task_id = NEW.task_id))
              ELSE vt END,
    ready = ready + NEW.ready - OLD.ready, delayed = delayed + NEW.delayed - OLD.delayed, blocked = blocked + NEW.blocked - OLD.blocked,
    running = running + NEW.running - OLD.running, done = done + NEW.done - OLD.done, failed = failed + NEW.failed - OLD.failed,
    dead = dead + NEW.dead - OLD.dead, cancelled = cancelled + NEW.cancelled - OLD.cancelled
  WHERE tenant_id = NEW.lane_id >> 16;
  UPDATE tasks SET running = running + NEW.running - OLD.running WHERE task_id = NEW.task_id AND NEW.running <> OLD.running;
END;

CREATE TRIGGER lanes_limited AFTER UPDATE OF running, concurrency ON lanes WHEN NEW.concurrency IS NOT NULL OR OLD.concurrency IS NOT NULL
BEGIN
  UPDATE lanes SET held = (held & ~2) | (coalesce(running >= concurrency, 0) << 1) WHERE lane_id = NEW.lane_id;
END;

CREATE TRIGGER lanes_woken AFTER UPDATE OF ready ON lanes WHEN OLD.ready = 0 AND NEW.ready > 0
BEGIN
  UPDATE lanes SET vt = t.vt, held = (lanes.held & ~1) | (t.held <> 0) FROM tenants t WHERE lanes.lane_id = NEW.lane_id AND t.tenant_id = NEW.lane_id >> 16;
END;

-- tenants -> queue.
CREATE TRIGGER tenants_counted AFTER UPDATE OF ready, delayed, blocked, running, done, failed, dead, cancelled ON tenants
BEGIN
  UPDATE queue SET version = version + 1,
    submitted = submitted + max(0, (NEW.waiting + NEW.running) - (OLD.waiting + OLD.running)),
    finished = finished + max(0, (OLD.waiting + OLD.running) - (NEW.waiting + NEW.running)),
    active_tenants = active_tenants + (NEW.waiting + NEW.running > 0) - (OLD.waiting + OLD.running > 0),
    ready = ready + NEW.ready - OLD.ready, delayed = delayed + NEW.delayed - OLD.delayed, blocked = blocked + NEW.blocked - OLD.blocked,
    running = running + NEW.running - OLD.running, done = done + NEW.done - OLD.done, failed = failed + NEW.failed - OLD.failed,
    dead = dead + NEW.dead - OLD.dead, cancelled = cancelled + NEW.cancelled - OLD.cancelled;
END;

-- tenants -> their ready lanes: whatever changed the tag or the hold, no claimable lane is out of date.
CREATE TRIGGER tenants_scheduled AFTER UPDATE OF vt, running, concurrency, paused, start_rate_full ON tenants
WHEN NEW.vt <> OLD.vt OR (NEW.held <> 0) <> (OLD.held <> 0)
BEGIN
  UPDATE lanes SET vt = t.vt, held = (lanes.held & ~1) | (t.held <> 0) FROM tenants t
  WHERE t.tenant_id = NEW.tenant_id AND lane_id >= NEW.tenant_id << 16 AND lane_id < (NEW.tenant_id + 1) << 16 AND lanes.ready > 0;
END;

-- A job with a key comes in blocked, and takes the key at once if nobody has it. (The submit counts lanes after this.)
CREATE TRIGGER jobs_key_taken AFTER INSERT ON jobs
WHEN NEW.queue_key IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM jobs WHERE tenant_id = NEW.tenant_id AND queue_key = NEW.queue_key AND state > 0 AND state < 4)
BEGIN
  UPDATE jobs SET state = CASE WHEN run_at > created_at THEN 1 ELSE 2 END WHERE id = NEW.id;
END;

-- A job that ends hands its key to the next in line that is not too late to start: that one is only waiting to be cancelled.
CREATE TRIGGER jobs_key_passed AFTER UPDATE OF state ON jobs
WHEN NEW.queue_key IS NOT NULL AND OLD.state > 0 AND OLD.state < 4 AND NEW.state > 3
BEGIN
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

INSERT INTO meta VALUES ('schema', '1');
