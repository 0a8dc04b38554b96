/** GET /api/tasks: what can be submitted here. */
import * as z from "zod";
import { operation } from "../lib/operation.ts";
import { retryPolicy } from "../lib/runJob.ts";

export const listTasks = operation("listTasks", ({ deps }) => {
	const tasks = Object.entries(deps.tasks).map(([name, task]) => {
		const retry = retryPolicy(task);
		return {
			name,
			summary: task.summary ?? null,
			example: task.example ?? null,
			input_schema: task.input === undefined ? null : z.toJSONSchema(task.input, { io: "input", unrepresentable: "any" }),
			timeout_ms: Math.min(task.timeoutMs ?? deps.config.timeoutMs, deps.config.timeoutMsMax),
			retry: { max_retries: retry.maxRetries, base_ms: retry.baseMs, factor: retry.factor, max_ms: retry.maxMs },
		};
	});
	return { tasks, count: tasks.length, next_cursor: null };
});
