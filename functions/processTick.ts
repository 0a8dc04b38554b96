/** POST /api/tick: one bounded pass over the queue, or with ?dry_run=true what it would do. The pass itself is lib/tick.ts. */
import { operation } from "../lib/operation.ts";
import { rehearseTick, startTick, type TickOptions } from "../lib/tick.ts";

export const processTick = operation("processTick", ({ body, query, deps, store }) => {
	const options: TickOptions = {
		trigger: "http",
		...(typeof body.limit === "number" ? { jobsMax: body.limit } : {}),
		...(typeof body.budget_ms === "number" ? { budgetMs: body.budget_ms } : {}),
	};
	const needs = { ...deps, store };
	return query.dry_run ? rehearseTick(needs, options) : startTick(needs, options).report;
});
