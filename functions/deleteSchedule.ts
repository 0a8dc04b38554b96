/** DELETE /api/schedules/{name}: deletes a schedule; the jobs that it has made stay. */
import { operation, Reply } from "../lib/operation.ts";
import { namedSchedule, noSchedule } from "../lib/schedules.ts";

export const deleteSchedule = operation("deleteSchedule", async ({ params, store }) => {
	if (!(await store.deleteSchedule(namedSchedule(params)))) throw noSchedule();
	return new Reply(null);
});
