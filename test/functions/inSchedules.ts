/** What the tests of schedules ask of a queue. */
import type { Answered, CallOptions, Harness } from "../support/harness.ts";

export const HOURLY = { name: "hourly", task: "echo", payload: { report: 7 }, cron: "0 * * * *" };

export const call = {
	create: (queue: Harness, body: unknown = HOURLY, tenant = "acme"): Promise<Answered> =>
		queue.call("createSchedule", "/api/schedules", { body, tenant }),
	get: (queue: Harness, name = "hourly", tenant = "acme"): Promise<Answered> =>
		queue.call("getSchedule", `/api/schedules/${name}`, { tenant }),
	list: (queue: Harness, query = "", tenant = "acme"): Promise<Answered> =>
		queue.call("listSchedules", `/api/schedules${query}`, { tenant }),
	update: (queue: Harness, body: unknown, name = "hourly", tenant = "acme"): Promise<Answered> =>
		queue.call("updateSchedule", `/api/schedules/${name}`, { method: "PATCH", body, tenant }),
	remove: (queue: Harness, name = "hourly", tenant = "acme"): Promise<Answered> =>
		queue.call("deleteSchedule", `/api/schedules/${name}`, { method: "DELETE", tenant }),
	run: (queue: Harness, name = "hourly", options: CallOptions = {}): Promise<Answered> =>
		queue.call("runSchedule", `/api/schedules/${name}/run`, { method: "POST", ...options }),
};

/** A schedule as it was made; fails the test when it was not. */
export async function made(queue: Harness, more: object = {}, tenant = "acme"): Promise<Answered["body"]> {
	const { status, body } = await call.create(queue, { ...HOURLY, ...more }, tenant);
	if (status !== 201) throw new Error(`the schedule was answered ${status}: ${JSON.stringify(body)}`);
	return body;
}
/** The jobs of a schedule, the oldest first. */
export const jobsOf = async (queue: Harness, name = "hourly", tenant = "acme"): Promise<Answered["body"][]> =>
	(await queue.call("listJobs", `/api/jobs?tag=schedule:${name}`, { tenant })).body.jobs.reverse();
