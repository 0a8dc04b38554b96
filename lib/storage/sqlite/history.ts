/** What a job's row tells of its history, written down before the row forgets it, or before more is written behind it (lib/history.ts). */
import { EVENTS_MAX, STATES, statusOf } from "../../job.ts";
import { S } from "../rows.ts";

/** The attempt that a job is in, or was in last; attemptOf of lib/history.ts. */
const ATTEMPT = `max(1, j.failures + (j.state NOT IN (${S.failed}, ${S.dead}) OR j.reason = 'lease_lost'))`;

/**
 * Whether an attempt of a running job `j` that comes to nothing is left out of its history, which is long (EVENTS_MAX): unless something is
 * written behind its claim already. Then the row tells one event less than with the claim.
 * @param x where it goes: a table with `becomes`
 */
export const IS_LEFT_OUT = (j: string, x: string): string =>
	`(${x}.becomes IN (${S.ready}, ${S.delayed}) AND ${j}.seq > ${EVENTS_MAX} AND NOT EXISTS (SELECT 1 FROM job_events WHERE job_id = ${j}.id AND seq = ${j}.seq))`;
const IS_WRITTEN = `(x.kind NOT IN ('snoozed', 'released', 'lost') AND x.data->>'circuit' IS NOT 'probe' OR NOT ${IS_LEFT_OUT("j", "x")})`;

/**
 * A running job's claim, and the end of that attempt.
 * @param from a SELECT of (id, becomes, kind, data) over jobs that leave running; without a kind the row tells the end
 * @param before tables that it reads
 */
export const keepAttempt = (from: string, now: string, before?: string): string => `
WITH ${before === undefined ? "" : `${before}, `}x AS MATERIALIZED (${from})
INSERT INTO job_events (job_id, seq, at, kind, data)
SELECT j.id, j.seq, j.started_at, 'claimed', json_object('worker', j.worker, 'attempt', j.failures + 1)
FROM x CROSS JOIN jobs j ON j.id = x.id WHERE x.becomes IN (${S.ready}, ${S.delayed}) AND ${IS_WRITTEN}
UNION ALL
SELECT j.id, j.seq + 1, ${now}, x.kind, x.data FROM x CROSS JOIN jobs j ON j.id = x.id WHERE x.kind IS NOT NULL AND ${IS_WRITTEN}
ON CONFLICT DO NOTHING`;

/**
 * The claim and the end of jobs that run or have ended, as far as they are not written yet. What follows the claim until the end is a
 * request to cancel at most: with a refusal the claim is written too, and so its place is taken.
 * @param which a condition on jobs `j`
 */
export const keepTold = (which: string): readonly [claims: string, ends: string] => [
	`INSERT INTO job_events (job_id, seq, at, kind, data)
SELECT j.id, j.seq - (j.state > ${S.running}) - (j.cancel_requested_at IS NOT NULL), j.started_at, 'claimed',
  json_object('worker', j.worker, 'attempt', ${ATTEMPT})
FROM jobs j WHERE ${which} AND j.state >= ${S.running} AND j.started_at IS NOT NULL
  AND j.seq - (j.state > ${S.running}) - (j.cancel_requested_at IS NOT NULL) > 1
ON CONFLICT DO NOTHING`,
	`INSERT INTO job_events (job_id, seq, at, kind, data)
SELECT j.id, j.seq, j.completed_at, CASE j.state ${STATES.filter(state => S[state] > S.running)
		.map(state => `WHEN ${S[state]} THEN '${statusOf(state)}'`)
		.join(" ")} END,
  CASE WHEN j.error IS NULL THEN json_object('reason', j.reason) ELSE json_object('reason', j.reason, 'error', json(j.error)) END
FROM jobs j WHERE ${which} AND j.state > ${S.running}
ON CONFLICT DO NOTHING`,
];
