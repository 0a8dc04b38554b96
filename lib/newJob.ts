/** What becomes a job, whoever asks for it: whether somebody runs such a task, whether the payload fits it, and how the job looks once stored. */
import { check } from "./check.ts";
import { TASK_NAME } from "./contract.ts";
import type { Job } from "./job.ts";
import { nearest } from "./nearest.ts";
import { Problem } from "./problem.ts";
import { RETRY_DEFAULT } from "./retry.ts";
import { taskPayload } from "./runJob.ts";
import type { NewJob, SubmitAnswer, TenantStore } from "./storage/storage.ts";
import type { Task, TaskRegistry } from "./task.ts";

/** A task of this process; undefined when it has none of this name: see {@link servedElsewhere}. */
export const ownTask = (name: string, tasks: TaskRegistry): Task | undefined => (Object.hasOwn(tasks, name) ? tasks[name] : undefined);

/**
 * For a name that is no task of this process: nothing where remote workers serve it (they alone know what its payload may be).
 * @param pointer where the name stands in the body
 * @throws Problem unknown_task where nobody does
 */
export async function servedElsewhere(
	name: string,
	pointer: string,
	tasks: TaskRegistry,
	store: Pick<TenantStore, "knowsTask">,
): Promise<undefined> {
	if (TASK_NAME.test(name) && (await store.knowsTask(name))) return;
	const known = Object.keys(tasks);
	const meant = nearest(name, known);
	throw new Problem(
		"unknown_task",
		`There is no task ${JSON.stringify(name.slice(0, 100))} here, and no remote worker has served one. ${meant === undefined ? `Known: ${known.join(", ") || "none"}.` : `Did you mean ${meant}?`}`,
		{
			errors: [{ pointer, code: "unknown_task", detail: "is not known here" }],
			members: { known_tasks: known },
		},
	);
}

/** Holds a payload to the schema of its task, if it has one that is known here. @throws Problem invalid_payload, pointing below /payload */
export function checkPayload(name: string, task: Task | undefined, payload: unknown, taskInPayload = false): void {
	if (task?.input !== undefined)
		check(task.input, taskPayload(payload, taskInPayload), "invalid_payload", "/payload", `The schema of ${name}: GET /api/tasks.`);
}

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
