/** POST /api/tasks/{task}/circuit/reset: lets the jobs of a task run again that wait since it kept failing, or since somebody asked to. */
import { operation } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";

export const resetCircuit = operation("resetCircuit", async ({ params, body, store, deps }) => {
	const task = params.task ?? "";
	if (!Object.hasOwn(deps.tasks, task) && !(await store.listTasks()).some(state => state.task === task))
		throw new Problem("unknown_task", `There is no task ${JSON.stringify(task.slice(0, 100))} here. What there is: GET /api/tasks.`);
	const reset = await store.resetCircuit(task, body.tenant ?? null);
	deps.wake.ring();
	return { task, reset };
});
