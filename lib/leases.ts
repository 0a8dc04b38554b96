/** What the three calls of remote workers share: leases as they stand in requests, and who was seen lately. */
import type { Deps } from "./context.ts";
import { fromJobId } from "./jobId.ts";
import type { Lease, NewWorker, WorkerStore } from "./storage/storage.ts";

/** A lease as a request names it. */
export interface NamedLease {
	readonly id: string;
	readonly lease_token: string;
}

/** The lease that is meant, or null where there can be none of that name. */
export function leaseOf({ id, lease_token }: NamedLease): Lease | null {
	const ref = fromJobId(id);
	const token = Number(lease_token);
	return ref === null || !Number.isSafeInteger(token) ? null : { id: ref.id, token, tail: ref.tail };
}

/** Leases of one job that a request may name: one is held at most, and one or two were lost before. */
const ROUNDS_MAX = 3;

/**
 * The store answers by job. A worker that lost a job and got it again may name two leases of it; such are asked for one after the other,
 * three at most. A lease that is named twice is asked for once: by what is said of it first.
 */
export function inRounds<T extends Lease>(leases: readonly T[]): T[][] {
	const rounds: T[][] = [];
	const tokens = new Map<number, Set<number>>();
	for (const lease of leases) {
		const known = tokens.get(lease.id) ?? new Set();
		tokens.set(lease.id, known);
		if (known.has(lease.token) || known.size === ROUNDS_MAX) continue;
		const round = rounds[known.size] ?? [];
		rounds[known.size] = round;
		round.push(lease);
		known.add(lease.token);
	}
	return rounds;
}

/** The name of a lease among those of one request. */
export const leaseKey = ({ id, token }: Lease): string => `${id} ${token}`;

/** One that was seen so lately is there: it says so every 30 s, and a process that sleeps once a minute. */
export const WORKER_LIVE_MS = 75_000;

/** How often a worker that keeps asking is written down, and how many this process remembers. */
const SEE_EVERY_MS = 10_000;
const SEEN_MAX = 1000;

interface Seen {
	readonly worker: NewWorker;
	readonly at: number;
}
/** By process: its tick status is the one thing that lives as long. */
const seenBy = new WeakMap<object, Map<string, Seen>>();

/**
 * Says that a remote worker is there, unless that was said a moment ago.
 * @param worker what it says of itself; the name alone where it says no more, as with a heartbeat: then as it was when it last said so here
 */
export async function seeRemoteWorker(
	worker: NewWorker | string,
	store: WorkerStore,
	{ clock, ticks }: Pick<Deps, "clock" | "ticks">,
): Promise<void> {
	const seen = seenBy.get(ticks) ?? new Map<string, Seen>();
	seenBy.set(ticks, seen);
	const nowMs = clock.now();
	const before = seen.get(typeof worker === "string" ? worker : worker.name);
	const current = typeof worker === "string" ? before?.worker : worker;
	if (current === undefined || (before !== undefined && nowMs - before.at < SEE_EVERY_MS && isSame(before.worker, current))) return;
	await store.seeWorker(current, nowMs);
	seen.delete(current.name);
	seen.set(current.name, { worker: current, at: nowMs });
	if (seen.size > SEEN_MAX) seen.delete(seen.keys().next().value!);
}

const isSame = (a: NewWorker, b: NewWorker): boolean => a.version === b.version && a.tasks.join() === b.tasks.join();
