/** GET /api/tasks: what can be submitted here: the tasks of this program, and those that remote workers have served. */
import * as z from "zod";
import type { Deps } from "../lib/context.ts";
import { WORKER_LIVE_MS } from "../lib/leases.ts";
import { operation } from "../lib/operation.ts";
import { retryPolicy, timeoutOf } from "../lib/runJob.ts";
import type { TaskState } from "../lib/storage/storage.ts";
import type { Task } from "../lib/task.ts";
import { instantOrNull } from "../lib/wire.ts";

export const listTasks = operation("listTasks", async ({ deps, store }) => {
	const states = new Map((await store.listTasks()).map(state => [state.task, state]));
	const own = Object.entries(deps.tasks).map(([name, task]) => describe(name, task, states.get(name), deps));
	const remote = [...states.values()]
		.filter(({ task }) => !Object.hasOwn(deps.tasks, task))
		.sort((a, b) => (a.task < b.task ? -1 : 1))
		.map(state => describe(state.task, null, state, deps));
	const tasks = [...own, ...remote];
	return { tasks, count: tasks.length, next_cursor: null };
});

type Needs = Pick<Deps, "config" | "clock" | "works" | "answersOnly">;

/** Who would start a job of it now: this process, or else whoever was seen lately. */
function servedBy(
	name: string,
	isOwn: boolean,
	state: TaskState | undefined,
	{ clock, works, answersOnly = false }: Needs,
): "this process" | "remote workers" | "other processes" | "nobody" {
	if (isOwn && !answersOnly && (works?.includes(name) ?? true)) return "this process";
	const isLive = (seenAt: number | null | undefined): boolean => clock.now() - (seenAt ?? Number.NEGATIVE_INFINITY) <= WORKER_LIVE_MS;
	if (isLive(state?.seenAt.remote)) return "remote workers";
	return isLive(state?.seenAt.process) ? "other processes" : "nobody";
}

/** @param own null: a task of remote workers, of which no more is known than its name */
function describe(name: string, own: Task | null, state: TaskState | undefined, deps: Needs) {
	const { config, clock } = deps;
	const task: Partial<Task> = own ?? {};
	const retry = retryPolicy(task);
	const heldUntil = state?.heldUntil ?? null;
	return {
		name,
		summary: task.summary ?? null,
		example: task.example ?? null,
		input_schema: task.input === undefined ? null : z.toJSONSchema(task.input, { io: "input", unrepresentable: "any" }),
		timeout_ms: timeoutOf({ timeoutMs: null }, task, config),
		retry: { max_retries: retry.maxRetries, base_ms: retry.baseMs, factor: retry.factor, max_ms: retry.maxMs },
		served_by: servedBy(name, own !== null, state, deps),
		paused: state?.paused ?? false,
		held_until: instantOrNull(heldUntil !== null && heldUntil > clock.now() ? heldUntil : null),
		circuits_open: state?.circuitsOpen ?? 0,
		circuits: (state?.circuits ?? []).map(({ tenant, probesAt }) => ({ tenant_id: tenant, probes_at: instantOrNull(probesAt) })),
	};
}
