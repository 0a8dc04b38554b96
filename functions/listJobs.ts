/** GET /api/jobs: jobs, newest first, a page at a time. */
import { operation, Reply } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";
import type { ListQuery } from "../lib/storage/storage.ts";
import { jobText } from "../lib/wire.ts";

const LIMIT_DEFAULT = 50;

export const listJobs = operation("listJobs", async ({ query, store }) => {
	const { status, task, tag, limit, cursor } = query;
	const wanted: ListQuery = {
		limit: limit ?? LIMIT_DEFAULT,
		...(status === undefined ? {} : { statuses: [...new Set(status)] }),
		...(task === undefined ? {} : { task }),
		...(tag === undefined ? {} : { tag }),
		...(cursor === undefined ? {} : { before: fromCursor(cursor) }),
	};
	const { jobs, next } = await store.listJobs(wanted);
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
