/** GET /api/metrics: counts of the queue, or of one tenant. */
import { metricsOf } from "../lib/metrics.ts";
import { operation, Reply } from "../lib/operation.ts";

export const metrics = operation("metrics", async ({ store, deps, headers }) => {
	const answer = metricsOf(await store.counts(), deps);
	const etag = `"${answer.version}"`;
	const caching = { etag, "cache-control": "no-cache", vary: "x-tenant-id" };
	return names(headers.get("if-none-match"), etag) ? new Reply(null, caching, 304) : new Reply(JSON.stringify(answer), caching);
});

/** Whether an If-None-Match has this version, weakly compared (RFC 9110 13.1.2). */
const names = (header: string | null, etag: string): boolean =>
	(header?.split(",") ?? []).some(one => one.trim() === "*" || one.trim().replace(/^W\//, "") === etag);
