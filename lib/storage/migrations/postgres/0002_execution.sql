-- What a queue needs beside its jobs to be trusted: lanes that wait (held, or their circuit open), what becomes of late endings, dead letters
-- by what went wrong, bulk actions, schedules, webhooks, and the workers that were seen.
--
-- Functions of schema 1 are replaced in place where what they are asked and what they answer stays; what they answer more stands in a
-- function of schema 2 beside them, and they answer a part of that. So code of schema 1 goes on with this store.

ALTER TABLE tenants ADD COLUMN webhook_url text;
ALTER TABLE tasks ADD COLUMN reopen_at bigint;   -- all its jobs wait until then: compared with the time, nobody has to clear it
-- reopen_at: the lane waits until then, and until somebody has opened it. circuit: 1 open (it waits) or probing (one job at a time).
-- streak: so many failures in a row were alike. next_due is also when the lane opens again, so that one index says both.
ALTER TABLE lane_state ADD COLUMN circuit smallint NOT NULL DEFAULT 0, ADD COLUMN streak int NOT NULL DEFAULT 0, ADD COLUMN streak_fingerprint text;
CREATE INDEX lanes_held ON lane_state (task_id) WHERE circuit > 0 OR reopen_at IS NOT NULL;

-- overdue: 1 where the worker was there when the time of the attempt was over.
ALTER TABLE jobs ADD COLUMN webhook_told smallint NOT NULL DEFAULT 0, ADD COLUMN overdue smallint NOT NULL DEFAULT 0, DROP COLUMN copy_of, ADD COLUMN copy_of text;
CREATE INDEX jobs_groups ON jobs (fingerprint, id, lane_id, completed_at, reason) WHERE state IN (5, 6);
-- After the index is there: before, it would be of no use to anybody as long as an old snapshot is kept.
UPDATE jobs SET fingerprint = CASE reason WHEN 'lease_lost' THEN 'lease_lost' ELSE 'unknown' END WHERE state IN (5, 6) AND fingerprint IS NULL;
CREATE INDEX jobs_untold ON jobs (completed_at, id) WHERE webhook_url IS NOT NULL AND webhook_told = 0 AND state > 3;

CREATE TABLE bulk_actions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id bigint,                            -- NULL: jobs of all tenants
  action text NOT NULL,
  name text,
  status text NOT NULL,
  reason text,
  filter text, ids text,                       -- JSON; one of both
  rate_per_s int,
  canary int,
  canary_ids text NOT NULL DEFAULT '[]',
  cursor bigint,                               -- jobs below are still to be looked at
  seen bigint NOT NULL DEFAULT 0, changed bigint NOT NULL DEFAULT 0, skipped bigint NOT NULL DEFAULT 0,
  created_at bigint NOT NULL, updated_at bigint NOT NULL, ended_at bigint,
  next_at bigint
);
CREATE INDEX bulk_actions_due ON bulk_actions (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX bulk_actions_alive ON bulk_actions (coalesce(tenant_id, 0)) WHERE next_at IS NOT NULL;
CREATE INDEX bulk_actions_of_tenant ON bulk_actions (tenant_id, id);
CREATE INDEX bulk_actions_ended ON bulk_actions (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE schedules (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  task text NOT NULL, payload text NOT NULL, cron text NOT NULL, timezone text NOT NULL, missed text NOT NULL, overlap text NOT NULL,
  paused smallint NOT NULL,
  max_retries int NOT NULL,
  next_at bigint, last_at bigint, last_job_id bigint,
  created_at bigint NOT NULL, updated_at bigint NOT NULL,
  UNIQUE (tenant_id, name)
);
CREATE INDEX schedules_due ON schedules (next_at) WHERE paused = 0 AND next_at IS NOT NULL;

CREATE TABLE workers (
  name text PRIMARY KEY,
  kind text NOT NULL, tasks text NOT NULL, version text NOT NULL,
  first_seen_at bigint NOT NULL, last_seen_at bigint NOT NULL
);
CREATE INDEX workers_seen ON workers (last_seen_at);

-- Most running in a lane: one at a time while its circuit is not closed.
CREATE FUNCTION may_run_2(circuit smallint, concurrency int) RETURNS int LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN circuit = 1 THEN least(1, coalesce(concurrency, 1)) ELSE concurrency END $$;
-- Why a lane is not in line, in bits: 1 its tenant, 2 as many run as may, 4 it waits until it is opened.
CREATE FUNCTION held_2(was int, running bigint, most int, reopen_at bigint) RETURNS int LANGUAGE sql IMMUTABLE AS
$$ SELECT (was & 1) | (coalesce(running >= most, false)::int << 1) | ((reopen_at IS NOT NULL)::int << 2) $$;

-- A call that is on its way meanwhile goes on with the functions as they were: no column here may be called as a variable is there.
CREATE OR REPLACE VIEW tenants_now AS
  SELECT t.tenant_id, t.name, t.concurrency, t.backlog, t.own_concurrency, t.own_backlog, t.step, t.paused, t.start_rate_full, t.reopen_at,
    t.keep_done_ms, t.keep_dead_ms, s.place, s.writes, s.vt, s.ready, s.delayed, s.blocked, s.running, s.done, s.failed, s.dead, s.cancelled,
    (s.running >= t.concurrency)::int | (t.paused << 1) | (t.start_rate_full << 2) AS held, s.ready + s.delayed + s.blocked AS waiting,
    t.webhook_url
  FROM tenants t CROSS JOIN LATERAL (SELECT ctid AS place, * FROM tenant_state WHERE tenant_id = t.tenant_id ORDER BY gen DESC LIMIT 1) s;
CREATE OR REPLACE VIEW lanes_now AS
  SELECT l.lane_id, l.task_id, l.concurrency, s.place, s.writes, s.held, s.vt, s.next_due, s.head,
    s.ready, s.delayed, s.blocked, s.running, s.done, s.failed, s.dead, s.cancelled, s.claimable,
    s.circuit, s.streak, s.streak_fingerprint, s.reopen_at, may_run_2(s.circuit, l.concurrency) AS may_run
  FROM lanes l CROSS JOIN LATERAL (SELECT ctid AS place, * FROM lane_state WHERE lane_id = l.lane_id ORDER BY gen DESC LIMIT 1) s;

CREATE TYPE submitted_2 AS (i int, status text, id bigint, webhook_url text);
CREATE TYPE turn_row_2 AS (
  i int, id bigint, tail bigint, tenant_id bigint, lane_id bigint, state smallint, reason text, priority int, seq int, created_at bigint, run_at bigint,
  start_by bigint, started_at bigint, completed_at bigint, expires_at bigint, failures int, losses int, claims int, max_retries int,
  timeout_ms bigint, lease_until bigint, cancel_requested_at bigint, task_in_payload smallint, worker text, queue_key text, trace_id text,
  trace_parent text, parent_id bigint, copy_of text, webhook_url text, fingerprint text, tags text, progress text, error text, result text, payload text,
  circuit text);
-- An attempt that failed, of a job that waits again or is a dead letter by now, and what that says to others of its lane and task.
CREATE TYPE failure_2 AS (
  i int, id bigint, lane_id bigint, state smallint, fingerprint text, until bigint, hold text, circuit_failures int, circuit_counts boolean);
CREATE TYPE runnable_lane_2 AS (tenant_id bigint, task_id int, available bigint, room bigint, free bigint);
CREATE TYPE lease_2 AS (i int, id bigint, held boolean, cancel_requested_at bigint, lease_until bigint);

-- Counting ---------------------------------------------------------------------------------------------------------------------------

-- As it was, but for the limit of a lane, and that a job which is done ends a row of failures.
CREATE OR REPLACE FUNCTION count_moves_1(moves move_1[]) RETURNS void LANGUAGE plpgsql AS $$
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
    held = (l.held & 4) | (t.held <> 0)::int | (coalesce(l.running + m.running >= l.may_run, false)::int << 1),
    next_due = least(l.next_due, m.due),
    -- What is ready comes behind what a claim has taken (or has the same ord), until something is put before it.
    head = CASE WHEN m.taken IS NOT NULL THEN m.taken WHEN l.ready = 0 THEN coalesce(m.head, l.head) ELSE least(l.head, m.head) END,
    streak = CASE WHEN m.done > 0 THEN 0 ELSE l.streak END,
    streak_fingerprint = CASE WHEN m.done > 0 THEN NULL ELSE l.streak_fingerprint END,
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

-- Gives numbers to tasks that have none: to all of them, or to none where more than `most` would be known then.
CREATE FUNCTION write_tasks_2(names text[], most int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(lock_key_1('meta', 0));
  IF (SELECT count(*) FROM tasks)
    + (SELECT count(DISTINCT n.name) FROM unnest(names) n(name) WHERE NOT EXISTS (SELECT 1 FROM tasks k WHERE k.name = n.name)) > most THEN RETURN; END IF;
  PERFORM write_tasks_1(names);
END $$;

-- Submit -----------------------------------------------------------------------------------------------------------------------------

-- Stores jobs of tenants whose locks are `ours`; rows of others are left alone and missing in the answer. Rows with a parent are its
-- follow-ups: stored while its lease is held. These and unbounded ones are stored above any backlog.
CREATE FUNCTION store_jobs_2(rows jsonb, keyed boolean, ours bigint[], now_ms bigint) RETURNS SETOF submitted_2 LANGUAGE plpgsql AS $$
DECLARE
  ids bigint[];
  seen int[];
  stored bigint[];
  hooks jsonb;
  moves move_1[];
BEGIN
  SELECT array_agg(nextval('job_ids')) INTO ids FROM generate_series(1, jsonb_array_length(rows));
  IF keyed THEN
    -- The first request with a key takes it for the id its job is about to get; an outlived key is as good as none.
    INSERT INTO keys (tenant_id, kind, key, job_id, fingerprint, expires_at)
    SELECT DISTINCT ON (r.lane_id >> 16, coalesce(r.key_kind, 1), r.key) r.lane_id >> 16, coalesce(r.key_kind, 1), r.key, ids[r.i + 1], r.fingerprint, r.key_expires_at
    FROM jsonb_to_recordset(rows) AS r (i int, lane_id bigint, key text, key_kind smallint, fingerprint text, key_expires_at bigint)
    WHERE r.key IS NOT NULL AND r.lane_id >> 16 = ANY(ours) ORDER BY r.lane_id >> 16, coalesce(r.key_kind, 1), r.key, r.i
    ON CONFLICT (tenant_id, kind, key) DO UPDATE SET job_id = excluded.job_id, fingerprint = excluded.fingerprint, expires_at = excluded.expires_at
    WHERE keys.expires_at <= now_ms;
  END IF;
  WITH r AS MATERIALIZED (
    SELECT ids[n.i + 1] AS id, n.lane_id >> 16 AS tenant_id, n.*, greatest(coalesce(n.run_at, 0), now_ms) AS due
    FROM jsonb_to_recordset(rows) AS n (i int, lane_id bigint, priority int, run_at bigint, start_by bigint, max_retries int, timeout_ms bigint,
      tail bigint, task_in_payload smallint, queue_key text, trace_id text, trace_parent text, tags text, payload text, parent_id bigint,
      parent_token bigint, key text, key_kind smallint, copy_of text, webhook_url text, no_webhook boolean, unbounded boolean)
    WHERE n.lane_id >> 16 = ANY(ours)),
  fits AS MATERIALIZED (
    SELECT f.*, row_number() OVER (PARTITION BY f.tenant_id, f.queue_key ORDER BY f.i) AS in_line FROM (
      SELECT r.*, t.backlog - t.waiting AS room, row_number() OVER (PARTITION BY r.tenant_id ORDER BY r.i) AS place, t.webhook_url AS tenants_url
      FROM r JOIN tenants_now t ON t.tenant_id = r.tenant_id
      WHERE NOT keyed OR r.key IS NULL OR EXISTS (
        SELECT 1 FROM keys k WHERE k.tenant_id = r.tenant_id AND k.kind = coalesce(r.key_kind, 1) AND k.key = r.key AND k.job_id = r.id)) f
    WHERE CASE WHEN f.parent_id IS NULL THEN f.place <= f.room OR f.unbounded
      ELSE EXISTS (SELECT 1 FROM jobs p WHERE p.id = f.parent_id AND p.state = 3 AND p.token = f.parent_token) END),
  i AS (
    INSERT INTO jobs (id, tenant_id, lane_id, state, ord, priority, created_at, run_at, start_by, max_retries, timeout_ms, tail,
      task_in_payload, queue_key, trace_id, trace_parent, tags, payload, parent_id, copy_of, webhook_url)
    SELECT id, tenant_id, lane_id,
      CASE WHEN queue_key IS NOT NULL AND (in_line > 1 OR EXISTS (
          SELECT 1 FROM jobs h WHERE h.tenant_id = fits.tenant_id AND h.queue_key = fits.queue_key AND h.state > 0 AND h.state < 4)) THEN 0
        WHEN due > now_ms THEN 1 ELSE 2 END,
      ord_1(due, coalesce(priority, 0), id), coalesce(priority, 0), now_ms, due, start_by, max_retries, timeout_ms, tail,
      coalesce(task_in_payload, 0), queue_key, trace_id, trace_parent, tags, payload, parent_id, copy_of,
      CASE WHEN no_webhook IS NOT TRUE THEN coalesce(webhook_url, tenants_url) END
    FROM fits ORDER BY i
    RETURNING id, lane_id, state, ord, run_at, webhook_url),
  tagged AS (
    INSERT INTO job_tags (tenant_id, tag, job_id)
    SELECT DISTINCT fits.tenant_id, g.tag, fits.id FROM fits CROSS JOIN LATERAL jsonb_array_elements_text(fits.tags::jsonb) g(tag) WHERE fits.tags IS NOT NULL)
  SELECT array_agg((lane_id, NULL, state, ord, run_at)::move_1), array_agg(id), jsonb_object_agg(id, webhook_url) FILTER (WHERE webhook_url IS NOT NULL),
    (SELECT array_agg(r.i) FROM r)
  INTO moves, stored, hooks, seen FROM i;
  PERFORM count_moves_1(moves);
  IF NOT keyed THEN
    RETURN QUERY SELECT s, CASE WHEN ids[s + 1] = ANY(stored) THEN 'created' ELSE 'backlog_full' END, ids[s + 1], hooks->>ids[s + 1]::text
    FROM unnest(seen) s;
    RETURN;
  END IF;
  -- A key whose job did not fit the backlog is free again.
  DELETE FROM keys USING jsonb_to_recordset(rows) AS r (i int, lane_id bigint, key text, key_kind smallint)
  WHERE keys.tenant_id = r.lane_id >> 16 AND keys.kind = coalesce(r.key_kind, 1) AND keys.key = r.key AND keys.job_id = ids[r.i + 1]
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = keys.job_id);
  RETURN QUERY SELECT r.i,
    CASE WHEN ids[r.i + 1] = ANY(stored) THEN 'created' WHEN k.job_id IS NULL THEN 'backlog_full'
      WHEN k.fingerprint IS NOT DISTINCT FROM r.fingerprint THEN 'replayed' ELSE 'key_conflict' END,
    CASE WHEN ids[r.i + 1] = ANY(stored) THEN ids[r.i + 1] ELSE k.job_id END, hooks->>ids[r.i + 1]::text
  FROM jsonb_to_recordset(rows) AS r (i int, lane_id bigint, key text, key_kind smallint, fingerprint text)
  LEFT JOIN keys k ON k.tenant_id = r.lane_id >> 16 AND k.kind = coalesce(r.key_kind, 1) AND k.key = r.key
  WHERE r.i = ANY(seen);
END $$;
CREATE OR REPLACE FUNCTION store_jobs_1(rows jsonb, keyed boolean, ours bigint[], now_ms bigint) RETURNS SETOF submitted_1 LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY SELECT i, status, id FROM store_jobs_2(rows, keyed, ours, now_ms);
END $$;

CREATE FUNCTION submit_2(rows jsonb, keyed boolean, tenant_ids bigint[], now_ms bigint) RETURNS SETOF submitted_2 LANGUAGE plpgsql AS $$
DECLARE
  ours bigint[] := lock_tenants_1(tenant_ids);
BEGIN
  RETURN QUERY SELECT * FROM store_jobs_2(rows, keyed, ours, now_ms);
END $$;

-- Claim ------------------------------------------------------------------------------------------------------------------------------

-- Makes delayed jobs ready that are due, and opens lanes that have waited long enough: of at most 64 lanes, the longest due first, at most
-- 32 jobs each.
-- What it answers was another thing in the first stores of schema 1.
DROP FUNCTION IF EXISTS promote_1(bigint);
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
  UPDATE lane_state SET writes = l.writes + 1, gen = (l.writes + 1) / 4, reopen_at = l.opens_at, held = held_2(l.held, l.running, l.may_run, l.opens_at),
    next_due = least(l.opens_at, (SELECT greatest(now_ms, j.run_at) FROM jobs j WHERE j.lane_id = l.lane_id AND j.state = 1 ORDER BY j.run_at LIMIT 1))
  FROM unnest(lane_ids) u(id) CROSS JOIN LATERAL (
    SELECT *, CASE WHEN reopen_at > now_ms THEN reopen_at END AS opens_at FROM lanes_now WHERE lane_id = u.id) l
  WHERE lane_state.ctid = l.place;
END $$;

-- As it was, but for tasks that are held and the limit of a lane.
CREATE OR REPLACE FUNCTION choose_1(wanted int[], most int, tenants_most int, now_ms bigint, wait boolean, OUT ids bigint[], OUT moves move_1[]) LANGUAGE plpgsql AS $$
DECLARE
  asked int[];
  limited int[];
  first record;
  passed_over bigint;
  tenant_ids bigint[];
  quotas bigint[];
BEGIN
  SELECT array_agg(task_id) INTO asked FROM tasks WHERE task_id = ANY(wanted) AND paused = 0 AND (reopen_at IS NULL OR reopen_at <= now_ms);
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
    SELECT t.tenant_id, t.vt, t.step, least(t.concurrency - t.running, sum(least(l.ready, coalesce(l.may_run - l.running, l.ready))), most) AS turns
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
      LIMIT least(q.n, l.ready, coalesce(l.may_run - l.running, l.ready))) j
    WHERE l.claimable),
  chosen AS (
    SELECT id, ord, lane_id, task_id, row_number() OVER (PARTITION BY task_id ORDER BY place, t) AS place FROM ranked WHERE place <= n)
  SELECT array_agg(c.id), array_agg((c.lane_id, 2, 3, c.ord, NULL)::move_1) INTO ids, moves
  FROM chosen c WHERE limited IS NULL OR c.place <= coalesce((SELECT room_1(k.task_id, k.concurrency) FROM tasks k WHERE k.task_id = c.task_id), most);
END $$;

-- The lanes of these tasks (NULL: of all), of one tenant or of all (NULL), that a claim would walk, `most` of them: what each could give, what
-- its task has room for, where that has a limit, and what its tenant may start.
CREATE FUNCTION runnable_lanes_2(wanted int[], tenant bigint, most bigint, now_ms bigint) RETURNS SETOF runnable_lane_2 LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY WITH task AS MATERIALIZED (
    SELECT task_id, CASE WHEN concurrency IS NOT NULL THEN room_1(task_id, concurrency) END AS room
    FROM tasks WHERE paused = 0 AND (reopen_at IS NULL OR reopen_at <= now_ms) AND (wanted IS NULL OR task_id = ANY(wanted)))
  SELECT l.lane_id >> 16, k.task_id, least(l.ready, coalesce(m.may_run - l.running, l.ready)), k.room, t.free
  FROM task k CROSS JOIN LATERAL (
    (SELECT lane_id, ready, running, circuit FROM lane_state WHERE tenant IS NULL AND task_id = k.task_id AND claimable ORDER BY vt LIMIT most)
    UNION ALL
    (SELECT lane_id, ready, running, circuit FROM lanes_now WHERE tenant IS NOT NULL AND lane_id = (tenant << 16) | k.task_id AND claimable)) l
  CROSS JOIN LATERAL (SELECT may_run_2(l.circuit, concurrency) AS may_run FROM lanes WHERE lane_id = l.lane_id OFFSET 0) m
  CROSS JOIN LATERAL (
    SELECT CASE WHEN paused = 0 AND start_rate_full = 0 THEN concurrency - running ELSE 0 END AS free
    FROM tenants_now WHERE tenant_id = l.lane_id >> 16 OFFSET 0) t
  WHERE k.room IS NULL OR k.room > 0 LIMIT most;
END $$;

-- Ends -------------------------------------------------------------------------------------------------------------------------------

-- Writes down what the rows of jobs still tell, and are about to forget or to tell at another place: the latest claim, and the end. What the
-- history has stays as it is. `circuit`: what the end did to the circuit of its lane.
CREATE FUNCTION keep_told_2(ids bigint[], circuit text DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO job_events (job_id, seq, at, kind, data)
  SELECT j.id, j.claim_seq, j.started_at, 'claimed',
    json_build_object('worker', j.worker, 'attempt', greatest(1, j.failures + (j.state NOT IN (5, 6) OR j.reason = 'lease_lost')::int))::text
  FROM (SELECT *, seq - (state > 3)::int - (cancel_requested_at IS NOT NULL)::int AS claim_seq FROM jobs WHERE id = ANY(ids)) j
  WHERE j.state > 2 AND j.started_at IS NOT NULL AND j.claim_seq > 1
  UNION ALL
  SELECT id, seq, completed_at, CASE state WHEN 4 THEN 'done' WHEN 5 THEN 'failed' WHEN 6 THEN 'dead_letter' ELSE 'cancelled' END,
    '{"reason":' || coalesce(to_json(reason)::text, 'null') || coalesce(',"error":' || error, '') || coalesce(',"circuit":' || to_json(circuit)::text, '') || '}'
  FROM jobs WHERE id = ANY(ids) AND state > 3
  ON CONFLICT DO NOTHING;
END $$;

-- Ends attempts whose lease is still held by that token. One that fails while the circuit of its lane is open, or probes, uses no attempt where
-- circuits count: its job waits again, however often it has failed, while no more than 100 of its claims used none (PROBES_FREE_MAX in
-- lib/job.ts). Answers what became of these, the moves, and those that failed. Answers `rest` of
-- every other ending that was looked at: what its job is now, where the same token had ended it before, else no state. The others belong to
-- tenants that are busy and are sent again. When all are, an answer with i = -1 names, as id, a tenant to wait for.
CREATE FUNCTION end_attempts_2(endings jsonb, ids bigint[], follow_ups jsonb, keep_done bigint, keep_dead bigint, now_ms bigint, wait_for bigint,
  OUT answer ended_1[], OUT rest ended_1[], OUT moves move_1[], OUT failed failure_2[]) LANGUAGE plpgsql AS $$
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
    PERFORM store_jobs_2(f.rows, f.keyed, ours, now_ms) FROM (
      SELECT jsonb_agg(jsonb_set(r.row, '{i}', to_jsonb(r.place - 1)) ORDER BY r.place) AS rows, bool_or(r.row ? 'key') AS keyed FROM (
        SELECT e.row, row_number() OVER (ORDER BY e.o) AS place FROM jsonb_array_elements(follow_ups) WITH ORDINALITY e(row, o)
        WHERE NOT (e.row->>'parent_id')::bigint = ANY(put_off)) r) f
    WHERE f.rows IS NOT NULL;
  END IF;
  SELECT array_agg(u.id) INTO seen FROM unnest(ids) u(id) LEFT JOIN jobs j ON j.id = u.id
  WHERE (j.id IS NULL OR j.tenant_id = ANY(ours)) AND NOT u.id = ANY(put_off);
  IF seen IS NULL THEN
    SELECT array_agg((-1, w, NULL, NULL, NULL)::ended_1) INTO rest FROM (SELECT w FROM unnest(wanted) w WHERE NOT w = ANY(ours) LIMIT 1) b;
    RETURN;
  END IF;
  WITH x AS MATERIALIZED (
    SELECT e.i, e.outcome, e.result, e.error, CASE WHEN e.outcome IN ('retry', 'failed') THEN coalesce(e.fingerprint, 'unknown') END AS fingerprint,
      now_ms + e.delay_ms AS due, e.hold, e.circuit_failures, coalesce(e.circuit_counts, true) AS circuit_counts, j.id, j.tenant_id, j.seq, j.started_at, j.worker, j.failures, p.probes,
      -- It comes to nothing, and the history is long (EVENTS_MAX in lib/job.ts): unless something is written behind its claim, it is left out.
      (e.outcome IN ('snooze', 'release') OR p.probes) AND j.cancel_requested_at IS NULL AND j.seq > 200
        AND NOT EXISTS (SELECT 1 FROM job_events h WHERE h.job_id = j.id AND h.seq = j.seq) AS left_out,
      CASE WHEN e.outcome = 'done' THEN 4 WHEN e.outcome = 'failed' THEN 5 WHEN e.outcome IN ('cancelled', 'expired') OR j.cancel_requested_at IS NOT NULL THEN 7
        WHEN e.outcome = 'release' THEN 2 WHEN e.outcome = 'retry' AND j.failures >= j.max_retries AND NOT p.probes THEN 6 ELSE 1 END AS becomes
    FROM jsonb_to_recordset(endings) AS e (i int, id bigint, token bigint, outcome text, delay_ms bigint, result text, error text, fingerprint text,
      hold text, circuit_failures int, circuit_counts boolean)
    CROSS JOIN LATERAL (SELECT * FROM jobs WHERE jobs.id = e.id OFFSET 0) j
    CROSS JOIN LATERAL (
      SELECT CASE WHEN e.outcome = 'retry' AND e.circuit_failures IS NOT NULL AND j.claims - j.failures <= 100
        THEN coalesce((SELECT l.circuit = 1 FROM lanes_now l WHERE l.lane_id = j.lane_id), false) ELSE false END AS probes OFFSET 0) p
    WHERE j.state = 3 AND j.token = e.token AND e.id = ANY(seen)),
  -- What the row is about to forget: its claim, unless the history has it already, and the end of that attempt.
  kept AS (
    INSERT INTO job_events (job_id, seq, at, kind, data)
    SELECT id, seq, started_at, 'claimed', json_build_object('worker', worker, 'attempt', failures + 1)::text FROM x WHERE becomes < 3 AND NOT left_out
    UNION ALL
    SELECT id, seq + 1, now_ms, CASE outcome WHEN 'retry' THEN 'retry' WHEN 'snooze' THEN 'snoozed' ELSE 'released' END,
      CASE WHEN probes THEN json_build_object('run_at', due, 'error', error::json, 'circuit', 'probe')
        WHEN becomes = 1 AND error IS NOT NULL THEN json_build_object('run_at', due, 'error', error::json)
        WHEN becomes = 1 THEN json_build_object('run_at', due)
        WHEN error IS NOT NULL THEN json_build_object('error', error::json) ELSE '{}' END::text
    FROM x WHERE becomes < 3 AND NOT left_out
    ON CONFLICT DO NOTHING),
  u AS (
    UPDATE jobs SET state = x.becomes, seq = jobs.seq + CASE WHEN x.left_out THEN -1 ELSE 1 END, lease_until = NULL, losses = 0, overdue = 0,
      failures = jobs.failures + (x.outcome IN ('retry', 'failed') AND x.becomes <> 7 AND NOT x.probes)::int,
      reason = CASE x.becomes WHEN 5 THEN 'not_retryable' WHEN 6 THEN 'retries_exhausted' WHEN 7 THEN CASE x.outcome WHEN 'expired' THEN 'expired' ELSE 'requested' END END,
      -- What is given back keeps the error that it had.
      error = CASE WHEN x.outcome = 'done' THEN NULL WHEN x.fingerprint IS NULL THEN jobs.error ELSE x.error END,
      fingerprint = CASE WHEN x.outcome = 'done' THEN NULL ELSE coalesce(x.fingerprint, jobs.fingerprint) END, result = x.result,
      run_at = CASE WHEN x.becomes = 1 THEN x.due ELSE jobs.run_at END,
      ord = CASE WHEN x.becomes = 1 THEN ord_1(x.due, jobs.priority, jobs.id) ELSE jobs.ord END,
      completed_at = CASE WHEN x.becomes > 3 THEN now_ms END,
      expires_at = CASE WHEN x.becomes > 3 THEN expires_1(x.becomes, t, keep_done, keep_dead, now_ms) END
    FROM x JOIN tenants t ON t.tenant_id = x.tenant_id WHERE jobs.id = x.id
    RETURNING x.i, jobs.id, jobs.tail, jobs.state, jobs.reason, jobs.lane_id, jobs.ord, jobs.run_at, jobs.queue_key,
      x.outcome, x.due, x.fingerprint, x.hold, x.circuit_failures, x.circuit_counts)
  SELECT array_agg((u.i, u.id, u.tail, u.state, u.reason)::ended_1), array_agg((u.lane_id, 3, u.state, u.ord, u.run_at)::move_1),
    array_agg(u.id) FILTER (WHERE u.queue_key IS NOT NULL AND u.state > 3),
    array_agg((u.i, u.id, u.lane_id, u.state, u.fingerprint, u.due, u.hold, u.circuit_failures, u.circuit_counts)::failure_2)
      FILTER (WHERE u.outcome = 'retry' AND u.state IN (1, 6))
  INTO answer, moves, keyed, failed FROM u;
  IF keyed IS NOT NULL THEN moves := moves || pass_keys_1(keyed, now_ms); END IF;
  IF answer IS NULL OR cardinality(answer) < cardinality(ids) THEN
    SELECT array_agg((e.i, e.id, j.tail, j.state, j.reason)::ended_1) INTO rest
    FROM jsonb_to_recordset(endings) AS e (i int, id bigint, token bigint)
    LEFT JOIN LATERAL (SELECT * FROM jobs WHERE jobs.id = e.id OFFSET 0) j ON j.token = e.token AND j.state <> 3
    WHERE e.id = ANY(seen) AND NOT EXISTS (SELECT 1 FROM unnest(answer) a WHERE a.i = e.i);
  END IF;
END $$;
CREATE OR REPLACE FUNCTION end_attempts_1(endings jsonb, ids bigint[], follow_ups jsonb, keep_done bigint, keep_dead bigint, now_ms bigint, wait_for bigint,
  OUT answer ended_1[], OUT moves move_1[]) LANGUAGE plpgsql AS $$
BEGIN
  SELECT e.answer || e.rest, e.moves INTO answer, moves FROM end_attempts_2(endings, ids, follow_ups, keep_done, keep_dead, now_ms, wait_for) e;
END $$;

-- Closes the circuits of lanes in which a job was done, and says so in the history of the last of these. A hold that goes on for longer than
-- a circuit does was asked for by a dependency: it stays.
CREATE FUNCTION close_circuits_2(lane_ids bigint[], ended ended_1[], probe_ms bigint, now_ms bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM keep_told_2(ARRAY(
    SELECT max(j.id) FROM unnest(ended) e CROSS JOIN LATERAL (SELECT * FROM jobs WHERE jobs.id = e.id OFFSET 0) j
    WHERE e.state = 4 AND j.lane_id = ANY(lane_ids) GROUP BY j.lane_id), 'closed');
  UPDATE lane_state SET writes = l.writes + 1, gen = (l.writes + 1) / 4, circuit = 0, reopen_at = l.opens_at,
    held = held_2(l.held, l.running, l.concurrency, l.opens_at),
    next_due = least(l.opens_at, (SELECT j.run_at FROM jobs j WHERE j.lane_id = l.lane_id AND j.state = 1 ORDER BY j.run_at LIMIT 1))
  FROM unnest(lane_ids) u(id) CROSS JOIN LATERAL (
    SELECT *, CASE WHEN reopen_at > now_ms + probe_ms THEN reopen_at END AS opens_at FROM lanes_now WHERE lane_id = u.id) l
  WHERE lane_state.ctid = l.place;
END $$;

-- What attempts that failed say to others of their lanes: how many in a row were alike, that the circuit opens, and how long to wait. One
-- that does not count, since its dependency said when to come back, only keeps a circuit open that is. In
-- the lanes of `done` something else was done meanwhile: their failures count for nothing. Answers the jobs whose attempts have opened a
-- circuit that was closed.
CREATE FUNCTION note_failures_2(failed failure_2[], done bigint[], probe_ms bigint, now_ms bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  opened bigint[];
BEGIN
  WITH f AS MATERIALIZED (
    SELECT lane_id, count(*) FILTER (WHERE circuit_counts) AS n, min(fingerprint) FILTER (WHERE circuit_counts) AS fingerprint,
      count(DISTINCT fingerprint) FILTER (WHERE circuit_counts) = 1 AS alike, max(circuit_failures) AS most_failures,
      max(least(until, now_ms + 3600000)) FILTER (WHERE hold = 'tenant' AND until > now_ms) AS held_until,
      (array_agg(id ORDER BY i DESC) FILTER (WHERE circuit_counts))[1] AS last, coalesce(lane_id = ANY(done), false) AS recovered
    FROM unnest(failed) GROUP BY lane_id),
  x AS MATERIALIZED (
    SELECT l.lane_id, l.place, l.writes, l.held, l.running, l.concurrency, l.circuit, l.reopen_at, f.held_until, f.last, f.recovered, f.most_failures,
      f.n, CASE WHEN f.recovered THEN 0 WHEN f.n = 0 THEN l.streak WHEN NOT f.alike THEN 0
        WHEN f.fingerprint = l.streak_fingerprint THEN l.streak + f.n ELSE f.n END AS streak,
      CASE WHEN f.recovered THEN NULL WHEN f.n = 0 THEN l.streak_fingerprint WHEN f.alike THEN f.fingerprint END AS fingerprint
    FROM f JOIN lanes_now l ON l.lane_id = f.lane_id),
  o AS MATERIALIZED (SELECT *, NOT recovered AND coalesce(circuit = 1 AND most_failures IS NOT NULL OR n > 0 AND streak >= most_failures, false) AS opens FROM x),
  y AS MATERIALIZED (
    SELECT *, greatest(CASE WHEN opens OR circuit = 0 OR reopen_at > now_ms + probe_ms THEN reopen_at END, held_until,
      CASE WHEN opens THEN now_ms + probe_ms END) AS opens_at FROM o),
  u AS (
    UPDATE lane_state SET writes = y.writes + 1, gen = (y.writes + 1) / 4, streak = y.streak, streak_fingerprint = y.fingerprint,
      circuit = y.opens::int, reopen_at = y.opens_at, held = held_2(y.held, y.running, may_run_2(y.opens::int::smallint, y.concurrency), y.opens_at),
      next_due = least(y.opens_at, (SELECT j.run_at FROM jobs j WHERE j.lane_id = y.lane_id AND j.state = 1 ORDER BY j.run_at LIMIT 1))
    FROM y WHERE lane_state.ctid = y.place)
  SELECT array_agg(last) INTO opened FROM y WHERE opens AND circuit = 0;
  IF opened IS NULL THEN RETURN NULL; END IF;
  UPDATE job_events SET data = left(e.data, -1) || ', "circuit" : "opened"}'
  FROM unnest(opened) u(id) JOIN jobs j ON j.id = u.id JOIN job_events e ON e.job_id = j.id AND e.seq = j.seq
  WHERE j.state = 1 AND job_events.job_id = e.job_id AND job_events.seq = e.seq;
  PERFORM keep_told_2(ARRAY(SELECT f.id FROM unnest(failed) f WHERE f.id = ANY(opened) AND f.state = 6), 'opened');
  RETURN opened;
END $$;

-- What a worker does between two of its jobs: it says how some ended, and takes others, in one transaction with one count. Either part may
-- be missing. Answers a row for each ending (see end_attempts_2; `circuit`: opened, where it has opened one) and one, with the job, for each that was taken; and one with i = -2 when
-- what ended may have freed something that was left to others.
CREATE FUNCTION turn_2(
  endings jsonb, ending_ids bigint[], follow_ups jsonb, keep_done bigint, keep_dead bigint, ended_at bigint, wait_for bigint, probe_ms bigint,
  wanted int[], most int, tenants_most int, now_ms bigint, until bigint, new_token bigint, new_worker text, wait boolean
) RETURNS SETOF turn_row_2 LANGUAGE plpgsql AS $$
DECLARE
  ended ended_1[];
  rest ended_1[];
  moves move_1[];
  failed failure_2[];
  closing bigint[];
  opened bigint[];
  chosen bigint[];
  taken move_1[];
  frees boolean := false;
BEGIN
  -- A claim alone is not waited for on disk. A server that crashes may forget it, which is as if the lease were lost; the end of the attempt
  -- comes behind it in the log, and is waited for.
  IF endings IS NULL THEN PERFORM set_config('synchronous_commit', 'off', true); END IF;
  IF endings IS NOT NULL THEN
    SELECT e.answer, e.rest, e.moves, e.failed INTO ended, rest, moves, failed
    FROM end_attempts_2(endings, ending_ids, follow_ups, keep_done, keep_dead, ended_at, wait_for) e;
    -- Nearly always no circuit is open, and nobody need look at the lanes for it.
    IF (SELECT 1 FROM lane_state WHERE circuit > 0 OR reopen_at IS NOT NULL LIMIT 1) IS NOT NULL THEN
      SELECT array_agg(l.lane_id) INTO closing
      FROM (SELECT DISTINCT lane_id FROM unnest(moves) WHERE becomes = 4) m JOIN lanes_now l ON l.lane_id = m.lane_id WHERE l.circuit = 1;
      IF closing IS NOT NULL THEN PERFORM close_circuits_2(closing, ended, probe_ms, ended_at); END IF;
    END IF;
    -- What ends may make something claimable: then it counts before the others are chosen, else with them.
    frees := failed IS NOT NULL OR closing IS NOT NULL OR EXISTS (SELECT 1 FROM unnest(moves) m WHERE m.was <> 3 OR m.becomes < 4)
      OR EXISTS (SELECT 1 FROM (SELECT lane_id, count(*) AS n FROM unnest(moves) GROUP BY lane_id) m JOIN tenants_now t ON t.tenant_id = m.lane_id >> 16
        JOIN lanes l ON l.lane_id = m.lane_id JOIN tasks k ON k.task_id = l.task_id
        WHERE t.held <> 0 OR t.concurrency - t.running < m.n OR l.concurrency IS NOT NULL OR k.concurrency IS NOT NULL);
    IF frees OR most = 0 THEN
      PERFORM count_moves_1(moves);
      IF failed IS NOT NULL THEN
        opened := note_failures_2(failed, ARRAY(SELECT m.lane_id FROM unnest(moves) m WHERE m.becomes = 4), probe_ms, ended_at);
        -- It would see the tasks as they were before.
        wanted := ARRAY(SELECT unnest(wanted) EXCEPT SELECT (f.lane_id & 65535)::int FROM unnest(failed) f WHERE f.hold = 'task' AND f.until > ended_at);
      END IF;
      moves := NULL;
    END IF;
    RETURN QUERY SELECT e.i, e.id, e.tail, NULL::bigint, NULL::bigint, e.state, e.reason,
      NULL::int, NULL::int, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint,
      NULL::int, NULL::int, NULL::int, NULL::int, NULL::bigint, NULL::bigint, NULL::bigint, NULL::smallint, NULL::text, NULL::text, NULL::text,
      NULL::text, NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text,
      CASE WHEN e.id = ANY(opened) THEN 'opened' END
    FROM unnest(ended || rest) e;
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
        jobs.trace_parent, jobs.parent_id, jobs.copy_of, jobs.webhook_url, jobs.fingerprint, jobs.tags, jobs.progress, jobs.error, jobs.result, jobs.payload,
        NULL::text;
  END IF;
  PERFORM count_moves_1(moves || taken);
  IF frees AND chosen IS NULL THEN RETURN QUERY SELECT (jsonb_populate_record(NULL::turn_row_2, '{"i": -2}')).*; END IF;
  IF chosen IS NOT NULL THEN
    -- After the tenants have paid: the tag of the latest turn, for each task that was asked for. Whoever wakes in one begins there.
    INSERT INTO turns (task_id, tag)
    SELECT k, t.tag FROM (
      SELECT max(t.vt - t.step) AS tag FROM (SELECT DISTINCT lane_id >> 16 AS id FROM unnest(taken)) m JOIN tenants_now t ON t.tenant_id = m.id) t
    CROSS JOIN unnest(wanted) k
    WHERE t.tag > coalesce((SELECT tag FROM turns n WHERE n.task_id = k ORDER BY tag DESC LIMIT 1), -1);
  END IF;
  -- Everybody's jobs of a task wait: the one thing here that others may be at. It comes last, in one order, so that whoever is waited for
  -- here waits for nothing but the same.
  IF EXISTS (SELECT 1 FROM unnest(failed) f WHERE f.hold = 'task') THEN
    UPDATE tasks SET reopen_at = greatest(tasks.reopen_at, h.until) FROM (
      SELECT k.task_id, f.until FROM (
        SELECT (lane_id & 65535)::int AS task_id, max(least(f.until, ended_at + 3600000)) AS until FROM unnest(failed) f WHERE f.hold = 'task' AND f.until > ended_at GROUP BY 1) f
      JOIN tasks k ON k.task_id = f.task_id WHERE coalesce(k.reopen_at, 0) < f.until ORDER BY k.task_id FOR UPDATE OF k) h
    WHERE tasks.task_id = h.task_id;
  END IF;
END $$;
CREATE OR REPLACE FUNCTION turn_1(
  endings jsonb, ending_ids bigint[], follow_ups jsonb, keep_done bigint, keep_dead bigint, ended_at bigint, wait_for bigint,
  wanted int[], most int, tenants_most int, now_ms bigint, until bigint, new_token bigint, new_worker text, wait boolean
) RETURNS SETOF turn_row_1 LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY SELECT i, id, tail, tenant_id, lane_id, state, reason, priority, seq, created_at, run_at, start_by, started_at, completed_at, expires_at,
    failures, losses, claims, max_retries, timeout_ms, lease_until, cancel_requested_at, task_in_payload, worker, queue_key, trace_id,
    trace_parent, parent_id, tags, progress, error, result, payload
  FROM turn_2(endings, ending_ids, follow_ups, keep_done, keep_dead, ended_at, wait_for, 60000, wanted, most, tenants_most, now_ms, until, new_token,
    new_worker, wait);
END $$;

-- Notes in the histories of jobs that late endings were refused: `most` of each job that was ever taken up. Answers the jobs it looked at; busy ones are sent again.
CREATE FUNCTION refuse_2(refusals jsonb, ids bigint[], most int, now_ms bigint) RETURNS SETOF bigint LANGUAGE plpgsql AS $$
DECLARE
  wanted bigint[];
  ours bigint[];
  seen bigint[];
  refused bigint[];
  texts text[];
BEGIN
  SELECT array_agg(DISTINCT tenant_id) INTO wanted FROM jobs WHERE id = ANY(ids);
  ours := lock_tenants_1(wanted);
  SELECT array_agg(u.id) INTO seen FROM unnest(ids) u(id) LEFT JOIN jobs j ON j.id = u.id WHERE j.id IS NULL OR j.tenant_id = ANY(ours);
  SELECT array_agg(x.id ORDER BY x.i), array_agg(x.data ORDER BY x.i) INTO refused, texts FROM (
    SELECT r.i, r.id, r.data, row_number() OVER (PARTITION BY r.id ORDER BY r.i) AS place
    FROM jsonb_to_recordset(refusals) AS r (i int, id bigint, token bigint, tail bigint, data text)
    CROSS JOIN LATERAL (SELECT token, tail, claims FROM jobs WHERE jobs.id = r.id OFFSET 0) j
    WHERE r.id = ANY(seen) AND j.token IS DISTINCT FROM r.token AND j.claims > 0 AND j.tail = coalesce(r.tail, j.tail)) x
  WHERE x.place + (SELECT count(*) FROM job_events e WHERE e.job_id = x.id AND e.kind = 'refused') <= most;
  IF refused IS NOT NULL THEN
    PERFORM keep_told_2(refused);
    INSERT INTO job_events (job_id, seq, at, kind, data)
    SELECT j.id, j.seq + row_number() OVER (PARTITION BY r.id ORDER BY r.o), now_ms, 'refused', r.data
    FROM unnest(refused, texts) WITH ORDINALITY r(id, data, o) JOIN jobs j ON j.id = r.id;
    UPDATE jobs SET seq = seq + r.n FROM (SELECT u.id, count(*) AS n FROM unnest(refused) u(id) GROUP BY u.id) r WHERE jobs.id = r.id;
    PERFORM touch_1();
  END IF;
  RETURN QUERY SELECT unnest(seen);
END $$;

-- Extends leases that are held by that token; where there are bounds, no lease for longer than its job may run (`held_ms_max` at most) or has
-- after it was asked to stop, and the grace. With bounds it marks an attempt whose time is over: it ends as a failure. Answers of those it looked at; busy ones are sent again.
CREATE FUNCTION extend_2(leases jsonb, ids bigint[], until bigint, now_ms bigint, held_ms_max bigint, grace_ms bigint) RETURNS SETOF lease_2 LANGUAGE plpgsql AS $$
DECLARE
  wanted bigint[];
  ours bigint[];
BEGIN
  SELECT array_agg(DISTINCT tenant_id) INTO wanted FROM jobs WHERE id = ANY(ids);
  ours := lock_tenants_1(wanted);
  RETURN QUERY WITH e AS MATERIALIZED (SELECT * FROM jsonb_to_recordset(leases) AS e (i int, id bigint, token bigint, progress text)),
  u AS (
    UPDATE jobs SET lease_until = CASE WHEN grace_ms IS NULL THEN until ELSE greatest(jobs.lease_until, least(until, j.bound)) END,
      overdue = CASE WHEN grace_ms IS NOT NULL AND j.time_over <= now_ms THEN 1 ELSE jobs.overdue END,
      progress = coalesce(e.progress, jobs.progress)
    FROM e CROSS JOIN LATERAL (
      SELECT *, least(time_over, cancel_requested_at) + grace_ms AS bound FROM (
        SELECT ctid AS place, state, token, tenant_id, started_at + least(timeout_ms, held_ms_max) AS time_over, cancel_requested_at
        FROM jobs WHERE id = e.id OFFSET 0) o) j
    WHERE jobs.ctid = j.place AND j.state = 3 AND j.token = e.token AND j.tenant_id = ANY(ours)
    RETURNING e.i, jobs.cancel_requested_at, jobs.lease_until, coalesce(j.bound > now_ms, true) AS is_held)
  SELECT e.i, e.id, coalesce(u.is_held, false), u.cancel_requested_at, u.lease_until
  FROM e LEFT JOIN jobs j ON j.id = e.id LEFT JOIN u ON u.i = e.i WHERE j.id IS NULL OR j.tenant_id = ANY(ours);
END $$;

-- Sweeps -----------------------------------------------------------------------------------------------------------------------------

-- As it was, but that a dead letter says what went wrong; and an attempt that was overdue has failed: its worker was there. The wait doubles.
-- What hung has waited for long, and needs no more jitter. It opens no circuit, but while one is open it uses no attempt and keeps it open.
-- What comes to nothing is left out of a history that is long, as in end_attempts_2.
CREATE OR REPLACE FUNCTION expire_1(most int, losses_max int, keep_done bigint, keep_dead bigint, now_ms bigint) RETURNS SETOF moved_1 LANGUAGE plpgsql AS $$
DECLARE
  due bigint[];
  wanted bigint[];
  ours bigint[];
  answer moved_1[];
  moves move_1[];
  keyed bigint[];
  hung bigint[];
BEGIN
  SELECT array_agg(d.id), array_agg(DISTINCT d.tenant_id) INTO due, wanted
  FROM (SELECT id, tenant_id FROM jobs WHERE state = 3 AND lease_until <= now_ms ORDER BY lease_until, id LIMIT most) d;
  IF due IS NULL THEN RETURN; END IF;
  ours := lock_tenants_1(wanted);
  WITH x AS MATERIALIZED (
    SELECT id, tenant_id, seq, started_at, worker, failures, overdue = 1 AND cancel_requested_at IS NULL AS failed, p.probes,
      now_ms + least(300000, 2000 << least(failures, 8)) AS next_at,
      json_build_object('message', 'timed out after ' || now_ms - started_at || ' ms', 'attempt', failures + 1, 'fingerprint', 'timed_out') AS timed_out,
      (cancel_requested_at IS NULL AND overdue = 0 AND losses + 1 < losses_max OR p.probes) AND seq > 200
        AND NOT EXISTS (SELECT 1 FROM job_events h WHERE h.job_id = j.id AND h.seq = j.seq) AS left_out,
      CASE WHEN cancel_requested_at IS NOT NULL THEN 7 WHEN overdue = 1 THEN CASE WHEN failures < max_retries OR p.probes THEN 1 ELSE 6 END
        WHEN losses + 1 < losses_max THEN 2 ELSE 6 END AS becomes
    FROM (SELECT * FROM jobs WHERE id = ANY(due) OFFSET 0) j
    CROSS JOIN LATERAL (
      SELECT CASE WHEN j.overdue = 1 AND j.cancel_requested_at IS NULL AND j.claims - j.failures <= 100
        THEN coalesce((SELECT l.circuit = 1 FROM lanes_now l WHERE l.lane_id = j.lane_id), false) ELSE false END AS probes OFFSET 0) p
    WHERE tenant_id = ANY(ours) AND state = 3 AND lease_until <= now_ms),
  kept AS (
    INSERT INTO job_events (job_id, seq, at, kind, data)
    SELECT id, seq, started_at, 'claimed', json_build_object('worker', worker, 'attempt', failures + 1)::text FROM x WHERE becomes < 3 AND NOT left_out
    UNION ALL SELECT id, seq + 1, now_ms, CASE becomes WHEN 2 THEN 'lost' ELSE 'retry' END,
      CASE WHEN probes THEN json_build_object('run_at', next_at, 'error', timed_out, 'circuit', 'probe')
        WHEN becomes = 1 THEN json_build_object('run_at', next_at, 'error', timed_out) END::text FROM x WHERE becomes < 3 AND NOT left_out
    ON CONFLICT DO NOTHING),
  u AS (
    UPDATE jobs SET state = x.becomes, seq = jobs.seq + CASE WHEN x.left_out THEN -1 ELSE 1 END, failures = jobs.failures + (x.failed AND NOT x.probes)::int,
      losses = CASE WHEN x.failed THEN 0 ELSE jobs.losses + 1 END, overdue = 0, lease_until = NULL, token = NULL,
      reason = CASE WHEN x.becomes = 6 AND x.failed THEN 'retries_exhausted' WHEN x.becomes = 6 THEN 'lease_lost' WHEN x.becomes = 7 THEN 'requested' END,
      fingerprint = CASE WHEN x.failed THEN 'timed_out' WHEN x.becomes = 6 THEN 'lease_lost' ELSE jobs.fingerprint END,
      run_at = CASE x.becomes WHEN 1 THEN x.next_at ELSE jobs.run_at END,
      ord = CASE x.becomes WHEN 1 THEN ord_1(x.next_at, jobs.priority, jobs.id) ELSE jobs.ord END,
      error = CASE WHEN x.failed THEN x.timed_out::text WHEN x.becomes = 6 AND jobs.error IS NULL
        THEN json_build_object('message', 'its worker went away three times in a row', 'attempt', x.failures + 1)::text ELSE jobs.error END,
      completed_at = CASE WHEN x.becomes > 3 THEN now_ms END,
      expires_at = CASE WHEN x.becomes > 3 THEN expires_1(x.becomes, t, keep_done, keep_dead, now_ms) END
    FROM x JOIN tenants t ON t.tenant_id = x.tenant_id WHERE jobs.id = x.id
    RETURNING jobs.id, jobs.tail, jobs.state, jobs.reason, jobs.lane_id, jobs.ord, jobs.run_at, jobs.queue_key, x.failed)
  SELECT array_agg((u.id, u.tail, u.state, u.reason)::moved_1), array_agg((u.lane_id, 3, u.state, u.ord, u.run_at)::move_1),
    array_agg(u.id) FILTER (WHERE u.queue_key IS NOT NULL AND u.state > 3), array_agg(DISTINCT u.lane_id) FILTER (WHERE u.failed)
  INTO answer, moves, keyed, hung FROM u;
  IF keyed IS NOT NULL THEN moves := moves || pass_keys_1(keyed, now_ms); END IF;
  PERFORM count_moves_1(moves);
  IF hung IS NOT NULL THEN
    UPDATE lane_state SET writes = l.writes + 1, gen = (l.writes + 1) / 4, reopen_at = l.opens_at, held = held_2(l.held, l.running, l.may_run, l.opens_at),
      next_due = least(l.opens_at, (SELECT j.run_at FROM jobs j WHERE j.lane_id = l.lane_id AND j.state = 1 ORDER BY j.run_at LIMIT 1))
    FROM unnest(hung) u(id) CROSS JOIN LATERAL (
      SELECT *, greatest(reopen_at, now_ms + 60000) AS opens_at FROM lanes_now WHERE lane_id = u.id AND circuit = 1) l
    WHERE lane_state.ctid = l.place;
  END IF;
  RETURN QUERY SELECT * FROM unnest(answer);
END $$;

-- Deletes those of the jobs that have ended and are told, with history and tags: all, or what is past its retention. Answers their ids.
CREATE FUNCTION forget_jobs_2(wanted bigint[], ours bigint[], now_ms bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  deleted bigint[];
  moves move_1[];
BEGIN
  WITH d AS (
    DELETE FROM jobs WHERE id = ANY(wanted) AND tenant_id = ANY(ours) AND state > 3 AND (webhook_url IS NULL OR webhook_told = 1)
      AND (now_ms IS NULL OR expires_at <= now_ms)
    RETURNING id, tenant_id, lane_id, state, tags),
  e AS (DELETE FROM job_events WHERE job_id IN (SELECT id FROM d)),
  t AS (
    DELETE FROM job_tags USING (SELECT d.tenant_id, g.tag, d.id FROM d CROSS JOIN LATERAL jsonb_array_elements_text(d.tags::jsonb) g(tag)) g
    WHERE job_tags.tenant_id = g.tenant_id AND job_tags.tag = g.tag AND job_tags.job_id = g.id)
  SELECT array_agg(id), array_agg((lane_id, state, NULL, NULL, NULL)::move_1) INTO deleted, moves FROM d;
  PERFORM count_moves_1(moves);
  RETURN deleted;
END $$;

-- As it was, but that a job whose webhook is still to be told stays until it is.
CREATE OR REPLACE FUNCTION prune_1(most int, now_ms bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  old bigint[];
  wanted bigint[];
  ours bigint[];
BEGIN
  SELECT array_agg(DISTINCT o.tenant_id), array_agg(o.id) FILTER (WHERE o.id IS NOT NULL) INTO wanted, old FROM (
    (SELECT tenant_id, id FROM jobs WHERE expires_at <= now_ms AND (webhook_url IS NULL OR webhook_told = 1) ORDER BY expires_at, id LIMIT most)
    UNION ALL (SELECT tenant_id, NULL FROM keys WHERE expires_at <= now_ms ORDER BY expires_at LIMIT most)) o;
  IF wanted IS NULL THEN RETURN 0; END IF;
  ours := lock_tenants_1(wanted);
  DELETE FROM keys USING (SELECT tenant_id, kind, key FROM keys WHERE expires_at <= now_ms ORDER BY expires_at LIMIT most) k
  WHERE keys.tenant_id = k.tenant_id AND keys.kind = k.kind AND keys.key = k.key AND k.tenant_id = ANY(ours) AND keys.expires_at <= now_ms;
  RETURN coalesce(cardinality(forget_jobs_2(old, ours, now_ms)), 0);
END $$;

-- What a person does -----------------------------------------------------------------------------------------------------------------

-- Puts failed, dead and cancelled jobs back in line; with a key it takes the key if nobody has it, else it waits for it. One whose webhook is
-- still to be told stays until it is.
CREATE OR REPLACE FUNCTION retry_1(ids bigint[], now_ms bigint) RETURNS SETOF changed_1 LANGUAGE plpgsql AS $$
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
  SELECT array_agg(j.id) INTO retried FROM jobs j WHERE j.id = ANY(seen) AND j.state > 4 AND (j.webhook_url IS NULL OR j.webhook_told = 1);
  PERFORM keep_told_2(retried);
  WITH x AS MATERIALIZED (
    SELECT j.id, j.seq, j.state, CASE WHEN j.queue_key IS NULL THEN 2
      WHEN row_number() OVER (PARTITION BY j.tenant_id, coalesce(j.queue_key, j.id::text) ORDER BY j.id) = 1 AND NOT EXISTS (
        SELECT 1 FROM jobs h WHERE h.tenant_id = j.tenant_id AND h.queue_key = j.queue_key AND h.state > 0 AND h.state < 4)
      THEN 2 ELSE 0 END AS becomes
    FROM jobs j WHERE j.id = ANY(retried)),
  kept AS (INSERT INTO job_events (job_id, seq, at, kind) SELECT id, seq + 1, now_ms, 'retried' FROM x),
  u AS (
    UPDATE jobs SET state = x.becomes, seq = jobs.seq + 1, failures = 0, losses = 0, run_at = now_ms, ord = ord_1(now_ms, jobs.priority, jobs.id),
      start_by = NULL, completed_at = NULL, expires_at = NULL, token = NULL, cancel_requested_at = NULL, reason = NULL, error = NULL,
      fingerprint = NULL, progress = NULL, webhook_told = 0
    FROM x WHERE jobs.id = x.id RETURNING jobs.lane_id, jobs.ord, x.state AS was, x.becomes)
  SELECT array_agg((lane_id, was, becomes, ord, NULL)::move_1) INTO moves FROM u;
  PERFORM count_moves_1(moves);
  RETURN QUERY SELECT s, coalesce(s = ANY(retried), false) FROM unnest(seen) s;
END $$;

-- Deletes jobs that have ended. Answers {id, changed} of those it looked at; busy ones are sent again.
CREATE FUNCTION delete_2(ids bigint[]) RETURNS SETOF changed_1 LANGUAGE plpgsql AS $$
DECLARE
  wanted bigint[];
  ours bigint[];
  seen bigint[];
  deleted bigint[];
BEGIN
  SELECT array_agg(DISTINCT tenant_id) INTO wanted FROM jobs WHERE id = ANY(ids);
  ours := lock_tenants_1(wanted);
  SELECT array_agg(u.id) INTO seen FROM unnest(ids) u(id) LEFT JOIN jobs j ON j.id = u.id WHERE j.id IS NULL OR j.tenant_id = ANY(ours);
  deleted := forget_jobs_2(seen, ours, NULL);
  RETURN QUERY SELECT s, coalesce(s = ANY(deleted), false) FROM unnest(seen) s;
END $$;

-- As it was, but for the limit of a lane.
CREATE OR REPLACE FUNCTION set_limits_1(tenant text, new_concurrency int, new_backlog bigint, new_step bigint, new_paused int, lane_limits jsonb) RETURNS void LANGUAGE plpgsql AS $$
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
  UPDATE lane_state SET writes = l.writes + 1, gen = (l.writes + 1) / 4, held = held_2(l.held, l.running, l.may_run, l.reopen_at)
  FROM jsonb_to_recordset(lane_limits) AS r (lane_id bigint) JOIN lanes_now l ON l.lane_id = r.lane_id
  WHERE lane_state.ctid = l.place;
  PERFORM schedule_1(ARRAY[id]);
  PERFORM touch_1();
END $$;

-- Closes circuits of a task and ends its holds, of one tenant or of all, some lanes at a time. Answers how many; it is called until that is
-- none. The hold of the whole task ends with that last call, which has no lock.
CREATE FUNCTION reset_circuit_2(task int, tenant bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  lane_ids bigint[];
  wanted bigint[];
  ours bigint[];
  changed int;
BEGIN
  LOOP
    SELECT array_agg(h.lane_id), array_agg(DISTINCT h.lane_id >> 16) INTO lane_ids, wanted FROM (
      SELECT lane_id FROM lane_state WHERE task_id = task AND (circuit > 0 OR reopen_at IS NOT NULL) AND (tenant IS NULL OR lane_id >> 16 = tenant)
      LIMIT 200) h;
    IF wanted IS NULL THEN
      IF tenant IS NULL THEN
        UPDATE tasks SET reopen_at = NULL WHERE task_id = task AND reopen_at IS NOT NULL;
        IF FOUND THEN PERFORM touch_1(); END IF;
      END IF;
      RETURN 0;
    END IF;
    -- Whoever is left when it is our turn: one for whom we waited may have opened meanwhile.
    ours := lock_tenants_1(wanted);
    UPDATE lane_state SET writes = l.writes + 1, gen = (l.writes + 1) / 4, circuit = 0, streak = 0, streak_fingerprint = NULL, reopen_at = NULL,
      held = held_2(l.held, l.running, l.concurrency, NULL),
      next_due = (SELECT j.run_at FROM jobs j WHERE j.lane_id = l.lane_id AND j.state = 1 ORDER BY j.run_at LIMIT 1)
    FROM unnest(lane_ids) u(id) JOIN lanes_now l ON l.lane_id = u.id
    WHERE lane_state.ctid = l.place AND l.lane_id >> 16 = ANY(ours) AND (l.circuit > 0 OR l.reopen_at IS NOT NULL);
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed > 0 THEN
      PERFORM touch_1();
      RETURN changed;
    END IF;
  END LOOP;
END $$;

-- Starts a bulk action of a tenant, or of all (NULL), while fewer than `most` of it go on. Answers it. Some that ended long ago are forgotten.
CREATE FUNCTION start_bulk_action_2(tenant bigint, given jsonb, most bigint, keep_ms bigint, now_ms bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  started bigint;
BEGIN
  PERFORM lock_tenants_1(ARRAY[coalesce(tenant, 0)]);
  DELETE FROM bulk_actions WHERE id = ANY(ARRAY(
    SELECT id FROM bulk_actions WHERE ended_at <= now_ms - keep_ms ORDER BY ended_at LIMIT 100 FOR UPDATE SKIP LOCKED));
  INSERT INTO bulk_actions AS b (tenant_id, action, name, status, filter, ids, rate_per_s, canary, cursor, created_at, updated_at, next_at)
  SELECT tenant, g.action, g.name, 'running', g.filter, g.ids, g.rate_per_s, g.canary, (SELECT coalesce(max(id), 0) + 1 FROM jobs), now_ms, now_ms, now_ms
  FROM jsonb_to_record(given) AS g (action text, name text, filter text, ids text, rate_per_s int, canary int)
  WHERE (SELECT count(*) FROM (SELECT FROM bulk_actions WHERE coalesce(tenant_id, 0) = coalesce(tenant, 0) AND next_at IS NOT NULL LIMIT most) a) < most
  RETURNING b.id INTO started;
  IF started IS NULL THEN RETURN NULL; END IF;
  PERFORM touch_1();
  RETURN (SELECT to_jsonb(b) FROM bulk_actions b WHERE b.id = started);
END $$;

-- Makes a schedule, if there is none of this name and its tenant has fewer than `most`. Answers it.
CREATE FUNCTION put_schedule_2(tenant bigint, given jsonb, most bigint, now_ms bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  put bigint;
BEGIN
  PERFORM lock_tenants_1(ARRAY[tenant]);
  INSERT INTO schedules AS s (tenant_id, name, task, payload, cron, timezone, missed, overlap, paused, max_retries, next_at, created_at, updated_at)
  SELECT tenant, g.name, g.task, g.payload, g.cron, g.timezone, g.missed, g.overlap, g.paused, g.max_retries, g.next_at, now_ms, now_ms
  FROM jsonb_to_record(given) AS g (name text, task text, payload text, cron text, timezone text, missed text, overlap text, paused smallint,
    max_retries int, next_at bigint)
  WHERE (SELECT count(*) FROM schedules WHERE tenant_id = tenant) < most
  ON CONFLICT DO NOTHING
  RETURNING s.id INTO put;
  IF put IS NULL THEN RETURN NULL; END IF;
  PERFORM touch_1();
  RETURN (SELECT to_jsonb(s) || '{"last_job_tail": null}' FROM schedules s WHERE s.id = put);
END $$;

-- Says that a webhook was told of the end of these jobs: [id, seq]. Answers {id, changed} of those it looked at; busy ones are sent again.
CREATE FUNCTION tell_webhooks_2(told jsonb, ids bigint[]) RETURNS SETOF changed_1 LANGUAGE plpgsql AS $$
DECLARE
  wanted bigint[];
  ours bigint[];
  seen bigint[];
  changed bigint[];
BEGIN
  SELECT array_agg(DISTINCT tenant_id) INTO wanted FROM jobs WHERE id = ANY(ids);
  ours := lock_tenants_1(wanted);
  SELECT array_agg(u.id) INTO seen FROM unnest(ids) u(id) LEFT JOIN jobs j ON j.id = u.id WHERE j.id IS NULL OR j.tenant_id = ANY(ours);
  WITH u AS (
    UPDATE jobs SET webhook_told = 1
    FROM jsonb_array_elements(told) t CROSS JOIN LATERAL (SELECT ctid AS place, id, seq, state FROM jobs WHERE id = (t->>0)::bigint OFFSET 0) j
    WHERE jobs.ctid = j.place AND j.id = ANY(seen) AND j.seq = (t->>1)::int AND j.state > 3 RETURNING jobs.id)
  SELECT array_agg(id) INTO changed FROM u;
  RETURN QUERY SELECT s, coalesce(s = ANY(changed), false) FROM unnest(seen) s;
END $$;

-- As 0001_first.sql does: the functions of both schemas.
DO $$
DECLARE
  f regprocedure;
BEGIN
  FOR f IN SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE n.nspname = current_schema AND l.lanname = 'plpgsql'
      AND p.proname NOT IN ('lock_tenants_1', 'schedule_1', 'count_moves_1', 'fold_totals_1', 'promote_1', 'store_jobs_1', 'end_waiting_1',
        'end_attempts_1', 'choose_1', 'store_jobs_2', 'keep_told_2', 'end_attempts_2', 'close_circuits_2', 'note_failures_2',
        'forget_jobs_2')
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', f, current_schema);
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_seqscan = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_hashjoin = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_mergejoin = off', f);
    EXECUTE format('ALTER FUNCTION %s SET enable_bitmapscan = off', f);
    EXECUTE format('ALTER FUNCTION %s SET jit = off', f);
    EXECUTE format('ALTER FUNCTION %s SET lock_timeout = 5000', f);
  END LOOP;
END $$;

UPDATE meta SET value = '2' WHERE name = 'schema';
