/** GET /api/jobs: jobs, newest first, a page at a time. */
import { LIMIT_DEFAULT } from "../lib/contract.ts";
import { toJobFilter } from "../lib/jobFilter.ts";
import { operation, Reply } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";
import { jobText } from "../lib/wire.ts";

export const listJobs = operation("listJobs", async ({ query, store }) => {
	const { jobs, next } = await store.listJobs({
		...toJobFilter(query),
		limit: query.limit ?? LIMIT_DEFAULT,
		...(query.cursor === undefined ? {} : { before: fromCursor(query.cursor) }),
	});
	const items = jobs.map(job => jobText(job, { inList: true })).join(",");
	return new Reply(`{"jobs":[${items}],"count":${jobs.length},"next_cursor":${next === null ? "null" : JSON.stringify(toCursor(next))}}`);
});

/** Opaque to callers; `1` is the form, so that another can follow. */
const toCursor = (before: number): string => `1${before.toString(36)}`;
function fromCursor(cursor: string): number {
	const before = /^1[0-9a-z]{1,11}$/.test(cursor) ? Number.parseInt(cursor.slice(1), 36) : Number.NaN;
	if (!Number.isSafeInteger(before))
		throw new Problem("cursor_invalid", "Use next_cursor of the page before, as it is; without a cursor the list starts at the newest.");
	return before;
}
