/** GET /api/jobs/{id}: one job, at once or when it has ended. */
import { found, refOf, waitForEnd } from "../lib/findJob.ts";
import { operation, Reply } from "../lib/operation.ts";
import { jobText } from "../lib/wire.ts";

export const getJob = operation("getJob", async ({ params, query, store, deps, request }) => {
	const first = found(await store.getJob(refOf(params.id)));
	const job = query.wait_ms === undefined ? first : await waitForEnd(first, query.wait_ms, store, deps, request);
	return new Reply(jobText(job, query.include?.includes("history") ? { history: await store.historyOf(job) } : {}));
});
