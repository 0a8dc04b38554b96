/** What becomes a job, whoever asks for it: whether somebody runs such a task, whether the payload fits it, and the job once it is stored. */
import { check } from "./check.ts";
import type { Deps } from "./context.ts";
import { TASK_NAME } from "./contract.ts";
import type { Job } from "./job.ts";
import { nearest } from "./nearest.ts";
import { Problem } from "./problem.ts";
import { RETRY_DEFAULT } from "./retry.ts";
import { taskPayload } from "./runJob.ts";
import type { NewJob, SubmitAnswer, TenantStore } from "./storage/storage.ts";
import { ownTask, type Task, type TaskRegistry } from "./task.ts";

/** A task by its name, and what it is to be given. */
export interface Work {
	readonly name: string;
	/** JSON Pointer of where the name stands in the body. */
	readonly pointer: string;
	readonly payload: unknown;
	/** Whether the name stands in the payload, of which it is no part for the task. */
	readonly taskInPayload?: boolean;
}

/**
 * The task that is meant, once the payload is known to fit it. Undefined where only remote workers serve it: they alone know what its payload
 * may be.
 * @throws Problem unknown_task where nobody serves it; invalid_payload, pointing below /payload
 */
export async function taskFor(
	{ name, pointer, payload, taskInPayload = false }: Work,
	tasks: TaskRegistry,
	store: Pick<TenantStore, "knowsTask">,
): Promise<Task | undefined> {
	const task = ownTask(name, tasks);
	if (task?.input !== undefined)
		check(task.input, taskPayload(payload, taskInPayload), "invalid_payload", "/payload", `The schema of ${name}: GET /api/tasks.`);
	if (task === undefined && !(TASK_NAME.test(name) && (await store.knowsTask(name)))) throw unknownTask(name, pointer, tasks);
	return task;
}

function unknownTask(name: string, pointer: string, tasks: TaskRegistry): Problem {
	const known = Object.keys(tasks);
	const meant = nearest(name, known);
	return new Problem(
		"unknown_task",
		`There is no task ${JSON.stringify(name.slice(0, 100))} here, and no remote worker has served one. ${meant === undefined ? `Known: ${known.join(", ") || "none"}.` : `Did you mean ${meant}?`}`,
		{
			errors: [{ pointer, code: "unknown_task", detail: "is not known here" }],
			members: { known_tasks: known },
		},
	);
}

/** Attempts after the first where the job does not say. */
export const maxRetriesOf = (task: Task | undefined): number => task?.retry?.maxRetries ?? RETRY_DEFAULT.maxRetries;

export const backlogFull = (tenant: string): Problem =>
	new Problem(
		"tenant_backlog_full",
		`${tenant} has as many jobs waiting as it may have. Submit again when some have run, or raise its backlog limit.`,
		{
			headers: { "retry-after": "10" },
			members: { limit: "backlog" },
		},
	);

/**
 * Stores a job without an idempotency key, and wakes whoever may run it.
 * @returns the job as it stands now
 * @throws Problem tenant_backlog_full
 */
export async function storeJob(
	job: NewJob,
	nowMs: number,
	store: Pick<TenantStore, "insertJob" | "tenant">,
	{ wake }: Pick<Deps, "wake">,
): Promise<Job> {
	const answer = await store.insertJob(job, nowMs);
	if (answer.status === "backlog_full") throw backlogFull(store.tenant);
	if (answer.status !== "created") throw new Error(`a job without a key was ${answer.status}`);
	wake.ring();
	return toStored(job, answer, store.tenant);
}

/** The job as it was stored a moment ago, without asking for it again. */
export const toStored = (job: NewJob, { id, createdAt, webhookUrl }: SubmitAnswer & { status: "created" }, tenant: string): Job => ({
	id,
	tail: job.tail,
	tenant,
	task: job.task,
	state: job.runAt !== undefined && job.runAt > createdAt ? "delayed" : "ready",
	reason: null,
	priority: job.priority ?? 0,
	seq: 1,
	createdAt,
	runAt: Math.max(job.runAt ?? createdAt, createdAt),
	startBy: job.startBy ?? null,
	startedAt: null,
	completedAt: null,
	expiresAt: null,
	failures: 0,
	losses: 0,
	claims: 0,
	maxRetries: job.maxRetries,
	timeoutMs: job.timeoutMs ?? null,
	leaseUntil: null,
	cancelRequestedAt: null,
	taskInPayload: job.taskInPayload ?? false,
	worker: null,
	key: job.key ?? null,
	traceId: job.traceId,
	traceParent: job.traceParent ?? null,
	parentId: null,
	copyOf: job.copyOf ?? null,
	webhookUrl,
	fingerprint: null,
	tags: job.tags ?? [],
	progress: null,
	error: null,
	result: null,
	payload: job.payload,
});
