/** GET /api/metrics: counts of the queue, or of one tenant. */
import { metricsOf } from "../lib/metrics.ts";
import { operation, Reply } from "../lib/operation.ts";

export const metrics = operation("metrics", async ({ store, deps, headers }) => {
	const counts = await store.counts();
	// Each tenant has its own: a cache asks by it for whoever comes next.
	const tenant = headers.get("x-tenant-id");
	const etag = tenant === null || tenant === "*" ? `"${counts.version}"` : `"${counts.version}-${tenant}"`;
	const caching = { etag, "cache-control": "no-cache", vary: "x-tenant-id" };
	if (names(headers.get("if-none-match"), etag)) return new Reply(null, caching, 304);
	return new Reply(JSON.stringify(await metricsOf(counts, store, deps)), caching);
});

/** Whether an If-None-Match has this version, weakly compared (RFC 9110 13.1.2). */
const names = (header: string | null, etag: string): boolean =>
	(header?.split(",") ?? []).some(one => one.trim() === "*" || one.trim().replace(/^W\//, "") === etag);
