/**
 * The frame round each function: who is asking, what is asked, run, answer, and every error as a problem document. A function made with
 * {@link operation} is `(Request, deps) → Response` and can be called alone, without a router or a server.
 */
import type * as z from "zod";
import { CALLS_TENANT } from "./callsTenant.ts";
import { check, checkQuery } from "./check.ts";
import type { Config } from "./config.ts";
import type { Deps } from "./context.ts";
import { type Answer, type Body, type OperationName, type OperationRow, operations, type Query, TENANT_NAME } from "./contract.ts";
import { parseJson } from "./json.ts";
import { messageOf } from "./log.ts";
import { Problem, problemResponse } from "./problem.ts";
import { type JobReader, type OperatorStore, StorageUnavailable, type TenantStore, type WorkerStore } from "./storage/storage.ts";
import { VERSION } from "./version.ts";

export type ApiFunction = (request: Request, deps: Deps) => Promise<Response>;

type Row<N extends OperationName> = (typeof operations)[N];
/** The facet of storage that an operation's scope allows. */
type Store<N extends OperationName> =
	Row<N> extends { tenants: "one" }
		? TenantStore
		: Row<N> extends { scope: "tenant" }
			? JobReader
			: Row<N> extends { scope: "worker" }
				? WorkerStore
				: Row<N> extends { scope: "operator" }
					? OperatorStore
					: undefined;

export interface Call<N extends OperationName> {
	readonly store: Store<N>;
	readonly deps: Omit<Deps, "storage">;
	readonly query: Query<N>;
	readonly body: Body<N>;
	/** Values of the path's parameters. */
	readonly params: Readonly<Record<string, string>>;
	readonly headers: Headers;
	/** The request itself; its `signal` is aborted when the caller has gone away (making it costs, so ask only when waiting). */
	readonly request: Request;
	readonly traceId: string;
	/** The caller's `traceparent`, if it sent one that can be read. */
	readonly traceParent: string | undefined;
}

/** An answer as JSON text, for what is stored as JSON; or with headers or another status than the contract's. */
export class Reply {
	readonly body: string | null;
	readonly headers: Readonly<Record<string, string>>;
	readonly status: number | undefined;
	constructor(body: string | null, headers: Readonly<Record<string, string>> = {}, status?: number) {
		this.body = body;
		this.headers = headers;
		this.status = status;
	}
}

/** Makes a function of the contract. `run` answers the success body, or throws a {@link Problem}. */
export function operation<N extends OperationName>(
	name: N,
	run: (call: Call<N>) => Promise<Answer<N> | Reply> | Answer<N> | Reply,
): ApiFunction {
	const row: OperationRow = operations[name];
	const readParams = pathReader(row.path);
	return async (request, deps) => {
		const { path, search } = splitUrl(request.url);
		const trace = readTrace(request.headers.get("traceparent"));
		const traceId = trace?.traceId ?? deps.random.traceId();
		try {
			const { storage, ...rest } = deps;
			const call = {
				store: storeFor(row, request, deps),
				deps: rest,
				query: readQuery(row, search),
				params: readParams(path),
				body: row.body === undefined ? undefined : await readBody(row.body, request, bodyBytesMax(row, deps.config)),
				headers: request.headers,
				request,
				traceId,
				traceParent: trace?.text,
			};
			const answer = await run(call as unknown as Call<N>);
			const reply = answer instanceof Reply ? answer : new Reply(JSON.stringify(answer));
			return new Response(reply.body, {
				status: reply.status ?? row.status,
				headers: {
					...(reply.body === null ? {} : { "content-type": "application/json" }),
					"tickq-version": VERSION,
					"trace-id": traceId,
					...reply.headers,
				},
			});
		} catch (error) {
			return problemResponse(toProblem(error, name, traceId, deps), path, traceId);
		}
	};
}

/** The caller's mistake is answered as it is; a store that is away as 503; anything else is ours: logged, and 500. */
function toProblem(error: unknown, name: string, traceId: string, deps: Deps): Problem {
	if (error instanceof Problem) return error;
	if (error instanceof StorageUnavailable) {
		deps.log.warn("the store cannot be used", { operation: name, trace_id: traceId, error: messageOf(error) });
		return new Problem(
			"storage_unavailable",
			"The store cannot be used right now. Try again in a moment; a submit with an idempotency key, since an answer that was lost may have been a yes.",
			{
				headers: { "retry-after": "1" },
			},
		);
	}
	deps.log.error("an operation failed", { operation: name, trace_id: traceId, error: messageOf(error), stack: (error as Error)?.stack });
	return new Problem("internal_error", `This is a mistake in tickq, not in the request. Its log has the cause under trace ${traceId}.`);
}

function splitUrl(url: string): { path: string; search: string } {
	const start = url.indexOf("/", url.indexOf("://") + 3);
	const rest = start === -1 ? "/" : url.slice(start);
	const hash = rest.indexOf("#");
	const bare = hash === -1 ? rest : rest.slice(0, hash);
	const mark = bare.indexOf("?");
	return mark === -1 ? { path: bare, search: "" } : { path: bare.slice(0, mark), search: bare.slice(mark + 1) };
}

/** `/api/jobs/{id}/cancel` → the value of `id` in a path of that form. */
function pathReader(pattern: string): (path: string) => Record<string, string> {
	const names = pattern.split("/").map(part => (part.startsWith("{") ? part.slice(1, -1) : null));
	if (names.every(name => name === null)) return () => ({});
	return path => {
		const parts = path.split("/");
		const values: Record<string, string> = {};
		names.forEach((name, i) => {
			if (name !== null) values[name] = safeDecode(parts[i] ?? "");
		});
		return values;
	};
}
function safeDecode(text: string): string {
	try {
		return decodeURIComponent(text);
	} catch {
		return text;
	}
}

function storeFor(row: OperationRow, request: Request, deps: Deps) {
	if (row.scope === "worker") return deps.storage.worker;
	if (row.scope === "operator") return deps.storage.operator;
	if (row.scope === "public") return undefined;
	const name = request.headers.get("x-tenant-id");
	if (name === null || name === "") {
		if (row.tenants === "all by default") return deps.storage.operator;
		throw new Problem(
			"tenant_required",
			row.tenants === "one"
				? "Say whose it is with the header X-Tenant-ID, for example -H 'X-Tenant-ID: acme'."
				: "Say whose with the header X-Tenant-ID, for example -H 'X-Tenant-ID: acme', or -H 'X-Tenant-ID: *' for all tenants.",
		);
	}
	if (name === "*" && row.tenants !== "one") return deps.storage.operator;
	if (!TENANT_NAME.test(name) && !(row.calls && CALLS_TENANT.test(name)))
		throw new Problem(
			"tenant_invalid",
			name === "*"
				? "This operation is for one tenant: name it in X-Tenant-ID."
				: CALLS_TENANT.test(name)
					? `This operation is not for calls to webhooks, which the queue itself makes: name the tenant, ${name.slice(1)}.`
					: "X-Tenant-ID takes 1 to 100 letters, digits and . _ : @ - and starts with a letter, a digit or _.",
		);
	return deps.storage.tenant(name);
}

function readQuery(row: OperationRow, search: string): Record<string, unknown> {
	if (search === "") return {};
	const given: Record<string, string> = Object.create(null);
	for (const [name, value] of new URLSearchParams(search)) {
		if (name in given) throw new Problem("query_invalid", `?${name} is given twice.`);
		given[name] = value;
	}
	const known = Object.keys(row.query?.shape ?? {});
	const unknown = Object.keys(given).find(name => !known.includes(name));
	if (unknown === "dry_run") throw new Problem("dry_run_unsupported", "This operation has no dry run; nothing was done.");
	if (unknown !== undefined)
		throw new Problem("query_invalid", `?${unknown} is not known here. Known: ${known.join(", ") || "none"}.`, {
			errors: [{ pointer: `?${unknown}`, code: "unrecognized_key", detail: "is not known here" }],
		});
	return row.query === undefined ? {} : checkQuery(row.query, { ...given });
}

async function readBody(schema: z.ZodType, request: Request, bytesMax: number): Promise<unknown> {
	const type = request.headers.get("content-type");
	const text = await readText(request, bytesMax);
	if (text === "" && type === null) return check(schema, {}, "body_invalid");
	if (type !== "application/json" && (type === null || !/^application\/(?:json|[\w.+-]+\+json)\s*(?:;|$)/i.test(type)))
		throw new Problem("media_type_unsupported", "Send JSON and say so: -H 'Content-Type: application/json'.", {
			headers: { "accept-post": "application/json" },
		});
	let body: unknown;
	try {
		body = parseJson(text);
	} catch (error) {
		throw new Problem(
			"json_invalid",
			text === "" ? "The body is empty; send a JSON object." : `The body cannot be read as JSON: ${messageOf(error)}.`,
		);
	}
	return check(schema, body, "body_invalid");
}

const bodyBytesMax = ({ results }: OperationRow, { payloadBytesMax, resultBytesMax }: Config): number =>
	results ? 4 * resultBytesMax : payloadBytesMax;

/** The body as text, refused as soon as it is known to be larger than allowed. */
async function readText(request: Request, bytesMax: number): Promise<string> {
	const tooLarge = () =>
		new Problem("payload_too_large", `The body may have ${bytesMax} bytes. Store larger data elsewhere and submit where it is.`, {
			members: { limit_bytes: bytesMax },
		});
	const length = request.headers.get("content-length");
	if (length !== null) {
		if (Number(length) > bytesMax) throw tooLarge();
		return request.text();
	}
	if (request.body === null) return "";
	const reader = request.body.getReader();
	const decoder = new TextDecoder();
	let text = "";
	for (let bytes = 0; ; ) {
		const { done, value } = await reader.read();
		if (done) return text + decoder.decode();
		bytes += value.byteLength;
		if (bytes > bytesMax) {
			await reader.cancel();
			throw tooLarge();
		}
		text += decoder.decode(value, { stream: true });
	}
}

/** W3C Trace Context: version 00, with ids that are not all zero. Anything else is as if nothing had been sent. */
function readTrace(header: string | null): { text: string; traceId: string } | null {
	if (header === null) return null;
	const match = /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/.exec(header.trim());
	if (match === null || /^0+$/.test(match[1]!) || /^0+$/.test(match[2]!)) return null;
	return { text: header.trim(), traceId: match[1]! };
}
