/** Contract and functions become one app: every root serves the same routes, and answers the same for what is none. */
import { type Context, Hono } from "hono";
import type { Deps } from "./context.ts";
import { type OperationName, type OperationRow, operations } from "./contract.ts";
import type { ApiFunction } from "./operation.ts";
import { Problem, problemResponse } from "./problem.ts";

/** One function for each row of the contract. */
export type Functions = { readonly [N in OperationName]: ApiFunction };

/**
 * @param deps asked for with every request, so that a root may exchange what its functions are handed, or make it for that request
 * @param addRoutes what only this root has, such as its WebSocket and its files; added after the API
 */
export function compose(functions: Functions, deps: (context: Context) => Deps, addRoutes: (app: Hono) => void = () => {}): Hono {
	const app = new Hono();
	const methods = new Map<string, string[]>();
	for (const [name, row] of Object.entries(operations) as [OperationName, OperationRow][]) {
		const path = row.path.replaceAll(/\{(\w+)\}/g, ":$1");
		app.on(row.method, path, context => functions[name](context.req.raw, deps(context)));
		methods.set(path, [...(methods.get(path) ?? []), row.method]);
	}
	for (const [path, allowed] of methods)
		app.all(path, context => {
			const allow = allowed.includes("GET") ? [...allowed, "HEAD"] : allowed;
			const { method } = context.req;
			const problem = new Problem("method_not_allowed", `${method} does not work here; this path has ${allow.join(", ")}.`, {
				headers: { allow: allow.join(", ") },
			});
			return problemResponse(problem, context.req.path, deps(context).random.traceId());
		});
	addRoutes(app);
	app.notFound(context =>
		problemResponse(
			new Problem("not_found", "Nothing is here. What there is: GET /openapi.json."),
			context.req.path,
			deps(context).random.traceId(),
		),
	);
	app.onError((error, context) => {
		const { log, random } = deps(context);
		const traceId = random.traceId();
		log.error("a request failed outside the functions", {
			path: context.req.path,
			error: error.message,
			stack: error.stack,
			trace_id: traceId,
		});
		return problemResponse(
			new Problem("internal_error", `This is a mistake in tickq; its log has the cause under trace ${traceId}.`),
			context.req.path,
			traceId,
		);
	});
	return app;
}
