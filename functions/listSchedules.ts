/** GET /api/schedules: schedules by name, a page at a time. */
import { LIMIT_DEFAULT, SCHEDULE_NAME, TENANT_NAME } from "../lib/contract.ts";
import { operation } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";
import { toWireSchedule } from "../lib/schedules.ts";
import type { Schedule } from "../lib/storage/storage.ts";

export const listSchedules = operation("listSchedules", async ({ query, store, deps }) => {
	const { limit = LIMIT_DEFAULT, cursor } = query;
	const found = await store.listSchedules(limit + 1, cursor === undefined ? undefined : fromCursor(cursor));
	const schedules = found.slice(0, limit);
	return {
		schedules: schedules.map(schedule => toWireSchedule(schedule, deps.clock.now(), { inList: true })),
		count: schedules.length,
		next_cursor: found.length > limit ? toCursor(schedules.at(-1)!) : null,
	};
});

/** Opaque to callers; `1` is the form, so that another can follow. No name has a ~. */
const toCursor = ({ tenant, name }: Schedule): string => `1${tenant}~${name}`;
function fromCursor(cursor: string): { tenant: string; name: string } {
	const [tenant = "", name = "", ...rest] = cursor.slice(1).split("~");
	if (!cursor.startsWith("1") || !TENANT_NAME.test(tenant) || !SCHEDULE_NAME.test(name) || rest.length > 0)
		throw new Problem(
			"cursor_invalid",
			"Use next_cursor of the page before, as it is; without a cursor the list starts at the first name.",
		);
	return { tenant, name };
}
