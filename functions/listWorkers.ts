/** GET /api/workers: who runs jobs, the latest seen first: so those who are there come before those who have gone. */
import { LIMIT_DEFAULT } from "../lib/contract.ts";
import { WORKER_LIVE_MS } from "../lib/leases.ts";
import { operation } from "../lib/operation.ts";
import { instant } from "../lib/wire.ts";

export const listWorkers = operation("listWorkers", async ({ query, store, deps }) => {
	const nowMs = deps.clock.now();
	const workers = (await store.listWorkers(query.limit ?? LIMIT_DEFAULT)).map(
		({ name, kind, tasks, running, version, firstSeenAt, lastSeenAt }) => ({
			name,
			kind,
			status: nowMs - lastSeenAt <= WORKER_LIVE_MS ? ("live" as const) : ("gone" as const),
			tasks: [...tasks],
			running,
			first_seen_at: instant(firstSeenAt),
			last_seen_at: instant(lastSeenAt),
			version,
		}),
	);
	return { workers, count: workers.length, next_cursor: null };
});
