/** After a crash: jobs that a process of this machine had when it died are given back at once, instead of when their leases end. */
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import type { WorkerStore } from "../lib/storage/storage.ts";

/**
 * Where process numbers mean the same: this boot of this kernel, and in it one space of process numbers. A host's name would not do:
 * machines made from one image share it, and so do containers on the host's network.
 */
function processSpace(): string {
	try {
		const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").slice(0, 8);
		return `${boot}${Number(/\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0]).toString(36)}`;
	} catch {
		// Only Linux says so; elsewhere containers are rare.
		return hostname();
	}
}
const SPACE = processSpace();

/** Name of this process in leases: machine, process, when it started, since process numbers are used again, and where they count. */
export const workerName = (): string => `${hostname()}:${process.pid}:${Math.round(performance.timeOrigin).toString(36)}:${SPACE}`;

function isGone(worker: string, self: string): boolean {
	const [, pid, startedAt, space] = worker.split(":");
	if (space !== SPACE || worker === self || startedAt === undefined) return false;
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
