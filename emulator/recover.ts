/** After a crash: jobs that a process of this machine had when it died are given back at once, instead of when their leases end. */
import { hostname } from "node:os";
import type { WorkerStore } from "../lib/storage/storage.ts";

/** Name of this process in leases: machine, process, and when it started, since process numbers are used again. */
export const workerName = (): string => `${hostname()}:${process.pid}:${Math.round(performance.timeOrigin).toString(36)}`;

function isGone(worker: string, self: string): boolean {
	const [host, pid, startedAt] = worker.split(":");
	if (host !== hostname() || worker === self || startedAt === undefined) return false;
	if (Number(pid) === process.pid) return true;
	try {
		process.kill(Number(pid), 0);
		return false;
	} catch (error) {
		return (error as NodeJS.ErrnoException).code === "ESRCH";
	}
}

/** What became of the jobs of dead processes: back in line, or given up with the third loss in a row. */
export interface Recovered {
	readonly givenBack: number;
	readonly givenUp: number;
}

const RECOVER_MAX = 10_000;

export async function forfeitDeadLeases(store: WorkerStore, self: string, nowMs: number): Promise<Recovered> {
	let jobs = 0;
	for (const worker of await store.leaseHolders()) if (isGone(worker, self)) jobs += await store.forfeitLeases(worker, nowMs);
	const moved = jobs === 0 ? [] : await store.expireLeases(Math.min(jobs, RECOVER_MAX), nowMs);
	const givenUp = moved.filter(({ state }) => state === "dead").length;
	return { givenBack: moved.length - givenUp, givenUp };
}
