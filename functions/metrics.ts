/** GET /api/metrics: counts of the queue, or of one tenant. */
import { metricsOf } from "../lib/metrics.ts";
import { operation, Reply } from "../lib/operation.ts";

export const metrics = operation("metrics", async ({ store, deps, headers }) => {
	const answer = metricsOf(await store.counts(), deps);
	const etag = `"${answer.version}"`;
	if (headers.get("if-none-match") === etag) return new Reply(null, { etag }, 304);
	return new Reply(JSON.stringify(answer), { etag, "cache-control": "no-cache" });
});
