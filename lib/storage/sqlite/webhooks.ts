/** What is called when jobs have ended, and which endings have not been told yet. */
import { JOB_COLUMNS } from "../rows.ts";
import type { Statement } from "./driver.ts";

export const webhookStatement = (tenantId: number): Statement => ({
	sql: "SELECT webhook_url FROM tenants WHERE tenant_id = ?1",
	params: [tenantId],
});
export const setWebhookStatements = (tenantId: number, url: string | null): Statement[] => [
	{ sql: "UPDATE tenants SET webhook_url = ?2 WHERE tenant_id = ?1", params: [tenantId, url] },
	{ sql: "UPDATE queue SET version = version + 1", params: [] },
];

/** Of a job that has ended. One whose webhook is still to be told stays as it is until it is. */
export const IS_TOLD = "(webhook_url IS NULL OR webhook_told = 1)";
/** Named as the partial index is. */
export const UNTOLD = "webhook_url IS NOT NULL AND webhook_told = 0 AND completed_at IS NOT NULL";

export const untoldStatement = (limit: number): Statement => ({
	sql: `SELECT ${JOB_COLUMNS} FROM jobs WHERE ${UNTOLD} ORDER BY completed_at LIMIT ?1`,
	params: [limit],
});
export const tellStatement = (jobs: readonly (readonly [id: number, seq: number])[]): Statement => ({
	sql: `UPDATE jobs SET webhook_told = 1 FROM json_each(?1) e WHERE jobs.id = e.value->>0 AND jobs.seq = e.value->>1 AND ${UNTOLD}`,
	params: [JSON.stringify(jobs)],
});
