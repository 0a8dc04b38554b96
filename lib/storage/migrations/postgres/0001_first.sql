-- The whole store on PostgreSQL 14 and newer: the same queue as on SQLite (../sqlite/0001_first.sql says what the columns mean), made
-- for many processes at once. Names are looked up in the schema that the migration runs in.
--
-- What is written for a tenant is written by whoever holds that tenant's advisory lock, so no two transactions ever wait for each
-- other's rows: nobody waits for one lock while holding another, and there is nothing to deadlock. Functions try for the locks they want
-- and do what they got; only with none at all do they wait, for one. What is not one tenant's (totals, turns) is only ever added to.
--
-- Functions carry the number of the schema that brought them (`turn_1`): a release that needs another brings it beside this one, and both
-- run during a deploy. Each call is one transaction; any number of rows go in one JSON parameter.

CREATE TABLE meta (name text PRIMARY KEY, value text NOT NULL);

CREATE TABLE tenants (
  tenant_id bigint PRIMARY KEY,
  name text NOT NULL UNIQUE,
  concurrency int NOT NULL,
  backlog bigint NOT NULL,
  own_concurrency smallint NOT NULL DEFAULT 0,
  own_backlog smallint NOT NULL DEFAULT 0,
  step bigint NOT NULL DEFAULT 1000000,
  paused int NOT NULL DEFAULT 0,
  start_rate_full int NOT NULL DEFAULT 0,
  reopen_at bigint,
  keep_done_ms bigint, keep_dead_ms bigint
);

CREATE TABLE tasks (
  task_id int PRIMARY KEY CHECK (task_id BETWEEN 1 AND 65535),
  name text NOT NULL UNIQUE,
  concurrency int,
  paused smallint NOT NULL DEFAULT 0
);

CREATE TABLE lanes (lane_id bigint PRIMARY KEY, task_id int NOT NULL, concurrency int);

-- What changes with every job stands apart from what does not. A row here has many versions, and while somebody keeps an old snapshot
-- (a backup, a forgotten transaction) none of them can be removed. `gen` grows every 4th time that the row is written: with it behind the
-- id in the index, the newest version is the first that is met from the end, however many there are.
CREATE TABLE tenant_state (
  tenant_id bigint NOT NULL,
  gen bigint NOT NULL DEFAULT 0,
  writes bigint NOT NULL DEFAULT 0,
  vt bigint NOT NULL DEFAULT 0,
  ready bigint NOT NULL DEFAULT 0, delayed bigint NOT NULL DEFAULT 0, blocked bigint NOT NULL DEFAULT 0,
  running bigint NOT NULL DEFAULT 0, done bigint NOT NULL DEFAULT 0, failed bigint NOT NULL DEFAULT 0,
  dead bigint NOT NULL DEFAULT 0, cancelled bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, gen),
  CHECK (ready >= 0 AND delayed >= 0 AND blocked >= 0 AND running >= 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);

CREATE TABLE lane_state (
  lane_id bigint NOT NULL,
  gen bigint NOT NULL DEFAULT 0,
  writes bigint NOT NULL DEFAULT 0,
  task_id int NOT NULL,
  held int NOT NULL DEFAULT 0,
  vt bigint NOT NULL DEFAULT 0,
  next_due bigint,
  reopen_at bigint,
  head bigint NOT NULL DEFAULT 0,              -- no ready job has a smaller ord: where a claim begins to look
  ready bigint NOT NULL DEFAULT 0, delayed bigint NOT NULL DEFAULT 0, blocked bigint NOT NULL DEFAULT 0,
  running bigint NOT NULL DEFAULT 0, done bigint NOT NULL DEFAULT 0, failed bigint NOT NULL DEFAULT 0,
  dead bigint NOT NULL DEFAULT 0, cancelled bigint NOT NULL DEFAULT 0,
  -- The index stands on this rather than on what it is made of, so that a lane that only counts on stays where it is (a HOT update).
  claimable boolean NOT NULL GENERATED ALWAYS AS (ready > 0 AND held = 0) STORED,
  PRIMARY KEY (lane_id, gen),
  CHECK (ready >= 0 AND delayed >= 0 AND blocked >= 0 AND running >= 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
CREATE INDEX lanes_claimable ON lane_state (task_id, vt) WHERE claimable;
CREATE INDEX lanes_due ON lane_state (next_due) WHERE next_due IS NOT NULL;

-- Tenants and lanes as they are now, and the place of that version: what is written is found there at once.
CREATE VIEW tenants_now AS
  SELECT t.*, s.place, s.writes, s.vt, s.ready, s.delayed, s.blocked, s.running, s.done, s.failed, s.dead, s.cancelled,
    (s.running >= t.concurrency)::int | (t.paused << 1) | (t.start_rate_full << 2) AS held, s.ready + s.delayed + s.blocked AS waiting
  FROM tenants t CROSS JOIN LATERAL (SELECT ctid AS place, * FROM tenant_state WHERE tenant_id = t.tenant_id ORDER BY gen DESC LIMIT 1) s;
CREATE VIEW lanes_now AS
  SELECT l.lane_id, l.task_id, l.concurrency, s.place, s.writes, s.held, s.vt, s.next_due, s.head,
    s.ready, s.delayed, s.blocked, s.running, s.done, s.failed, s.dead, s.cancelled, s.claimable
  FROM lanes l CROSS JOIN LATERAL (SELECT ctid AS place, * FROM lane_state WHERE lane_id = l.lane_id ORDER BY gen DESC LIMIT 1) s;

-- What is true of the queue as a whole is the sum of these rows. Every change adds one, so nobody waits here for anybody; now and then
-- they are added up into one a task (`fold_totals_1`).
CREATE TABLE totals (
  task_id int NOT NULL,
  version bigint NOT NULL DEFAULT 0,
  submitted bigint NOT NULL DEFAULT 0, finished bigint NOT NULL DEFAULT 0, active_tenants bigint NOT NULL DEFAULT 0,
  ready bigint NOT NULL DEFAULT 0, delayed bigint NOT NULL DEFAULT 0, blocked bigint NOT NULL DEFAULT 0,
  running bigint NOT NULL DEFAULT 0, done bigint NOT NULL DEFAULT 0, failed bigint NOT NULL DEFAULT 0,
  dead bigint NOT NULL DEFAULT 0, cancelled bigint NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX totals_of_task ON totals (task_id);

-- Tags of the latest turns in claims that asked for a task; the greatest is where a tenant begins that wakes.
CREATE TABLE turns (task_id int NOT NULL, tag bigint NOT NULL) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX turns_latest ON turns (task_id, tag);

CREATE SEQUENCE job_ids;
CREATE TABLE jobs (
  id bigint PRIMARY KEY,
  tenant_id bigint NOT NULL,
  lane_id bigint NOT NULL,
  ord bigint NOT NULL,
  created_at bigint NOT NULL,
  run_at bigint NOT NULL,
  start_by bigint,
  started_at bigint,
  completed_at bigint,
  expires_at bigint,
  lease_until bigint,
  token bigint,
  cancel_requested_at bigint,
  tail bigint NOT NULL,
  timeout_ms bigint,
  parent_id bigint,
  copy_of bigint,
  priority int NOT NULL DEFAULT 0,
  seq int NOT NULL DEFAULT 1,
  failures int NOT NULL DEFAULT 0,
  losses int NOT NULL DEFAULT 0,
  claims int NOT NULL DEFAULT 0,
  max_retries int NOT NULL,
  state smallint NOT NULL,
  task_in_payload smallint NOT NULL DEFAULT 0,
  worker text,
  reason text,
  queue_key text,
  trace_id text NOT NULL,
  trace_parent text,
  fingerprint text,
  webhook_url text,
  tags text,
  progress text,
  error text,
  result text,
  payload text NOT NULL
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX jobs_ready ON jobs (lane_id, ord) WHERE state = 2;
CREATE INDEX jobs_delayed ON jobs (lane_id, run_at) WHERE state = 1;
CREATE INDEX jobs_running ON jobs (lease_until, id) WHERE state = 3;
CREATE INDEX jobs_list ON jobs (lane_id, id);
CREATE INDEX jobs_trouble ON jobs (state, id) WHERE state > 4;
CREATE INDEX jobs_lane_trouble ON jobs (lane_id, state, id) WHERE state > 4;
CREATE INDEX jobs_expiry ON jobs (expires_at, id) WHERE expires_at IS NOT NULL;
CREATE INDEX jobs_start_by ON jobs (start_by, id) WHERE start_by IS NOT NULL AND state < 3;
CREATE UNIQUE INDEX jobs_key_holder ON jobs (tenant_id, queue_key) WHERE queue_key IS NOT NULL AND state > 0 AND state < 4;
CREATE INDEX jobs_key_waiting ON jobs (tenant_id, queue_key, ord) WHERE queue_key IS NOT NULL AND state = 0;

CREATE TABLE job_tags (tenant_id bigint NOT NULL, tag text NOT NULL, job_id bigint NOT NULL, PRIMARY KEY (tenant_id, tag, job_id));
CREATE TABLE keys (
  tenant_id bigint NOT NULL, kind smallint NOT NULL, key text NOT NULL,
  job_id bigint NOT NULL, fingerprint text, expires_at bigint,
  PRIMARY KEY (tenant_id, kind, key)
);
CREATE INDEX keys_expiry ON keys (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE job_events (
  job_id bigint NOT NULL, seq int NOT NULL, at bigint NOT NULL, kind text NOT NULL, data text,
  PRIMARY KEY (job_id, seq)
);

-- A job's move from a state to another (NULL: none); with `ord` where it becomes ready or is claimed, `due` where it becomes delayed.
CREATE TYPE move_1 AS (lane_id bigint, was smallint, becomes smallint, ord bigint, due bigint);
-- What moves add up to in one lane.
CREATE TYPE sums_1 AS (
  lane_id bigint, blocked bigint, delayed bigint, ready bigint, running bigint, done bigint, failed bigint, dead bigint, cancelled bigint,
  submitted bigint, finished bigint, started bigint, head bigint, taken bigint, due bigint);
CREATE TYPE submitted_1 AS (i int, status text, id bigint);
CREATE TYPE moved_1 AS (id bigint, tail bigint, state smallint, reason text);
CREATE TYPE ended_1 AS (i int, id bigint, tail bigint, state smallint, reason text);
-- An ending (i: which) or a job that was taken, with all that lib/storage/rows.ts reads of a job.
CREATE TYPE turn_row_1 AS (
  i int, id bigint, tail bigint, tenant_id bigint, lane_id bigint, state smallint, reason text, priority int, seq int, created_at bigint, run_at bigint,
  start_by bigint, started_at bigint, completed_at bigint, expires_at bigint, failures int, losses int, claims int, max_retries int,
  timeout_ms bigint, lease_until bigint, cancel_requested_at bigint, task_in_payload smallint, worker text, queue_key text, trace_id text,
  trace_parent text, parent_id bigint, tags text, progress text, error text, result text, payload text);
CREATE TYPE changed_1 AS (id bigint, changed boolean);
CREATE TYPE lease_1 AS (i int, id bigint, held boolean, cancel_requested_at bigint);

-- Order within a tenant, as on SQLite: the due time shifted by priority (a point is a minute), then the number.
CREATE FUNCTION ord_1(due bigint, priority int, id bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT (due - 1767225600000 - priority::bigint * 60000) << 22 | (id & 4194303) $$;

-- Locks ------------------------------------------------------------------------------------------------------------------------------

-- Advisory locks are numbered by the table that they stand for, so two stores in one database do not meet.
CREATE FUNCTION lock_key_1(of regclass, number bigint) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT (of::oid::bigint << 32) | number $$;

-- The tenants of `wanted` whose lock this transaction now has. It waits for at most one, and only while it has none: for `wait_for`
-- first, where one is named, else for one of them when all are taken.
CREATE FUNCTION lock_tenants_1(wanted bigint[], wait_for bigint DEFAULT NULL) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  ours bigint[];
BEGIN
  IF wait_for IS NOT NULL THEN PERFORM pg_advisory_xact_lock(lock_key_1('tenants', wait_for)); END IF;
  SELECT array_agg(t) INTO ours FROM unnest(wanted) t WHERE pg_try_advisory_xact_lock(lock_key_1('tenants', t));
  IF ours IS NULL AND wait_for IS NULL AND wanted IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(lock_key_1('tenants', wanted[1]));
    SELECT array_agg(t) INTO ours FROM unnest(wanted) t WHERE pg_try_advisory_xact_lock(lock_key_1('tenants', t));
  END IF;
  RETURN coalesce(ours, '{}');
END $$;

-- Counting ---------------------------------------------------------------------------------------------------------------------------

-- Copies tag and hold of tenants to their ready lanes, where they differ: what is claimable is an index, and never out of date.
CREATE FUNCTION schedule_1(tenants_changed bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  lane_ids bigint[];
BEGIN
  SELECT array_agg(l.lane_id) INTO lane_ids
  FROM unnest(tenants_changed) u(t) JOIN tenants_now t ON t.tenant_id = u.t CROSS JOIN LATERAL (
    SELECT lane_id, vt, held, ready FROM lanes_now WHERE lane_id >= u.t << 16 AND lane_id < (u.t + 1) << 16 OFFSET 0) l
  WHERE l.ready > 0 AND (l.vt <> t.vt OR (l.held & 1) <> (t.held <> 0)::int);
  IF lane_ids IS NULL THEN RETURN; END IF;
  UPDATE lane_state SET writes = l.writes + 1, gen = (l.writes + 1) / 4, vt = t.vt, held = (l.held & ~1) | (t.held <> 0)::int
  FROM unnest(lane_ids) u(id) JOIN lanes_now l ON l.lane_id = u.id JOIN tenants_now t ON t.tenant_id = u.id >> 16
  WHERE lane_state.ctid = l.place;
END $$;

-- Adds moves to their lanes, the lanes' tenants and the totals, and takes from a tenant what its turns cost. One that wakes begins where
-- the others are: it has neither saved up turns while it slept, nor owes any that it had alone.
CREATE FUNCTION count_moves_1(moves move_1[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  sums sums_1[];
  changed bigint[];
  woke bigint;
BEGIN
  IF moves IS NULL THEN RETURN; END IF;
  SELECT array_agg(m) INTO sums FROM (
    SELECT lane_id,
      count(*) FILTER (WHERE becomes = 0) - count(*) FILTER (WHERE was = 0) AS blocked,
      count(*) FILTER (WHERE becomes = 1) - count(*) FILTER (WHERE was = 1) AS delayed,
      count(*) FILTER (WHERE becomes = 2) - count(*) FILTER (WHERE was = 2) AS ready,
      count(*) FILTER (WHERE becomes = 3) - count(*) FILTER (WHERE was = 3) AS running,
      count(*) FILTER (WHERE becomes = 4) - count(*) FILTER (WHERE was = 4) AS done,
      count(*) FILTER (WHERE becomes = 5) - count(*) FILTER (WHERE was = 5) AS failed,
      count(*) FILTER (WHERE becomes = 6) - count(*) FILTER (WHERE was = 6) AS dead,
      count(*) FILTER (WHERE becomes = 7) - count(*) FILTER (WHERE was = 7) AS cancelled,
      count(*) FILTER (WHERE becomes < 4 AND coalesce(was, 7) > 3) AS submitted,
      count(*) FILTER (WHERE becomes > 3 AND was < 4) AS finished,
      count(*) FILTER (WHERE was = 2 AND becomes = 3) AS started,
      min(ord) FILTER (WHERE becomes = 2) AS head,
      max(ord) FILTER (WHERE was = 2 AND becomes = 3) AS taken,
      min(due) FILTER (WHERE becomes = 1) AS due
    FROM unnest(moves) GROUP BY lane_id) m;
  WITH t AS (
    UPDATE tenant_state SET
      writes = o.writes + 1, gen = (o.writes + 1) / 4,
      vt = CASE WHEN x.started > 0 THEN greatest(o.vt, x.virtual_now) + x.started * o.step
                WHEN o.ready = 0 AND x.ready > 0 THEN greatest(o.vt, x.virtual_now)
                ELSE o.vt END,
      blocked = o.blocked + x.blocked, delayed = o.delayed + x.delayed, ready = o.ready + x.ready, running = o.running + x.running,
      done = o.done + x.done, failed = o.failed + x.failed, dead = o.dead + x.dead, cancelled = o.cancelled + x.cancelled
    FROM (
      SELECT lane_id >> 16 AS tenant_id, sum(blocked)::bigint AS blocked, sum(delayed)::bigint AS delayed, sum(ready)::bigint AS ready,
        sum(running)::bigint AS running, sum(done)::bigint AS done, sum(failed)::bigint AS failed, sum(dead)::bigint AS dead,
        sum(cancelled)::bigint AS cancelled, sum(started)::bigint AS started,
        max((SELECT tag FROM turns n WHERE n.task_id = m.lane_id & 65535 ORDER BY tag DESC LIMIT 1)) FILTER (WHERE started > 0 OR ready > 0) AS virtual_now
      FROM unnest(sums) m GROUP BY lane_id >> 16) x
    JOIN tenants_now o ON o.tenant_id = x.tenant_id
    WHERE tenant_state.ctid = o.place
    RETURNING tenant_state.tenant_id,
      x.started > 0 OR (tenant_state.running >= o.concurrency) <> (o.running >= o.concurrency) AS reschedule,
      (tenant_state.ready + tenant_state.delayed + tenant_state.blocked + tenant_state.running > 0)::int - (o.waiting + o.running > 0)::int AS woken)
  SELECT array_agg(tenant_id) FILTER (WHERE reschedule), sum(t.woken) INTO changed, woke FROM t;
  UPDATE lane_state SET
    writes = l.writes + 1, gen = (l.writes + 1) / 4,
    vt = t.vt,
    held = (l.held & ~3) | (t.held <> 0)::int | (coalesce(l.running + m.running >= l.concurrency, false)::int << 1),
    next_due = least(l.next_due, m.due),
    -- What is ready comes behind what a claim has taken (or has the same ord), until something is put before it.
    head = CASE WHEN m.taken IS NOT NULL THEN m.taken WHEN l.ready = 0 THEN coalesce(m.head, l.head) ELSE least(l.head, m.head) END,
    blocked = l.blocked + m.blocked, delayed = l.delayed + m.delayed, ready = l.ready + m.ready, running = l.running + m.running,
    done = l.done + m.done, failed = l.failed + m.failed, dead = l.dead + m.dead, cancelled = l.cancelled + m.cancelled
  FROM unnest(sums) m JOIN lanes_now l ON l.lane_id = m.lane_id JOIN tenants_now t ON t.tenant_id = m.lane_id >> 16
  WHERE lane_state.ctid = l.place;
  INSERT INTO totals (task_id, version, submitted, finished, active_tenants, blocked, delayed, ready, running, done, failed, dead, cancelled)
  SELECT (lane_id & 65535)::int, 1, sum(submitted), sum(finished), CASE WHEN row_number() OVER () = 1 THEN woke ELSE 0 END,
    sum(blocked), sum(delayed), sum(ready), sum(running), sum(done), sum(failed), sum(dead), sum(cancelled)
  FROM unnest(sums) m GROUP BY (lane_id & 65535)::int;
  IF changed IS NOT NULL THEN PERFORM schedule_1(changed); END IF;
  -- Housekeeping that nobody sees: its moment needs no plan.
  IF random() < 0.01 THEN PERFORM fold_totals_1(); END IF;
END $$;

-- Adds up what `totals` and `turns` have gathered, unless another transaction is at it.
CREATE FUNCTION fold_totals_1() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF NOT pg_try_advisory_xact_lock(lock_key_1('totals', 0)) THEN RETURN; END IF;
  WITH gone AS (DELETE FROM totals RETURNING *)
  INSERT INTO totals (task_id, version, submitted, finished, active_tenants, blocked, delayed, ready, running, done, failed, dead, cancelled)
  SELECT task_id, sum(version), sum(submitted), sum(finished), sum(active_tenants), sum(blocked), sum(delayed), sum(ready), sum(running),
    sum(done), sum(failed), sum(dead), sum(cancelled)
  FROM gone GROUP BY task_id;
  DELETE FROM turns USING (SELECT task_id, max(tag) AS tag FROM turns GROUP BY task_id) latest
  WHERE turns.task_id = latest.task_id AND turns.tag < latest.tag;
END $$;

-- Says that something changed that moves no job.
CREATE FUNCTION touch_1() RETURNS void LANGUAGE sql AS $$ INSERT INTO totals (task_id, version) VALUES (0, 1) $$;

-- Names ------------------------------------------------------------------------------------------------------------------------------

-- Makes tasks, tenants and lanes that are missing. One transaction at a time does, so no number is given twice and none is wasted.
CREATE FUNCTION write_tasks_1(names text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(lock_key_1('meta', 0));
  INSERT INTO tasks (task_id, name)
  SELECT (SELECT coalesce(max(task_id), 0) FROM tasks) + row_number() OVER (ORDER BY o), n.name
  FROM (SELECT u.name, min(u.o) AS o FROM unnest(names) WITH ORDINALITY u(name, o) GROUP BY u.name) n
  WHERE NOT EXISTS (SELECT 1 FROM tasks k WHERE k.name = n.name);
END $$;

CREATE FUNCTION write_tenants_1(names text[], concurrency int, backlog bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(lock_key_1('meta', 0));
  INSERT INTO tenants (tenant_id, name, concurrency, backlog)
  SELECT (SELECT coalesce(max(tenant_id), 0) FROM tenants) + row_number() OVER (ORDER BY o), n.name, write_tenants_1.concurrency, write_tenants_1.backlog
  FROM (SELECT u.name, min(u.o) AS o FROM unnest(names) WITH ORDINALITY u(name, o) GROUP BY u.name) n
  WHERE NOT EXISTS (SELECT 1 FROM tenants t WHERE t.name = n.name);
  INSERT INTO tenant_state (tenant_id)
  SELECT t.tenant_id FROM unnest(names) u(name) JOIN tenants t ON t.name = u.name
  WHERE NOT EXISTS (SELECT 1 FROM tenant_state s WHERE s.tenant_id = t.tenant_id) GROUP BY t.tenant_id;
END $$;

CREATE FUNCTION make_lanes_1(tenant_names text[], task_names text[], concurrency int, backlog bigint)
RETURNS TABLE (tenant_id bigint, name text, task_id int, task text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  PERFORM write_tasks_1(task_names);
  PERFORM write_tenants_1(tenant_names, concurrency, backlog);
  WITH made AS (
    INSERT INTO lanes (lane_id, task_id)
    SELECT DISTINCT (t.tenant_id << 16) | k.task_id, k.task_id
    FROM unnest(tenant_names, task_names) n(tenant, task) JOIN tenants t ON t.name = n.tenant JOIN tasks k ON k.name = n.task
    ON CONFLICT DO NOTHING RETURNING lane_id, task_id)
  INSERT INTO lane_state (lane_id, task_id) SELECT lane_id, task_id FROM made;
  RETURN QUERY SELECT DISTINCT t.tenant_id, t.name, k.task_id, k.name
  FROM unnest(tenant_names, task_names) n(tenant, task) JOIN tenants t ON t.name = n.tenant JOIN tasks k ON k.name = n.task;
END $$;

-- Submit -----------------------------------------------------------------------------------------------------------------------------

-- Stores jobs of tenants whose locks are `ours`; rows of others are left alone and missing in the answer. Rows with a parent are its
-- follow-ups: stored while its lease is held, above any backlog.
CREATE FUNCTION store_jobs_1(rows jsonb, keyed boolean, ours bigint[], now_ms bigint) RETURNS SETOF submitted_1 LANGUAGE plpgsql AS $$
DECLARE
  ids bigint[];
  seen int[];
  stored bigint[];
  moves move_1[];
BEGIN
  SELECT array_agg(nextval('job_ids')) INTO ids FROM generate_series(1, jsonb_array_length(rows));
  IF keyed THEN
    -- The first request with a key takes it for the id its job is about to get; an outlived key is as good as none.
    INSERT INTO keys (tenant_id, kind, key, job_id, fingerprint, expires_at)
    SELECT DISTINCT ON (r.lane_id >> 16, r.key) r.lane_id >> 16, 1, r.key, ids[r.i + 1], r.fingerprint, r.key_expires_at
    FROM jsonb_to_recordset(rows) AS r (i int, lane_id bigint, key text, fingerprint text, key_expires_at bigint)
    WHERE r.key IS NOT NULL AND r.lane_id >> 16 = ANY(ours) ORDER BY r.lane_id >> 16, r.key, r.i
    ON CONFLICT (tenant_id, kind, key) DO UPDATE SET job_id = excluded.job_id, fingerprint = excluded.fingerprint, expires_at = excluded.expires_at
    WHERE keys.expires_at <= now_ms;
  END IF;
  WITH r AS MATERIALIZED (
    SELECT ids[n.i + 1] AS id, n.lane_id >> 16 AS tenant_id, n.*, greatest(coalesce(n.run_at, 0), now_ms) AS due
    FROM jsonb_to_recordset(rows) AS n (i int, lane_id bigint, priority int, run_at bigint, start_by bigint, max_retries int, timeout_ms bigint,
      tail bigint, task_in_payload smallint, queue_key text, trace_id text, trace_parent text, tags text, payload text, parent_id bigint,
      parent_token bigint, key text)
    WHERE n.lane_id >> 16 = ANY(ours)),
  fits AS MATERIALIZED (
    SELECT f.*, row_number() OVER (PARTITION BY f.tenant_id, f.queue_key ORDER BY f.i) AS in_line FROM (
      SELECT r.*, t.backlog - t.waiting AS room, row_number() OVER (PARTITION BY r.tenant_id ORDER BY r.i) AS place
      FROM r JOIN tenants_now t ON t.tenant_id = r.tenant_id
      WHERE NOT keyed OR r.key IS NULL OR EXISTS (SELECT 1 FROM keys k WHERE k.tenant_id = r.tenant_id AND k.kind = 1 AND k.key = r.key AND k.job_id = r.id)) f
    WHERE CASE WHEN f.parent_id IS NULL THEN f.place <= f.room
      ELSE EXISTS (SELECT 1 FROM jobs p WHERE p.id = f.parent_id AND p.state = 3 AND p.token = f.parent_token) END),
  i AS (
    INSERT INTO jobs (id, tenant_id, lane_id, state, ord, priority, created_at, run_at, start_by, max_retries, timeout_ms, tail,
      task_in_payload, queue_key, trace_id, trace_parent, tags, payload, parent_id)
    SELECT id, tenant_id, lane_id,
      CASE WHEN queue_key IS NOT NULL AND (in_line > 1 OR EXISTS (
          SELECT 1 FROM jobs h WHERE h.tenant_id = fits.tenant_id AND h.queue_key = fits.queue_key AND h.state > 0 AND h.state < 4)) THEN 0
        WHEN due > now_ms THEN 1 ELSE 2 END,
      ord_1(due, coalesce(priority, 0), id), coalesce(priority, 0), now_ms, due, start_by, max_retries, timeout_ms, tail,
      coalesce(task_in_payload, 0), queue_key, trace_id, trace_parent, tags, payload, parent_id
    FROM fits ORDER BY i
    RETURNING id, lane_id, state, ord, run_at),
  tagged AS (
    INSERT INTO job_tags (tenant_id, tag, job_id)
    SELECT DISTINCT fits.tenant_id, g.tag, fits.id FROM fits CROSS JOIN LATERAL jsonb_array_elements_text(fits.tags::jsonb) g(tag) WHERE fits.tags IS NOT NULL)
  SELECT array_agg((lane_id, NULL, state, ord, run_at)::move_1), array_agg(id), (SELECT array_agg(r.i) FROM r) INTO moves, stored, seen FROM i;
  PERFORM count_moves_1(moves);
  IF NOT keyed THEN
    RETURN QUERY SELECT s, CASE WHEN ids[s + 1] = ANY(stored) THEN 'created' ELSE 'backlog_full' END, ids[s + 1] FROM unnest(seen) s;
    RETURN;
  END IF;
  -- A key whose job did not fit the backlog is free again.
  DELETE FROM keys USING jsonb_to_recordset(rows) AS r (i int, lane_id bigint, key text)
  WHERE keys.tenant_id = r.lane_id >> 16 AND keys.kind = 1 AND keys.key = r.key AND keys.job_id = ids[r.i + 1]
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = keys.job_id);
  RETURN QUERY SELECT r.i,
    CASE WHEN ids[r.i + 1] = ANY(stored) THEN 'created' WHEN k.job_id IS NULL THEN 'backlog_full'
      WHEN k.fingerprint IS NOT DISTINCT FROM r.fingerprint THEN 'replayed' ELSE 'key_conflict' END,
    CASE WHEN ids[r.i + 1] = ANY(stored) THEN ids[r.i + 1] ELSE k.job_id END
  FROM jsonb_to_recordset(rows) AS r (i int, lane_id bigint, key text, fingerprint text)
  LEFT JOIN keys k ON k.tenant_id = r.lane_id >> 16 AND k.kind = 1 AND k.key = r.key
  WHERE r.i = ANY(seen);
END $$;

CREATE FUNCTION submit_1(rows jsonb, keyed boolean, tenant_ids bigint[], now_ms bigint) RETURNS SETOF submitted_1 LANGUAGE plpgsql AS $$
DECLARE
  ours bigint[] := lock_tenants_1(tenant_ids);
BEGIN
  RETURN QUERY SELECT * FROM store_jobs_1(rows, keyed, ours, now_ms);
END $$;

-- Claim ------------------------------------------------------------------------------------------------------------------------------

-- Makes delayed jobs ready that are due: of at most 64 lanes, the longest due first, at most 32 each.
CREATE FUNCTION promote_1(now_ms bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  lane_ids bigint[];
  moves move_1[];
BEGIN
  SELECT array_agg(d.lane_id) INTO lane_ids FROM (
    SELECT lane_id FROM (SELECT lane_id FROM lane_state WHERE next_due <= now_ms ORDER BY next_due LIMIT 128 OFFSET 0) c
    WHERE pg_try_advisory_xact_lock(lock_key_1('tenants', lane_id >> 16)) LIMIT 64) d;
  IF lane_ids IS NULL THEN RETURN; END IF;
  WITH due AS MATERIALIZED (
    SELECT j.id FROM unnest(lane_ids) u(l) CROSS JOIN LATERAL (
      SELECT id FROM jobs WHERE lane_id = u.l AND state = 1 AND run_at <= now_ms ORDER BY run_at LIMIT 32) j),
  p AS (UPDATE jobs SET state = 2 WHERE id = ANY(ARRAY(SELECT id FROM due)) RETURNING lane_id, ord)
  SELECT array_agg((lane_id, 1, 2, ord, NULL)::move_1) INTO moves FROM p;
  PERFORM count_moves_1(moves);
  -- A lane with more that is due goes to the end of the line.
  UPDATE lane_state SET writes = l.writes + 1, gen = (l.writes + 1) / 4, next_due = (
    SELECT greatest(now_ms, j.run_at) FROM jobs j WHERE j.lane_id = l.lane_id AND j.state = 1 ORDER BY j.run_at LIMIT 1)
  FROM unnest(lane_ids) u(id) JOIN lanes_now l ON l.lane_id = u.id
  WHERE lane_state.ctid = l.place;
END $$;

-- How many more jobs of a task may run; NULL where it has no limit. Exact for who holds the task's lock: others only end jobs.
CREATE FUNCTION room_1(task int, most int) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN most IS NOT NULL THEN most - coalesce((SELECT sum(running) FROM totals WHERE task_id = task), 0)::bigint END $$;

-- Which due jobs run next, and their moves. Tenants take turns by their tags, and within a tenant the smallest `ord` goes first;
-- lib/storage/sqlite/claim.ts tells it step by step. Tenants that another transaction is at are passed over. `wait`: wait for the first
-- of them, by a transaction that has no lock; it is asked for after a claim without it found nothing. `tenants_most`: how many tenants to
-- serve at most. Where many claim at once each serves fewer, with more jobs each, and leaves the others their share.
CREATE FUNCTION choose_1(wanted int[], most int, tenants_most int, now_ms bigint, wait boolean, OUT ids bigint[], OUT moves move_1[]) LANGUAGE plpgsql AS $$
DECLARE
  asked int[];
  limited int[];
  first record;
  passed_over bigint;
  tenant_ids bigint[];
  quotas bigint[];
BEGIN
  SELECT array_agg(task_id) INTO asked FROM tasks WHERE task_id = ANY(wanted) AND paused = 0;
  IF wait THEN
    SELECT x.tenant_id, x.task_id, k.concurrency IS NOT NULL AS is_limited INTO first
    FROM unnest(asked) a(task_id) JOIN tasks k ON k.task_id = a.task_id
    CROSS JOIN LATERAL (SELECT lane_id >> 16 AS tenant_id, vt, task_id FROM lane_state WHERE task_id = a.task_id AND claimable ORDER BY vt LIMIT 1) x
    WHERE k.concurrency IS NULL OR room_1(k.task_id, k.concurrency) > 0
    ORDER BY x.vt LIMIT 1;
    IF NOT FOUND THEN RETURN; END IF;
    PERFORM pg_advisory_xact_lock(CASE WHEN first.is_limited THEN lock_key_1('tasks', first.task_id) ELSE lock_key_1('tenants', first.tenant_id) END);
  END IF;
  -- Also what nobody may take now becomes ready when it is due: a tick need not look again for it.
  IF (SELECT next_due FROM lane_state WHERE next_due IS NOT NULL ORDER BY next_due LIMIT 1) <= now_ms THEN PERFORM promote_1(now_ms); END IF;
  -- Of a task with a limit over all tenants one claim at a time takes jobs; the others leave it out.
  SELECT array_agg(task_id) INTO limited FROM tasks WHERE task_id = ANY(asked) AND concurrency IS NOT NULL;
  IF limited IS NOT NULL THEN
    SELECT array_agg(k.task_id) INTO limited FROM tasks k
    WHERE k.task_id = ANY(limited) AND pg_try_advisory_xact_lock(lock_key_1('tasks', k.task_id));
    SELECT array_agg(k.task_id) INTO asked FROM tasks k
    WHERE k.task_id = ANY(asked) AND (k.concurrency IS NULL OR k.task_id = ANY(limited) AND room_1(k.task_id, k.concurrency) > 0);
  END IF;
  IF asked IS NULL THEN RETURN; END IF;
  -- The tenants whose turn comes first. Those that another transaction is at are passed over, but nobody runs far ahead of them.
  FOR first IN
    SELECT x.tenant_id, min(x.vt) AS vt FROM unnest(asked) k(task_id) CROSS JOIN LATERAL (
      SELECT lane_id >> 16 AS tenant_id, vt FROM lane_state WHERE task_id = k.task_id AND claimable ORDER BY vt LIMIT most + 8) x
    GROUP BY x.tenant_id ORDER BY 2
  LOOP
    -- By a quarter of what it would pay for a claim of this size, at weight 1.
    EXIT WHEN first.vt > passed_over + most * 250000::bigint;
    IF pg_try_advisory_xact_lock(lock_key_1('tenants', first.tenant_id)) THEN
      tenant_ids := tenant_ids || first.tenant_id;
      EXIT WHEN cardinality(tenant_ids) >= least(most, tenants_most);
    ELSE
      passed_over := coalesce(passed_over, first.vt);
    END IF;
  END LOOP;
  IF tenant_ids IS NULL THEN RETURN; END IF;
  -- One row a turn, the smallest tag first: how many each tenant gets. Beyond the tag that so many rounds lead to nobody need look.
  WITH s AS MATERIALIZED (
    SELECT t.tenant_id, t.vt, t.step, least(t.concurrency - t.running, sum(least(l.ready, coalesce(l.concurrency - l.running, l.ready))), most) AS turns
    FROM unnest(tenant_ids) u(t) JOIN tenants_now t ON t.tenant_id = u.t CROSS JOIN unnest(asked) k(task_id)
    JOIN lanes_now l ON l.lane_id = (u.t << 16) | k.task_id
    WHERE l.claimable GROUP BY t.tenant_id, t.vt, t.step, t.concurrency, t.running),
  rounds AS MATERIALIZED (
    SELECT min(r) AS r FROM unnest('{1,2,4,8,16,32,64,128,256,512,1024,2147483647}'::int[]) r
    WHERE (SELECT sum(least(turns, r)) FROM s) >= (SELECT least(sum(turns), most) FROM s)),
  last AS MATERIALIZED (SELECT max(vt + (least(turns, r) - 1) * step) AS tag FROM s CROSS JOIN rounds)
  SELECT array_agg(q.tenant_id), array_agg(q.n) INTO tenant_ids, quotas FROM (
    SELECT z.tenant_id, count(*) AS n FROM (
      SELECT s.tenant_id FROM last CROSS JOIN s CROSS JOIN LATERAL generate_series(0, least(s.turns, div(last.tag - s.vt, s.step) + 1)::int - 1) i
      ORDER BY s.vt + i * s.step, s.tenant_id LIMIT most) z
    GROUP BY z.tenant_id) q;
  WITH ranked AS (
    SELECT j.id, j.ord, l.lane_id, l.task_id, q.t, q.n, row_number() OVER (PARTITION BY q.t ORDER BY j.ord) AS place
    FROM unnest(tenant_ids, quotas) q(t, n) CROSS JOIN unnest(asked) k(task_id) JOIN lanes_now l ON l.lane_id = (q.t << 16) | k.task_id
    CROSS JOIN LATERAL (
      SELECT id, ord FROM jobs WHERE lane_id = l.lane_id AND state = 2 AND ord >= l.head ORDER BY ord
      LIMIT least(q.n, l.ready, coalesce(l.concurrency - l.running, l.ready))) j
    WHERE l.claimable),
  chosen AS (
    SELECT id, ord, lane_id, task_id, row_number() OVER (PARTITION BY task_id ORDER BY place, t) AS place FROM ranked WHERE place <= n)
  SELECT array_agg(c.id), array_agg((c.lane_id, 2, 3, c.ord, NULL)::move_1) INTO ids, moves
  FROM chosen c WHERE limited IS NULL OR c.place <= coalesce((SELECT room_1(k.task_id, k.concurrency) FROM tasks k WHERE k.task_id = c.task_id), most);
END $$;

-- Ends -------------------------------------------------------------------------------------------------------------------------------

-- Jobs that have ended hand their keys to the next in line that is not too late to start. Answers the moves of those.
CREATE FUNCTION pass_keys_1(ended bigint[], now_ms bigint) RETURNS move_1[] LANGUAGE sql AS $$
  WITH k AS MATERIALIZED (SELECT DISTINCT tenant_id, queue_key FROM jobs WHERE id = ANY(ended) AND queue_key IS NOT NULL),
  n AS MATERIALIZED (
    SELECT w.id FROM k CROSS JOIN LATERAL (
      SELECT id FROM jobs WHERE tenant_id = k.tenant_id AND queue_key = k.queue_key AND state = 0 AND (start_by IS NULL OR start_by > now_ms)
      ORDER BY ord LIMIT 1) w
    WHERE NOT EXISTS (SELECT 1 FROM jobs h WHERE h.tenant_id = k.tenant_id AND h.queue_key = k.queue_key AND h.state > 0 AND h.state < 4)),
  u AS (UPDATE jobs SET state = CASE WHEN run_at > now_ms THEN 1 ELSE 2 END WHERE id IN (SELECT id FROM n) RETURNING lane_id, state, ord, run_at)
  SELECT array_agg((lane_id, 0, state, ord, run_at)::move_1) FROM u $$;

-- When an ended job may be deleted: its tenant's own retention, else the given: of what is done or cancelled, and of what a person may want to see.
CREATE FUNCTION expires_1(becomes int, t tenants, keep_done bigint, keep_dead bigint, now_ms bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT now_ms + CASE WHEN becomes IN (5, 6) THEN coalesce(t.keep_dead_ms, keep_dead) ELSE coalesce(t.keep_done_ms, keep_done) END $$;

-- Ends attempts whose lease is still held by that token. Answers of every ending that was looked at what became of it, with no state where
-- the lease was not held, and the moves; the others belong to tenants that are busy and are sent again. When all are, an answer with
-- i = -1 names, as id, a tenant to wait for.
CREATE FUNCTION end_attempts_1(endings jsonb, ids bigint[], follow_ups jsonb, keep_done bigint, keep_dead bigint, now_ms bigint, wait_for bigint,
  OUT answer ended_1[], OUT moves move_1[]) LANGUAGE plpgsql AS $$
DECLARE
  wanted bigint[];
  ours bigint[];
  seen bigint[];
  put_off bigint[] := '{}';
  keyed bigint[];
BEGIN
  SELECT array_agg(DISTINCT tenant_id) INTO wanted FROM jobs WHERE id = ANY(ids);
  IF follow_ups IS NOT NULL THEN
    SELECT array_agg(DISTINCT w) INTO wanted
    FROM (SELECT unnest(wanted) AS w UNION ALL SELECT r.lane_id >> 16 FROM jsonb_to_recordset(follow_ups) AS r (lane_id bigint)) u;
  END IF;
  ours := lock_tenants_1(wanted, wait_for);
  IF follow_ups IS NOT NULL THEN
    -- An ending goes with all that it submits, or not yet.
    SELECT coalesce(array_agg(r.parent_id), '{}') INTO put_off
    FROM jsonb_to_recordset(follow_ups) AS r (lane_id bigint, parent_id bigint) LEFT JOIN jobs p ON p.id = r.parent_id
    WHERE NOT r.lane_id >> 16 = ANY(ours) OR NOT p.tenant_id = ANY(ours);
    PERFORM store_jobs_1(f.rows, f.keyed, ours, now_ms) FROM (
      SELECT jsonb_agg(jsonb_set(r.row, '{i}', to_jsonb(r.place - 1)) ORDER BY r.place) AS rows, bool_or(r.row ? 'key') AS keyed FROM (
        SELECT e.row, row_number() OVER (ORDER BY e.o) AS place FROM jsonb_array_elements(follow_ups) WITH ORDINALITY e(row, o)
        WHERE NOT (e.row->>'parent_id')::bigint = ANY(put_off)) r) f
    WHERE f.rows IS NOT NULL;
  END IF;
  SELECT array_agg(u.id) INTO seen FROM unnest(ids) u(id) LEFT JOIN jobs j ON j.id = u.id
  WHERE (j.id IS NULL OR j.tenant_id = ANY(ours)) AND NOT u.id = ANY(put_off);
  IF seen IS NULL THEN
    SELECT array_agg((-1, w, NULL, NULL, NULL)::ended_1) INTO answer FROM (SELECT w FROM unnest(wanted) w WHERE NOT w = ANY(ours) LIMIT 1) b;
    RETURN;
  END IF;
  WITH x AS MATERIALIZED (
    SELECT e.i, e.outcome, e.result, e.error, now_ms + e.delay_ms AS due, j.id, j.tenant_id, j.seq, j.started_at, j.worker, j.failures,
      CASE WHEN e.outcome = 'done' THEN 4 WHEN e.outcome = 'failed' THEN 5 WHEN e.outcome IN ('cancelled', 'expired') OR j.cancel_requested_at IS NOT NULL THEN 7
        WHEN e.outcome = 'release' THEN 2 WHEN e.outcome = 'retry' AND j.failures >= j.max_retries THEN 6 ELSE 1 END AS becomes
    FROM jsonb_to_recordset(endings) AS e (i int, id bigint, token bigint, outcome text, delay_ms bigint, result text, error text)
    CROSS JOIN LATERAL (SELECT * FROM jobs WHERE jobs.id = e.id OFFSET 0) j WHERE j.state = 3 AND j.token = e.token AND e.id = ANY(seen)),
  -- What the row is about to forget: its claim, and the end of that attempt.
  kept AS (
    INSERT INTO job_events (job_id, seq, at, kind, data)
    SELECT id, seq, started_at, 'claimed', json_build_object('worker', worker, 'attempt', failures + 1)::text FROM x WHERE becomes < 3
    UNION ALL
    SELECT id, seq + 1, now_ms, CASE outcome WHEN 'retry' THEN 'retry' WHEN 'snooze' THEN 'snoozed' ELSE 'released' END,
      CASE WHEN becomes = 1 AND error IS NOT NULL THEN json_build_object('run_at', due, 'error', error::json)
        WHEN becomes = 1 THEN json_build_object('run_at', due) ELSE '{}' END::text
    FROM x WHERE becomes < 3),
  u AS (
    UPDATE jobs SET state = x.becomes, seq = jobs.seq + 1, lease_until = NULL, token = CASE WHEN x.becomes > 3 THEN jobs.token END, losses = 0,
      failures = jobs.failures + (x.outcome IN ('retry', 'failed') AND x.becomes <> 7)::int,
      reason = CASE x.becomes WHEN 5 THEN 'not_retryable' WHEN 6 THEN 'retries_exhausted' WHEN 7 THEN CASE x.outcome WHEN 'expired' THEN 'expired' ELSE 'requested' END END,
      error = CASE WHEN x.outcome = 'done' THEN NULL ELSE coalesce(x.error, jobs.error) END, result = x.result,
      run_at = CASE WHEN x.becomes = 1 THEN x.due ELSE jobs.run_at END,
      ord = CASE WHEN x.becomes = 1 THEN ord_1(x.due, jobs.priority, jobs.id) ELSE jobs.ord END,
      completed_at = CASE WHEN x.becomes > 3 THEN now_ms END,
      expires_at = CASE WHEN x.becomes > 3 THEN expires_1(x.becomes, t, keep_done, keep_dead, now_ms) END
    FROM x JOIN tenants t ON t.tenant_id = x.tenant_id WHERE jobs.id = x.id
    RETURNING x.i, jobs.id, jobs.tail, jobs.state, jobs.reason, jobs.lane_id, jobs.ord, jobs.run_at, jobs.queue_key)
  SELECT array_agg((u.i, u.id, u.tail, u.state, u.reason)::ended_1), array_agg((u.lane_id, 3, u.state, u.ord, u.run_at)::move_1),
    array_agg(u.id) FILTER (WHERE u.queue_key IS NOT NULL AND u.state > 3)
  INTO answer, moves, keyed FROM u;
  IF keyed IS NOT NULL THEN moves := moves || pass_keys_1(keyed, now_ms); END IF;
  IF answer IS NULL OR cardinality(answer) < cardinality(ids) THEN
    answer := answer || ARRAY(
      SELECT (e.i, e.id, NULL, NULL, NULL)::ended_1 FROM jsonb_to_recordset(endings) AS e (i int, id bigint)
      WHERE e.id = ANY(seen) AND NOT EXISTS (SELECT 1 FROM unnest(answer) a WHERE a.i = e.i));
  END IF;
END $$;

-- What a worker does between two of its jobs: it says how some ended, and takes others, in one transaction with one count. Either part may
-- be missing. Answers a row for each ending (see end_attempts_1) and one, with the job, for each that was taken; and one with i = -2 when
-- what ended may have freed something that was left to others.
CREATE FUNCTION turn_1(
  endings jsonb, ending_ids bigint[], follow_ups jsonb, keep_done bigint, keep_dead bigint, ended_at bigint, wait_for bigint,
  wanted int[], most int, tenants_most int, now_ms bigint, until bigint, new_token bigint, new_worker text, wait boolean
) RETURNS SETOF turn_row_1 LANGUAGE plpgsql AS $$
DECLARE
  ended ended_1[];
  moves move_1[];
  chosen bigint[];
  taken move_1[];
  frees boolean := false;
BEGIN
  -- A claim alone is not waited for on disk. A server that crashes may forget it, which is as if the lease were lost; the end of the attempt
  -- comes behind it in the log, and is waited for.
  IF endings IS NULL THEN PERFORM set_config('synchronous_commit', 'off', true); END IF;
  IF endings IS NOT NULL THEN
    SELECT e.answer, e.moves INTO ended, moves FROM end_attempts_1(endings, ending_ids, follow_ups, keep_done, keep_dead, ended_at, wait_for) e;
    RETURN QUERY SELECT e.i, e.id, e.tail, NULL::bigint, NULL::bigint, e.state, e.reason,
      NULL::int, NULL::int, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint,
      NULL::int, NULL::int, NULL::int, NULL::int, NULL::bigint, NULL::bigint, NULL::bigint, NULL::smallint, NULL::text, NULL::text, NULL::text,
      NULL::text, NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text
    FROM unnest(ended) e;
    -- What ends may make something claimable: then it counts before the others are chosen, else with them.
    frees := EXISTS (SELECT 1 FROM unnest(moves) m WHERE m.was <> 3 OR m.becomes < 4)
      OR EXISTS (SELECT 1 FROM (SELECT lane_id, count(*) AS n FROM unnest(moves) GROUP BY lane_id) m JOIN tenants_now t ON t.tenant_id = m.lane_id >> 16
        JOIN lanes l ON l.lane_id = m.lane_id JOIN tasks k ON k.task_id = l.task_id
        WHERE t.held <> 0 OR t.concurrency - t.running < m.n OR l.concurrency IS NOT NULL OR k.concurrency IS NOT NULL);
    IF frees OR most = 0 THEN
      PERFORM count_moves_1(moves);
      moves := NULL;
    END IF;
  END IF;
  IF most > 0 THEN
    SELECT c.ids, c.moves INTO chosen, taken FROM choose_1(wanted, most, tenants_most, now_ms, wait AND endings IS NULL) c;
  END IF;
  IF chosen IS NOT NULL THEN
    RETURN QUERY UPDATE jobs SET state = 3, seq = jobs.seq + 1, claims = jobs.claims + 1, started_at = now_ms, lease_until = until, token = new_token,
      worker = new_worker
    WHERE jobs.id = ANY(chosen)
    RETURNING NULL::int, jobs.id, jobs.tail, jobs.tenant_id, jobs.lane_id, jobs.state, jobs.reason, jobs.priority, jobs.seq, jobs.created_at, jobs.run_at,
        jobs.start_by, jobs.started_at, jobs.completed_at, jobs.expires_at, jobs.failures, jobs.losses, jobs.claims, jobs.max_retries,
        jobs.timeout_ms, jobs.lease_until, jobs.cancel_requested_at, jobs.task_in_payload, jobs.worker, jobs.queue_key, jobs.trace_id,
        jobs.trace_parent, jobs.parent_id, jobs.tags, jobs.progress, jobs.error, jobs.result, jobs.payload;
  END IF;
  PERFORM count_moves_1(moves || taken);
  IF frees AND chosen IS NULL THEN RETURN QUERY SELECT (jsonb_populate_record(NULL::turn_row_1, '{"i": -2}')).*; END IF;
  IF chosen IS NOT NULL THEN
    -- After the tenants have paid: the tag of the latest turn, for each task that was asked for. Whoever wakes in one begins there.
    INSERT INTO turns (task_id, tag)
    SELECT k, t.tag FROM (
      SELECT max(t.vt - t.step) AS tag FROM (SELECT DISTINCT lane_id >> 16 AS id FROM unnest(taken)) m JOIN tenants_now t ON t.tenant_id = m.id) t
    CROSS JOIN unnest(wanted) k
    WHERE t.tag > coalesce((SELECT tag FROM turns n WHERE n.task_id = k ORDER BY tag DESC LIMIT 1), -1);
  END IF;
END $$;

-- Extends leases that are held by that token. Answers {i, id, held, cancel_requested_at} of those it looked at; busy ones are sent again.
CREATE FUNCTION extend_1(leases jsonb, ids bigint[], until bigint) RETURNS SETOF lease_1 LANGUAGE plpgsql AS $$
DECLARE
  wanted bigint[];
  ours bigint[];
BEGIN
  SELECT array_agg(DISTINCT tenant_id) INTO wanted FROM jobs WHERE id = ANY(ids);
  ours := lock_tenants_1(wanted);
  RETURN QUERY WITH e AS MATERIALIZED (SELECT * FROM jsonb_to_recordset(leases) AS e (i int, id bigint, token bigint, progress text)),
  u AS (
    UPDATE jobs SET lease_until = until, losses = 0, progress = coalesce(e.progress, jobs.progress)
    FROM e CROSS JOIN LATERAL (SELECT ctid AS place, state, token, tenant_id FROM jobs WHERE id = e.id OFFSET 0) j
    WHERE jobs.ctid = j.place AND j.state = 3 AND j.token = e.token AND j.tenant_id = ANY(ours)
    RETURNING e.i, jobs.cancel_requested_at)
  SELECT e.i, e.id, u.i IS NOT NULL, u.cancel_requested_at
  FROM e LEFT JOIN jobs j ON j.id = e.id LEFT JOIN u ON u.i = e.i WHERE j.id IS NULL OR j.tenant_id = ANY(ours);
END $$;

-- Sweeps -----------------------------------------------------------------------------------------------------------------------------

-- Takes back leases that have run out; those of busy tenants are left to the next call.
CREATE FUNCTION expire_1(most int, losses_max int, keep_done bigint, keep_dead bigint, now_ms bigint) RETURNS SETOF moved_1 LANGUAGE plpgsql AS $$
DECLARE
  due bigint[];
  wanted bigint[];
  ours bigint[];
  answer moved_1[];
  moves move_1[];
  keyed bigint[];
BEGIN
  SELECT array_agg(d.id), array_agg(DISTINCT d.tenant_id) INTO due, wanted
  FROM (SELECT id, tenant_id FROM jobs WHERE state = 3 AND lease_until <= now_ms ORDER BY lease_until, id LIMIT most) d;
  IF due IS NULL THEN RETURN; END IF;
  ours := lock_tenants_1(wanted);
  WITH x AS MATERIALIZED (
    SELECT id, tenant_id, seq, started_at, worker, failures,
      CASE WHEN cancel_requested_at IS NOT NULL THEN 7 WHEN losses + 1 < losses_max THEN 2 ELSE 6 END AS becomes
    FROM (SELECT * FROM jobs WHERE id = ANY(due) OFFSET 0) j WHERE tenant_id = ANY(ours) AND state = 3 AND lease_until <= now_ms),
  kept AS (
    INSERT INTO job_events (job_id, seq, at, kind, data)
    SELECT id, seq, started_at, 'claimed', json_build_object('worker', worker, 'attempt', failures + 1)::text FROM x WHERE becomes = 2
    UNION ALL SELECT id, seq + 1, now_ms, 'lost', NULL FROM x WHERE becomes = 2),
  u AS (
    UPDATE jobs SET state = x.becomes, seq = jobs.seq + 1, losses = losses + 1, lease_until = NULL, token = NULL,
      reason = CASE x.becomes WHEN 6 THEN 'lease_lost' WHEN 7 THEN 'requested' END,
      completed_at = CASE WHEN x.becomes > 3 THEN now_ms END,
      expires_at = CASE WHEN x.becomes > 3 THEN expires_1(x.becomes, t, keep_done, keep_dead, now_ms) END
    FROM x JOIN tenants t ON t.tenant_id = x.tenant_id WHERE jobs.id = x.id
    RETURNING jobs.id, jobs.tail, jobs.state, jobs.reason, jobs.lane_id, jobs.ord, jobs.queue_key)
  SELECT array_agg((u.id, u.tail, u.state, u.reason)::moved_1), array_agg((u.lane_id, 3, u.state, u.ord, NULL)::move_1),
    array_agg(u.id) FILTER (WHERE u.queue_key IS NOT NULL AND u.state > 3)
  INTO answer, moves, keyed FROM u;
  IF keyed IS NOT NULL THEN moves := moves || pass_keys_1(keyed, now_ms); END IF;
  PERFORM count_moves_1(moves);
  RETURN QUERY SELECT * FROM unnest(answer);
END $$;

-- Ends those of the jobs that wait, and says why.
CREATE FUNCTION end_waiting_1(wanted bigint[], why text, keep_done bigint, now_ms bigint)
RETURNS SETOF moved_1 LANGUAGE plpgsql AS $$
DECLARE
  answer moved_1[];
  moves move_1[];
  keyed bigint[];
BEGIN
  WITH x AS MATERIALIZED (SELECT id, state AS was FROM jobs WHERE id = ANY(wanted) AND state < 3),
  u AS (
    UPDATE jobs SET state = 7, seq = seq + 1, reason = why, completed_at = now_ms, expires_at = expires_1(7, t, keep_done, 0, now_ms)
    FROM x, tenants t WHERE jobs.id = x.id AND t.tenant_id = jobs.tenant_id
    RETURNING jobs.id, jobs.tail, jobs.state, jobs.reason, jobs.lane_id, jobs.queue_key, x.was)
  SELECT array_agg((u.id, u.tail, u.state, u.reason)::moved_1), array_agg((u.lane_id, u.was, 7, NULL, NULL)::move_1),
    array_agg(u.id) FILTER (WHERE u.queue_key IS NOT NULL AND u.was > 0)
  INTO answer, moves, keyed FROM u;
  IF keyed IS NOT NULL THEN moves := moves || pass_keys_1(keyed, now_ms); END IF;
  PERFORM count_moves_1(moves);
  RETURN QUERY SELECT * FROM unnest(answer);
END $$;

-- Cancels waiting jobs whose start deadline has passed; those of busy tenants are left to the next call.
CREATE FUNCTION cancel_late_1(most int, keep_done bigint, now_ms bigint) RETURNS SETOF moved_1 LANGUAGE plpgsql AS $$
DECLARE
  late bigint[];
  wanted bigint[];
  ours bigint[];
BEGIN
  SELECT array_agg(d.id), array_agg(DISTINCT d.tenant_id) INTO late, wanted
  FROM (SELECT id, tenant_id FROM jobs WHERE start_by IS NOT NULL AND state < 3 AND start_by <= now_ms ORDER BY start_by, id LIMIT most) d;
  IF late IS NULL THEN RETURN; END IF;
  ours := lock_tenants_1(wanted);
  SELECT array_agg(id) INTO late FROM jobs WHERE id = ANY(late) AND tenant_id = ANY(ours) AND state < 3 AND start_by <= now_ms;
  RETURN QUERY SELECT * FROM end_waiting_1(late, 'expired', keep_done, now_ms);
END $$;

-- Deletes ended jobs past their retention, with history and tags, and as many outlived keys. Answers how many jobs.
CREATE FUNCTION prune_1(most int, now_ms bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  old bigint[];
  wanted bigint[];
  ours bigint[];
  moves move_1[];
BEGIN
  SELECT array_agg(DISTINCT o.tenant_id), array_agg(o.id) FILTER (WHERE o.id IS NOT NULL) INTO wanted, old FROM (
    (SELECT tenant_id, id FROM jobs WHERE expires_at <= now_ms ORDER BY expires_at, id LIMIT most)
    UNION ALL (SELECT tenant_id, NULL FROM keys WHERE expires_at <= now_ms ORDER BY expires_at LIMIT most)) o;
  IF wanted IS NULL THEN RETURN 0; END IF;
  ours := lock_tenants_1(wanted);
  DELETE FROM keys USING (SELECT tenant_id, kind, key FROM keys WHERE expires_at <= now_ms ORDER BY expires_at LIMIT most) k
  WHERE keys.tenant_id = k.tenant_id AND keys.kind = k.kind AND keys.key = k.key AND k.tenant_id = ANY(ours) AND keys.expires_at <= now_ms;
  WITH d AS (
    DELETE FROM jobs WHERE id = ANY(old) AND tenant_id = ANY(ours) AND expires_at <= now_ms RETURNING id, tenant_id, lane_id, state, tags),
  e AS (DELETE FROM job_events WHERE job_id IN (SELECT id FROM d)),
  t AS (
    DELETE FROM job_tags USING (SELECT d.tenant_id, g.tag, d.id FROM d CROSS JOIN LATERAL jsonb_array_elements_text(d.tags::jsonb) g(tag)) g
    WHERE job_tags.tenant_id = g.tenant_id AND job_tags.tag = g.tag AND job_tags.job_id = g.id)
  SELECT array_agg((lane_id, state, NULL, NULL, NULL)::move_1) INTO moves FROM d;
  PERFORM count_moves_1(moves);
  RETURN coalesce(cardinality(moves), 0);
END $$;

-- Ends the leases of a worker that is gone, as far as their tenants are free. Answers how many; it is called until that is none.
CREATE FUNCTION forfeit_1(gone text, now_ms bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  wanted bigint[];
  ours bigint[];
  changed int;
BEGIN
  LOOP
    SELECT array_agg(DISTINCT tenant_id) INTO wanted FROM jobs WHERE state = 3 AND worker = gone AND lease_until > now_ms;
    IF wanted IS NULL THEN RETURN 0; END IF;
    -- Whoever is left when it is our turn: those for whom we waited may have ended meanwhile.
    ours := lock_tenants_1(wanted[1:200]);
    UPDATE jobs SET lease_until = now_ms WHERE state = 3 AND worker = gone AND lease_until > now_ms AND tenant_id = ANY(ours);
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed > 0 THEN RETURN changed; END IF;
  END LOOP;
END $$;

-- What a person does -----------------------------------------------------------------------------------------------------------------

-- Cancels: a waiting job ends, a running one is asked to. Answers {id, changed} of those it looked at; busy ones are sent again.
CREATE FUNCTION cancel_1(ids bigint[], keep_done bigint, now_ms bigint) RETURNS SETOF changed_1 LANGUAGE plpgsql AS $$
DECLARE
  wanted bigint[];
  ours bigint[];
  seen bigint[];
  cancelled bigint[] := '{}';
BEGIN
  SELECT array_agg(DISTINCT tenant_id) INTO wanted FROM jobs WHERE id = ANY(ids);
  ours := lock_tenants_1(wanted);
  SELECT array_agg(u.id) INTO seen FROM unnest(ids) u(id) LEFT JOIN jobs j ON j.id = u.id WHERE j.id IS NULL OR j.tenant_id = ANY(ours);
  cancelled := cancelled || ARRAY(SELECT id FROM end_waiting_1(seen, 'requested', keep_done, now_ms));
  WITH u AS (
    UPDATE jobs SET cancel_requested_at = now_ms, seq = seq + 1 WHERE id = ANY(seen) AND state = 3 AND cancel_requested_at IS NULL RETURNING id, seq),
  kept AS (INSERT INTO job_events (job_id, seq, at, kind) SELECT id, seq, now_ms, 'cancel_requested' FROM u RETURNING job_id)
  SELECT cancelled || array_agg(job_id) INTO cancelled FROM kept;
  IF cardinality(cancelled) > 0 THEN PERFORM touch_1(); END IF;
  RETURN QUERY SELECT s, s = ANY(cancelled) FROM unnest(seen) s;
END $$;

-- Puts failed, dead and cancelled jobs back in line; with a key it takes the key if nobody has it, else it waits for it.
CREATE FUNCTION retry_1(ids bigint[], now_ms bigint) RETURNS SETOF changed_1 LANGUAGE plpgsql AS $$
DECLARE
  wanted bigint[];
  ours bigint[];
  seen bigint[];
  retried bigint[];
  moves move_1[];
BEGIN
  SELECT array_agg(DISTINCT tenant_id) INTO wanted FROM jobs WHERE id = ANY(ids);
  ours := lock_tenants_1(wanted);
  SELECT array_agg(u.id) INTO seen FROM unnest(ids) u(id) LEFT JOIN jobs j ON j.id = u.id WHERE j.id IS NULL OR j.tenant_id = ANY(ours);
  WITH x AS MATERIALIZED (
    SELECT j.*, CASE WHEN j.queue_key IS NULL THEN 2
      WHEN row_number() OVER (PARTITION BY j.tenant_id, coalesce(j.queue_key, j.id::text) ORDER BY j.id) = 1 AND NOT EXISTS (
        SELECT 1 FROM jobs h WHERE h.tenant_id = j.tenant_id AND h.queue_key = j.queue_key AND h.state > 0 AND h.state < 4)
      THEN 2 ELSE 0 END AS becomes
    FROM jobs j WHERE j.id = ANY(seen) AND j.state > 4),
  -- What the row is about to forget: its last claim, unless the history has that event already, and its end; then the retry itself.
  claim AS (
    INSERT INTO job_events (job_id, seq, at, kind, data)
    SELECT id, seq - 1 - (cancel_requested_at IS NOT NULL)::int, started_at, 'claimed',
      json_build_object('worker', worker, 'attempt', greatest(1, failures + (state NOT IN (5, 6) OR reason = 'lease_lost')::int))::text
    FROM x WHERE started_at IS NOT NULL AND seq - 1 - (cancel_requested_at IS NOT NULL)::int > 1
    ON CONFLICT DO NOTHING),
  kept AS (
    INSERT INTO job_events (job_id, seq, at, kind, data)
    SELECT id, seq, completed_at, CASE state WHEN 5 THEN 'failed' WHEN 6 THEN 'dead_letter' ELSE 'cancelled' END,
      CASE WHEN error IS NULL THEN json_build_object('reason', reason) ELSE json_build_object('reason', reason, 'error', error::json) END::text FROM x
    UNION ALL SELECT id, seq + 1, now_ms, 'retried', NULL FROM x),
  u AS (
    UPDATE jobs SET state = x.becomes, seq = jobs.seq + 1, failures = 0, losses = 0, run_at = now_ms, ord = ord_1(now_ms, jobs.priority, jobs.id),
      start_by = NULL, completed_at = NULL, expires_at = NULL, token = NULL, cancel_requested_at = NULL, reason = NULL, error = NULL, progress = NULL
    FROM x WHERE jobs.id = x.id RETURNING jobs.id, jobs.lane_id, jobs.ord, x.state AS was, x.becomes)
  SELECT array_agg(id), array_agg((lane_id, was, becomes, ord, NULL)::move_1) INTO retried, moves FROM u;
  PERFORM count_moves_1(moves);
  RETURN QUERY SELECT s, coalesce(s = ANY(retried), false) FROM unnest(seen) s;
END $$;

-- Sets what is given for a tenant that is known, and for lanes of it: [{lane_id, concurrency}]. NULL leaves a limit as it is.
CREATE FUNCTION set_limits_1(tenant text, new_concurrency int, new_backlog bigint, new_step bigint, new_paused int, lane_limits jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  id bigint;
BEGIN
  SELECT tenant_id INTO STRICT id FROM tenants WHERE name = tenant;
  PERFORM lock_tenants_1(ARRAY[id]);
  UPDATE tenants SET concurrency = coalesce(new_concurrency, concurrency), own_concurrency = own_concurrency | (new_concurrency IS NOT NULL)::int,
    backlog = coalesce(new_backlog, backlog), own_backlog = own_backlog | (new_backlog IS NOT NULL)::int,
    step = coalesce(new_step, step), paused = coalesce(new_paused, paused)
  WHERE tenant_id = id;
  UPDATE lanes SET concurrency = r.concurrency
  FROM jsonb_to_recordset(lane_limits) AS r (lane_id bigint, concurrency int) WHERE lanes.lane_id = r.lane_id;
  UPDATE lane_state SET writes = l.writes + 1, gen = (l.writes + 1) / 4,
    held = (l.held & ~2) | (coalesce(l.running >= l.concurrency, false)::int << 1)
  FROM jsonb_to_recordset(lane_limits) AS r (lane_id bigint) JOIN lanes_now l ON l.lane_id = r.lane_id
  WHERE lane_state.ctid = l.place;
  PERFORM schedule_1(ARRAY[id]);
  PERFORM touch_1();
END $$;

CREATE FUNCTION set_task_1(task text, has_concurrency boolean, new_concurrency int, new_paused int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE tasks SET concurrency = CASE WHEN has_concurrency THEN new_concurrency ELSE concurrency END, paused = coalesce(new_paused, paused) WHERE name = task;
  PERFORM touch_1();
END $$;

-- Gives tenants without limits of their own the configured ones, some at a time. Answers how many; it is called until that is none. Of two
-- processes that are told different ones, the one that began last goes on: `meta` says whose they are, and whether all tenants have them.
CREATE FUNCTION set_defaults_1(new_concurrency int, new_backlog bigint, begins boolean) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  mine text := new_concurrency || ',' || new_backlog;
  wanted bigint[];
  ours bigint[];
  changed int;
BEGIN
  IF (SELECT value FROM meta WHERE name = 'defaults_held') = mine THEN RETURN 0; END IF;
  IF begins THEN
    DELETE FROM meta WHERE name = 'defaults_held';
    INSERT INTO meta VALUES ('defaults', mine) ON CONFLICT (name) DO UPDATE SET value = mine;
    RETURN 1;
  END IF;
  IF (SELECT value FROM meta WHERE name = 'defaults') <> mine THEN RETURN 0; END IF;
  SELECT array_agg(t.tenant_id) INTO wanted FROM (
    SELECT tenant_id FROM tenants WHERE own_concurrency = 0 AND concurrency <> new_concurrency OR own_backlog = 0 AND backlog <> new_backlog LIMIT 200) t;
  IF wanted IS NULL THEN
    INSERT INTO meta VALUES ('defaults_held', mine) ON CONFLICT (name) DO UPDATE SET value = mine;
    RETURN 0;
  END IF;
  ours := lock_tenants_1(wanted);
  UPDATE tenants SET concurrency = CASE own_concurrency WHEN 0 THEN new_concurrency ELSE concurrency END,
    backlog = CASE own_backlog WHEN 0 THEN new_backlog ELSE backlog END WHERE tenant_id = ANY(ours);
  GET DIAGNOSTICS changed = ROW_COUNT;
  PERFORM schedule_1(ours);
  RETURN changed;
END $$;

-- Whoever calls a function, its names are found in this schema. Its plans are made once per connection, and the same with no rows as with
-- a million: each statement is written to be walked from its arrays through the indexes.
DO $$
DECLARE
  f regprocedure;
BEGIN
  FOR f IN SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE n.nspname = current_schema AND l.lanname = 'plpgsql'
      -- These are called by others only.
      AND p.proname NOT IN ('lock_tenants_1', 'schedule_1', 'count_moves_1', 'fold_totals_1', 'promote_1', 'store_jobs_1', 'end_waiting_1',
        'end_attempts_1', 'choose_1')
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', f, current_schema);
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_seqscan = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_hashjoin = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_mergejoin = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_bitmapscan = off', f);
    EXECUTE format('ALTER FUNCTION %s SET jit = off', f);
    -- Somebody else keeps a tenant's lock: told rather than waited for.
    EXECUTE format('ALTER FUNCTION %s SET lock_timeout = 5000', f);
  END LOOP;
END $$;

-- oldest: code of this schema and newer may use the store. A migration that takes functions away raises it.
INSERT INTO meta VALUES ('schema', '1'), ('oldest', '1');
