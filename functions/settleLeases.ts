/** POST /api/leases/settle: how attempts ended that ran elsewhere. Each is held to what an attempt here is held to. */
import type { Deps } from "../lib/context.ts";
import { type Body, RUN_AT_MAX } from "../lib/contract.ts";
import { failureOf, type ThrownError } from "../lib/failure.ts";
import { attemptOf } from "../lib/history.ts";
import { type Job, type State, statusOf } from "../lib/job.ts";
import { inRounds, leaseKey, leaseOf } from "../lib/leases.ts";
import { messageOf } from "../lib/log.ts";
import { operation } from "../lib/operation.ts";
import { PROBLEMS, Problem } from "../lib/problem.ts";
import { backoffMs } from "../lib/retry.ts";
import { bytesOf, circuitOf, refusalOf, retryPolicy, toFollowUp } from "../lib/runJob.ts";
import type { Ending, FollowUp, Lease, Moved, WorkerStore } from "../lib/storage/storage.ts";
import { type FollowUpOptions, ownTask } from "../lib/task.ts";
import { warnOfCircuit } from "../lib/warnOfCircuit.ts";

type Result = Body<"settleLeases">["results"][number];
type Needs = Pick<Deps, "clock" | "config" | "random" | "tasks">;

const LOST =
	"The lease is not held any more: it ran out, or another answer ended the attempt. Nothing was changed; drop the result and go on.";
const REFUSAL = { code: "lease_lost", title: PROBLEMS.lease_lost[1], detail: LOST };
/** Jobs that are read at once, with their payloads. */
const READ_MAX = 100;

export const settleLeases = operation("settleLeases", async ({ body, store, deps }) => {
	const items = body.results.map(result => toItem(result, deps));
	const jobs = await readJobs(
		items.flatMap(item => (item.lease !== null && needsJob(item) ? [item.lease.id] : [])),
		store,
	);
	const endings: (Ending | null)[] = [];
	for (const { lease, ...item } of items)
		endings.push(lease === null ? null : await toEnding({ ...item, lease }, jobs.get(lease.id), store, deps));
	const settled = new Map<string, Moved>();
	for (const round of inRounds(endings.filter(ending => ending !== null))) {
		const tokens = new Map(round.map(({ id, token }) => [id, token]));
		for (const moved of await store.finishIfLeased(round, deps.clock.now())) {
			settled.set(leaseKey({ id: moved.id, token: tokens.get(moved.id)! }), moved);
			deps.ended.announce(moved.id);
			const ending = round.find(({ id }) => id === moved.id);
			const job = jobs.get(moved.id);
			if (moved.circuit === "opened" && ending !== undefined && job !== undefined) warnOfCircuit(deps.log, job, ending, deps.clock.now());
		}
	}
	// Slots of tenants are free again, and jobs that wait for their key may run.
	if (settled.size > 0) deps.wake.ring();
	const results = items.map(({ result: { id } }, i) => {
		const ending = endings[i] ?? null;
		const moved = ending === null ? undefined : settled.get(leaseKey(ending));
		return moved === undefined || !BECOMES[ending!.outcome].includes(moved.state)
			? { id, problem: REFUSAL }
			: { id, status: statusOf(moved.state) };
	});
	if (results.length === 1 && results[0]!.problem !== undefined) throw new Problem("lease_lost", LOST);
	return { results };
});

const WAITS: readonly State[] = ["ready", "delayed", "blocked"];
/** What a job can be after an ending, at once or later under the same token. Where it is something else, another ending has ended the attempt. */
const BECOMES: Readonly<Record<Ending["outcome"], readonly State[]>> = {
	done: ["done"],
	failed: ["failed"],
	retry: [...WAITS, "dead", "cancelled"],
	snooze: [...WAITS, "cancelled"],
	release: [...WAITS, "cancelled"],
	cancelled: ["cancelled"],
	expired: ["cancelled"],
};

interface Item {
	readonly result: Result;
	/** Null: there is none of that name. */
	readonly lease: Lease | null;
	/** The result as JSON, and why it cannot be kept, if so. */
	readonly text: string;
	readonly refusal: string | null;
}
function toItem(result: Result, { config }: Pick<Deps, "config">): Item {
	const text = JSON.stringify(result.result) ?? "null";
	return { result, lease: leaseOf(result), text, refusal: refusalOf(text, config) };
}

/** Whether more must be known than the lease: an error names its attempt, a follow-up is its job's tenant's. */
const needsJob = ({ result: { outcome, follow_ups }, refusal }: Pick<Item, "result" | "refusal">): boolean =>
	outcome === "retry" || outcome === "failed" || (outcome === "done" && (refusal !== null || (follow_ups ?? []).length > 0));

type Read = Omit<Job, "payload" | "result">;
async function readJobs(ids: readonly number[], store: WorkerStore): Promise<Map<number, Read>> {
	const jobs = new Map<number, Read>();
	const wanted = [...new Set(ids)];
	for (let at = 0; at < wanted.length; at += READ_MAX)
		for (const { payload: _, result: __, ...job } of await store.getJobsById(wanted.slice(at, at + READ_MAX))) jobs.set(job.id, job);
	return jobs;
}

/** The ending that a result means; null when it is of a job that is not there. */
async function toEnding(item: Item & { lease: Lease }, job: Read | undefined, store: WorkerStore, deps: Needs): Promise<Ending | null> {
	const { result, lease, text, refusal } = item;
	const { clock, config, random, tasks } = deps;
	const { outcome } = result;
	const delayMs = Math.min(result.retry_after_ms ?? 0, RUN_AT_MAX - clock.now() - 1);
	if (outcome === "snooze") return { ...lease, outcome, delayMs };
	// A release ends cancelled where a cancel was asked for; where none was, the job goes back in line.
	if (outcome === "release" || outcome === "cancelled") return { ...lease, outcome: "release" };
	if (!needsJob(item)) return { ...lease, outcome: "done", result: text };
	if (job === undefined) return null;
	const failed = (error: ThrownError): Ending => ({ ...lease, ...failureOf(error, attemptOf(job)), outcome: "failed" });
	if (outcome === "failed") return failed(thrownBy(result));
	if (outcome === "done") {
		if (refusal !== null) return failed({ name: "Failed", message: refusal });
		try {
			return { ...lease, outcome, result: text, followUps: await toFollowUps(result, job, store, deps) };
		} catch (error) {
			if (!(error instanceof FollowUpRefused || error instanceof Problem)) throw error;
			return failed({ name: "Failed", message: `a follow-up was refused: ${messageOf(error)}` });
		}
	}
	const task = ownTask(job.task, tasks) ?? {};
	const scope = result.retry_scope ?? null;
	return {
		...lease,
		...failureOf(thrownBy(result), attemptOf(job)),
		...(scope === null || scope === "job" ? {} : { hold: scope }),
		...circuitOf(task, config, scope === null),
		outcome,
		delayMs: typeof result.retry_after_ms === "number" ? delayMs : backoffMs(retryPolicy(task), job.failures + 1, random.fraction()),
	};
}

function thrownBy({ error }: Result): ThrownError {
	const { message, name, stack }: NonNullable<Exclude<typeof error, string>> =
		typeof error === "string" ? { message: error } : (error ?? { message: "" });
	return { message: message || name || "the worker did not say why", name: name ?? undefined, stack: stack ?? undefined };
}

class FollowUpRefused extends Error {}

/** Follow-ups are held to the rules of those that a task here submits. Their task is one of this program, or one that a worker has served. */
async function toFollowUps(
	{ follow_ups }: Result,
	job: Pick<Job, "tenant" | "traceId">,
	store: WorkerStore,
	deps: Needs,
): Promise<FollowUp[]> {
	const { payloadBytesMax } = deps.config;
	const followUps: FollowUp[] = [];
	for (const { task, payload = {}, max_retries, delay_ms, ...more } of follow_ups ?? []) {
		const isOwn = ownTask(task, deps.tasks) !== undefined;
		if (!isOwn && !(await store.knowsTask(task))) throw new FollowUpRefused(`there is no task ${task}`);
		const options = { ...more, maxRetries: max_retries, delayMs: delay_ms } as FollowUpOptions;
		const followUp = toFollowUp(job, task, payload, options, isOwn ? deps.tasks : { [task]: { run: () => {} } }, deps);
		if (bytesOf(followUp.payload, payloadBytesMax) > payloadBytesMax)
			throw new FollowUpRefused(`the payload for ${task} has more than ${payloadBytesMax} bytes`);
		followUps.push(followUp);
	}
	return followUps;
}
