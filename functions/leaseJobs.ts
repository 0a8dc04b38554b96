/** POST /api/leases: due jobs for a worker that runs them elsewhere, at once or when there are some. It is the claim that ticks make. */
import type { Deps } from "../lib/context.ts";
import type { Body } from "../lib/contract.ts";
import { attemptOf } from "../lib/history.ts";
import { toJobId } from "../lib/jobId.ts";
import { seeRemoteWorker } from "../lib/leases.ts";
import { messageOf } from "../lib/log.ts";
import { operation, Reply } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";
import { remoteAttemptMsMax, taskPayload, timeoutOf } from "../lib/runJob.ts";
import { type Claimed, type NextDue, REMOTE_TASKS_MAX, TooManyTasks, type WorkerStore } from "../lib/storage/storage.ts";
import { ownTask, type Task } from "../lib/task.ts";
import { instant } from "../lib/wire.ts";

/** How often a waiting worker's jobs are looked for that another process may have submitted. */
const LOOK_EVERY_MS = 1000;
/** A worker that the bell wakes for nothing again and again is not woken before that: many may wait, and the bell rings for all. */
const LOOK_PAUSE_MS_MAX = 25;

export const leaseJobs = operation("leaseJobs", async ({ body, store, deps, request }) => {
	const tasks = [...new Set(body.tasks)];
	const limit = body.limit ?? 1;
	await seeRemoteWorker({ name: body.worker, kind: "remote", tasks, version: body.version ?? "" }, store, deps).catch(refuse);
	// Only who waits may have gone: asking for the signal makes it, which costs.
	const signal = body.wait_ms ? request.signal : null;
	const { jobs, next } = await claimOrWait({ ...body, tasks, limit }, signal, store, deps);
	if (signal?.aborted) return giveBack(jobs, store, deps);
	const nowMs = deps.clock.now();
	const nextAt = jobs.length === limit ? nowMs : wakeAt(next ?? (await nextDueIfKnown(tasks, nowMs, store, deps)), nowMs);
	const texts = jobs.map(job => leasedText(job, deps));
	return new Reply(`{"jobs":[${texts.join()}],"next_wake_at":${nextAt === null ? null : `"${instant(nextAt)}"`}}`);
});

function refuse(error: unknown): never {
	if (!(error instanceof TooManyTasks)) throw error;
	throw new Problem(
		"too_many_tasks",
		`So many tasks are known that no worker may bring another one (${REMOTE_TASKS_MAX}). Name the tasks that it has, not one for each job.`,
	);
}

/** The caller has gone: its jobs are not lost for a lease. Nobody reads the answer. */
async function giveBack(jobs: readonly Claimed[], store: WorkerStore, { clock, wake }: Pick<Deps, "clock" | "wake">): Promise<Reply> {
	if (jobs.length > 0) {
		await store.finishIfLeased(
			jobs.map(({ id, token }) => ({ id, token, outcome: "release" })),
			clock.now(),
		);
		wake.ring();
	}
	return new Reply('{"jobs":[],"next_wake_at":null}');
}

type Asked = Body<"leaseJobs"> & { readonly limit: number };
/** `next`: what the store said was due when there was nothing to claim. */
interface Found {
	readonly jobs: Claimed[];
	readonly next: NextDue | null;
}

/**
 * Claims. Where nothing is due it looks again when the bell rings, when something becomes due, and every second, for as long as the caller
 * waits and this process does not stop. A look is one statement.
 */
async function claimOrWait(asked: Asked, gone: AbortSignal | null, store: WorkerStore, deps: Omit<Deps, "storage">): Promise<Found> {
	const { clock, wake, platform, stopping } = deps;
	const waitMs = asked.wait_ms ?? 0;
	const until = clock.now() + waitMs;
	const looksMax = platform?.looksMax ?? Number.POSITIVE_INFINITY;
	const everyMs = Math.max(LOOK_EVERY_MS, waitMs / looksMax);
	const end = gone === null || stopping === undefined ? gone : AbortSignal.any([gone, stopping]);
	let mayClaim = true;
	let inVain = 0;
	for (let looks = 1; ; looks++) {
		// Listened to before the store is asked, so that no ring is missed.
		const bell = listen(wake);
		try {
			const jobs = mayClaim ? await claim(asked, store, deps) : [];
			if (jobs.length > 0) return { jobs, next: null };
			const nowMs = clock.now();
			const next = await store.nextDue(asked.tasks, nowMs);
			if (end === null || end.aborted || clock.now() >= until) return { jobs, next };
			if (next.claim && !mayClaim) {
				mayClaim = true;
				continue;
			}
			mayClaim = false;
			const dueAt = next.delayedAt !== null && next.delayedAt > nowMs ? next.delayedAt : Number.POSITIVE_INFINITY;
			const lookAt = looks < looksMax ? Math.min(nowMs + everyMs, dueAt, until) : until;
			if (inVain > 0) await pause(Math.min(LOOK_PAUSE_MS_MAX, 2 ** (inVain - 1), lookAt - clock.now()), end, clock);
			if (looks >= looksMax) await pause(lookAt - clock.now(), end, clock);
			else if (!bell.rang) await pause(lookAt - clock.now(), end, clock, bell);
			inVain = bell.rang ? inVain + 1 : 0;
		} finally {
			bell.stop();
		}
	}
}

/** One ring of the bell. */
interface Ring {
	readonly rang: boolean;
	onRing: () => void;
	stop(): void;
}
function listen(wake: Deps["wake"]): Ring {
	const stop = wake.listen(() => {
		ring.rang = true;
		ring.onRing();
	});
	const ring = { rang: false, onRing: () => {}, stop };
	return ring;
}

/** Waits so long, or until the signal, or until the bell rings. */
const pause = (ms: number, end: AbortSignal, clock: Deps["clock"], bell?: Ring): Promise<void> =>
	new Promise(resolve => {
		const done = () => {
			cancelTimer();
			end.removeEventListener("abort", done);
			resolve();
		};
		const cancelTimer = clock.after(ms, done);
		end.addEventListener("abort", done);
		if (bell !== undefined) bell.onRing = done;
		if (end.aborted) done();
	});

/** One claim. Jobs that had to start before now are ended rather than handed out. */
async function claim({ worker, tasks, limit, lease_ms }: Asked, store: WorkerStore, deps: Omit<Deps, "storage">): Promise<Claimed[]> {
	const { clock, config, random, ended, wake } = deps;
	// No attempt runs longer, so that no lease needs to last longer.
	const leaseMs = Math.min(lease_ms ?? config.leaseMs, remoteAttemptMsMax(deps) + config.graceMs);
	for (;;) {
		const nowMs = clock.now();
		const jobs = await store.claimDueJobs({ tasks, limit, leaseMs, token: random.token(), worker }, nowMs);
		const late = jobs.filter(({ startBy }) => startBy !== null && startBy <= nowMs);
		if (late.length === 0) return jobs;
		await store.finishIfLeased(
			late.map(({ id, token }) => ({ id, token, outcome: "expired" })),
			nowMs,
		);
		for (const { id } of late) ended.announce(id);
		wake.ring();
		if (late.length < jobs.length) return jobs.filter(job => !late.includes(job));
	}
}

/** What has been claimed is answered also where the store cannot say what comes next: it would be lost for a lease. */
async function nextDueIfKnown(
	tasks: readonly string[],
	nowMs: number,
	store: WorkerStore,
	{ log }: Pick<Deps, "log">,
): Promise<NextDue | null> {
	try {
		return await store.nextDue(tasks, nowMs);
	} catch (error) {
		log.warn("a worker is not told when to ask again", { error: messageOf(error) });
		return null;
	}
}

/** When a worker may find something: jobs that wait for their time, and those of a lease that ends first; null: nobody knows. */
function wakeAt(next: NextDue | null, nowMs: number): number | null {
	if (next === null) return null;
	const { claim, reason, at, delayedAt } = next;
	return claim ? nowMs : reason === "lease" ? Math.max(at ?? nowMs, nowMs) : delayedAt;
}

/** A job as its worker sees it. The payload is JSON already. */
function leasedText(job: Claimed, deps: Pick<Deps, "tasks" | "config" | "platform">): string {
	const config = { ...deps.config, timeoutMsMax: remoteAttemptMsMax(deps) };
	const task: Pick<Task, "timeoutMs"> = ownTask(job.task, deps.tasks) ?? {};
	const timeoutFrom = job.timeoutMs !== null ? "job" : task.timeoutMs !== undefined ? "task" : "queue";
	const payload = job.taskInPayload ? JSON.stringify(taskPayload(JSON.parse(job.payload), true)) : job.payload;
	return (
		`{"id":"${toJobId(job)}","tenant":${JSON.stringify(job.tenant)},"task":${JSON.stringify(job.task)},"payload":${payload}` +
		`,"attempt":${attemptOf(job)},"max_attempts":${job.maxRetries + 1}` +
		`,"timeout_ms":${timeoutOf(job, task, config)},"timeout_from":"${timeoutFrom}"` +
		`,"lease_token":"${job.token}","lease_expires_at":"${instant(job.leaseUntil!)}","trace_id":"${job.traceId}"}`
	);
}
