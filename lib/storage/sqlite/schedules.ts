/** Schedules as rows. */
import { S } from "../rows.ts";
import type { NewSchedule, ScheduleMove } from "../storage.ts";
import type { Statement } from "./driver.ts";

/** With what the public id of its latest job is made of. */
const columns = (of: string) =>
	`${of}*, (SELECT tail FROM jobs WHERE id = last_job_id) AS last_job_tail, (SELECT created_at FROM jobs WHERE id = last_job_id) AS last_job_created_at`;
const CHANGED: Statement = { sql: "UPDATE queue SET version = version + 1", params: [] };

/** Of all tenants: put in order by their names, whose number is that of the schedules. */
export function schedulesStatement(
	tenantId: number | null,
	limit: number,
	after?: { readonly tenant: string; readonly name: string },
): Statement {
	if (tenantId !== null)
		return {
			sql: `SELECT ${columns("s.")} FROM schedules s WHERE tenant_id = ?1 AND name > ?2 ORDER BY name LIMIT ?3`,
			params: [tenantId, after?.name ?? "", limit],
		};
	return {
		sql: `SELECT ${columns("s.")} FROM schedules s CROSS JOIN tenants t ON t.tenant_id = s.tenant_id WHERE (t.name, s.name) > (?1, ?2) ORDER BY t.name, s.name LIMIT ?3`,
		params: [after?.tenant ?? "", after?.name ?? "", limit],
	};
}
export const scheduleStatement = (tenantId: number, name: string): Statement => ({
	sql: `SELECT ${columns("s.")} FROM schedules s WHERE tenant_id = ?1 AND name = ?2`,
	params: [tenantId, name],
});

const FIELDS = "tenant_id, name, task, payload, cron, timezone, missed, overlap, paused, max_retries, next_at, created_at, updated_at";
const VALUES = "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12";
const CHANGE = `UPDATE schedules SET task = ?3, payload = ?4, cron = ?5, timezone = ?6, missed = ?7, overlap = ?8, paused = ?9, max_retries = ?10,
  next_at = ?11, updated_at = ?12 WHERE tenant_id = ?1 AND name = ?2 RETURNING ${columns("")}`;
const PUT = `INSERT INTO schedules (${FIELDS}) SELECT ${VALUES} WHERE (SELECT count(*) FROM schedules WHERE tenant_id = ?1) < ?13
ON CONFLICT DO NOTHING RETURNING ${columns("")}`;

const paramsOf = (tenantId: number, schedule: NewSchedule, nowMs: number) => [
	tenantId,
	schedule.name,
	schedule.task,
	schedule.payload,
	schedule.cron,
	schedule.timezone,
	schedule.missed,
	schedule.overlap,
	Number(schedule.paused),
	schedule.maxRetries,
	schedule.nextAt,
	nowMs,
];
/** The rows of the last statement are the schedule, if it was made, or changed. */
export const putScheduleStatements = (tenantId: number, schedule: NewSchedule, nowMs: number, most: number): Statement[] => [
	CHANGED,
	{ sql: PUT, params: [...paramsOf(tenantId, schedule, nowMs), most] },
];
export const changeScheduleStatements = (tenantId: number, schedule: NewSchedule, nowMs: number): Statement[] => [
	CHANGED,
	{ sql: CHANGE, params: paramsOf(tenantId, schedule, nowMs) },
];
/** The rows of the last statement are those that were deleted. */
export const deleteScheduleStatements = (tenantId: number, name: string): Statement[] => [
	CHANGED,
	{ sql: "DELETE FROM schedules WHERE tenant_id = ?1 AND name = ?2 RETURNING id", params: [tenantId, name] },
];

export const dueSchedulesStatement = (limit: number, nowMs: number): Statement => ({
	sql: `SELECT ${columns("s.")}, coalesce((SELECT state <= ${S.running} FROM jobs WHERE id = s.last_job_id), 0) AS last_job_open
FROM schedules s WHERE s.paused = 0 AND s.next_at <= +?1 ORDER BY s.next_at LIMIT +?2`,
	params: [nowMs, limit],
});
export const moveScheduleStatement = (id: number, from: number, { lastAt, nextAt, lastJobId }: ScheduleMove): Statement => ({
	sql: "UPDATE schedules SET last_at = ?3, next_at = ?4, last_job_id = ?5 WHERE id = ?1 AND next_at = ?2",
	params: [id, from, lastAt, nextAt, lastJobId],
});
