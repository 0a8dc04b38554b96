/** GET /api/workers: who runs jobs, the latest seen first: so those who are there come before those who have gone. */
import { operation } from "../lib/operation.ts";
import { instant } from "../lib/wire.ts";

/** A worker that is there says so every 30 s, and a process that sleeps once a minute. */
const LIVE_MS = 75_000;

export const listWorkers = operation("listWorkers", async ({ query, store, deps }) => {
	const nowMs = deps.clock.now();
	const workers = (await store.listWorkers(query.limit ?? 50)).map(({ name, kind, tasks, running, version, firstSeenAt, lastSeenAt }) => ({
		name,
		kind,
		status: nowMs - lastSeenAt <= LIVE_MS ? ("live" as const) : ("gone" as const),
		tasks: [...tasks],
		running,
		first_seen_at: instant(firstSeenAt),
		last_seen_at: instant(lastSeenAt),
		version,
	}));
	return { workers, count: workers.length, next_cursor: null };
});
