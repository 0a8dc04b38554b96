/** GET /api/workers: who runs jobs, the latest seen first. */
import { operation } from "../lib/operation.ts";
import { instant } from "../lib/wire.ts";

export const listWorkers = operation("listWorkers", async ({ query, store }) => {
	const workers = (await store.listWorkers(query.limit ?? 50)).map(({ name, kind, tasks, running, version, firstSeenAt, lastSeenAt }) => ({
		name,
		kind,
		tasks: [...tasks],
		running,
		first_seen_at: instant(firstSeenAt),
		last_seen_at: instant(lastSeenAt),
		version,
	}));
	return { workers, count: workers.length, next_cursor: null };
});
