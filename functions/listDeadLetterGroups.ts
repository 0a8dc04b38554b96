/** GET /api/dead-letters/groups: failed jobs and dead letters, one group for each thing that went wrong. */
import { LIMIT_DEFAULT } from "../lib/contract.ts";
import { toJobFilter } from "../lib/jobFilter.ts";
import { toJobId } from "../lib/jobId.ts";
import { operation } from "../lib/operation.ts";
import type { DeadLetterGroup } from "../lib/storage/storage.ts";
import { instant } from "../lib/wire.ts";

export const listDeadLetterGroups = operation("listDeadLetterGroups", async ({ query, store }) => {
	const groups = await store.deadLetterGroups(toJobFilter(query), query.limit ?? LIMIT_DEFAULT);
	return { groups: groups.map(toGroup), count: groups.length, next_cursor: null };
});

const toGroup = ({ task, fingerprint, reason, count, tenants, firstSeenAt, lastSeenAt, example }: DeadLetterGroup) => ({
	fingerprint,
	task,
	reason,
	message: example.error === null ? null : (JSON.parse(example.error) as { message: string }).message,
	count,
	tenants,
	first_seen_at: instant(firstSeenAt),
	last_seen_at: instant(lastSeenAt),
	example_job_id: toJobId(example),
	example_tenant_id: example.tenant,
});
