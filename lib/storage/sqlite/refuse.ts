/** Endings that came too late: they change nothing, and stand in the history of their job. */
import { refusedData } from "../rows.ts";
import type { Ending } from "../storage.ts";
import type { Statement } from "./driver.ts";
import { keepTold } from "./history.ts";
import { elementsOf } from "./moves.ts";

/** Refused endings that one history holds at most. */
const REFUSED_MAX = 10;

/** Those of `?1`, a JSON list of [id, token, data, tail], that are written: {id, n (from 1), data}. A token that is the job's cannot be refused. */
const REFUSED = `
SELECT id, n, data FROM (
  SELECT j.id, row_number() OVER (PARTITION BY j.id ORDER BY e.key) AS n, e.value->>2 AS data,
    (SELECT count(*) FROM job_events WHERE job_id = j.id AND kind = 'refused') AS before
  FROM ${elementsOf("?1")} e CROSS JOIN jobs j ON j.id = e.value->>0 AND j.token IS NOT e.value->>1
    AND j.claims > 0 AND j.tail = coalesce(e.value->>3, j.tail)) WHERE before + n <= ${REFUSED_MAX}`;
const KEEP_REFUSED = `
INSERT INTO job_events (job_id, seq, at, kind, data) SELECT j.id, j.seq + r.n, ?2, 'refused', r.data FROM (${REFUSED}) r CROSS JOIN jobs j ON j.id = r.id`;

/** Afterwards the history is longer than its row says. */
const GROWN = `FROM (SELECT j.id, (SELECT seq FROM job_events WHERE job_id = j.id ORDER BY seq DESC LIMIT 1) AS last
  FROM jobs j WHERE j.id IN (SELECT value->>0 FROM json_each(?1)))`;
const CHANGED = `UPDATE queue SET version = version + 1 WHERE EXISTS (SELECT 1 ${GROWN} g CROSS JOIN jobs ON jobs.id = g.id WHERE g.last > jobs.seq)`;
const GROW = `UPDATE jobs SET seq = g.last ${GROWN} g WHERE jobs.id = g.id AND g.last > jobs.seq`;

export function refuseStatements(endings: readonly Ending[], nowMs: number): Statement[] {
	const json = JSON.stringify(endings.map(ending => [ending.id, ending.token, refusedData(ending), ending.tail ?? null]));
	return [
		...keepTold(`j.id IN (SELECT id FROM (${REFUSED}))`).map(sql => ({ sql, params: [json] })),
		{ sql: KEEP_REFUSED, params: [json, nowMs] },
		{ sql: CHANGED, params: [json] },
		{ sql: GROW, params: [json] },
	];
}
