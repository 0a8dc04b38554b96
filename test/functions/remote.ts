/** A remote worker's three calls, as it makes them. */
import type { Answered, Harness } from "../support/harness.ts";

export interface LeasedJob {
	readonly id: string;
	readonly tenant: string;
	readonly task: string;
	readonly payload: unknown;
	readonly attempt: number;
	readonly max_attempts: number;
	readonly timeout_ms: number;
	readonly timeout_from: string;
	readonly lease_token: string;
	readonly lease_expires_at: string;
	readonly trace_id: string;
}

export const askForJobs = (queue: Harness, more: Record<string, unknown> = {}): Promise<Answered> =>
	queue.call("leaseJobs", "/api/leases", { tenant: null, body: { worker: "py-1", tasks: ["remote"], ...more } });
/** Fails where there is not exactly one. */
export async function leaseOne(queue: Harness, more: Record<string, unknown> = {}): Promise<LeasedJob> {
	const { status, body } = await askForJobs(queue, more);
	if (status !== 200 || body.jobs.length !== 1) throw new Error(`no job: ${status} ${JSON.stringify(body)}`);
	return body.jobs[0];
}
export const leaseOf = ({ id, lease_token }: LeasedJob) => ({ id, lease_token });

export const heartbeat = (queue: Harness, leases: readonly object[], more: Record<string, unknown> = {}): Promise<Answered> =>
	queue.call("heartbeatLeases", "/api/leases/heartbeat", { tenant: null, body: { worker: "py-1", leases, ...more } });
export const settleWith = (queue: Harness, ...results: readonly object[]): Promise<Answered> =>
	queue.call("settleLeases", "/api/leases/settle", { tenant: null, body: { results } });

/** Makes the task `remote` one that remote workers serve. */
export const serveRemote = async (queue: Harness, ...tasks: readonly string[]): Promise<void> => {
	const { status, body } = await askForJobs(queue, { tasks: tasks.length === 0 ? ["remote"] : tasks });
	if (status !== 200) throw new Error(JSON.stringify(body));
};
