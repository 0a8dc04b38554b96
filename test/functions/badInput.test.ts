import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { functions } from "../../functions/all.ts";
import { compose } from "../../lib/compose.ts";
import { type OperationName, type OperationRow, operations } from "../../lib/contract.ts";
import { PROBLEMS } from "../../lib/problem.ts";
import { type Answered, answered, type CallOptions, type Harness, settle, toRequest } from "../support/harness.ts";
import { inQueue, submit } from "./inQueue.ts";

const rows = Object.entries(operations) as [OperationName, OperationRow][];
const NO_JOB = "job_00000000000000000000000000";
const pathOf = (row: OperationRow, id = NO_JOB) => row.path.replace("{id}", id).replaceAll(/\{\w+\}/g, "nothing");
const ofTenant = rows.filter(([, { scope }]) => scope === "tenant");
const withBody = rows.filter(([, { body }]) => body !== undefined);
const withId = rows.filter(([, { path }]) => path.startsWith("/api/jobs/{id}"));
const withBulkId = rows.filter(([, { path }]) => path.startsWith("/api/bulk-actions/{id}"));
const hasDryRun = ({ query }: OperationRow) => "dry_run" in (query?.shape ?? {});

/** Holds an answer to the form of every problem document. */
function expectProblem({ status, headers, body }: Answered, code: string | readonly string[], path: string): void {
	expect({ code: body?.code, detail: body?.detail }).toMatchObject({ code: typeof code === "string" ? code : expect.toBeOneOf([...code]) });
	const [wanted, title] = PROBLEMS[body.code as keyof typeof PROBLEMS];
	expect(headers.get("content-type")).toBe("application/problem+json");
	expect(status).toBe(wanted);
	expect(body).toMatchObject({ type: `/docs/problems/${body.code}`, title, status: wanted, instance: path.split("?")[0] });
	expect(body.detail.length).toBeGreaterThan(10);
	expect(body.detail.length).toBeLessThan(2000);
	expect(body.trace_id).toMatch(/^[0-9a-f]{32}$/);
	for (const { pointer, code, detail } of body.errors ?? []) for (const text of [pointer, code, detail]) expect(typeof text).toBe("string");
}

const refuse = async (queue: Harness, name: OperationName, path: string, options: CallOptions, code: string | readonly string[]) =>
	expectProblem(await queue.call(name, path, options), code, path);

/** A valid request of the operation, to be spoilt in one place. */
const valid = (name: OperationName, row: OperationRow): CallOptions => ({
	method: row.method,
	...(name in BODIES ? { body: BODIES[name] } : {}),
});
const BODIES: { readonly [N in OperationName]?: unknown } = {
	submitJob: { task: "echo" },
	startBulkAction: { action: "retry", filter: { task: "echo" } },
	setWebhook: { url: "https://example.com/" },
	createSchedule: { name: "nightly", task: "echo", cron: "30 2 * * *" },
	leaseJobs: { worker: "w", tasks: ["render"] },
	heartbeatLeases: { worker: "w", leases: [] },
	settleLeases: { results: [{ id: NO_JOB, lease_token: "1", outcome: "done" }] },
};

const TENANTS: readonly [string, string][] = [
	["with a space", "a b"],
	["of 101 letters", "x".repeat(101)],
	["that starts with a dash", "-a"],
	["with a slash", "a/b"],
	["with a tab", "a\tb"],
	["beyond ASCII", "t\u00e9"],
	["with a control character", "a\u0001b"],
	["twice", "a, b"],
	["with a quote", "a'--"],
	["of stars", "**"],
];

describe("bad input", () => {
	describe.each(ofTenant)("the tenant of %s", (name, row) => {
		it("is held to its form", () =>
			inQueue(async queue => {
				for (const [, tenant] of TENANTS) await refuse(queue, name, pathOf(row), { ...valid(name, row), tenant }, "tenant_invalid");
				if (row.tenants === "one") await refuse(queue, name, pathOf(row), { ...valid(name, row), tenant: "*" }, "tenant_invalid");
				if (row.tenants !== "all by default")
					for (const tenant of [null, ""]) await refuse(queue, name, pathOf(row), { ...valid(name, row), tenant }, "tenant_required");
				expect(queue.logs.filter(({ level }) => level === "error")).toEqual([]);
				expect((await queue.deps.storage.operator.counts()).submitted).toBe(0);
			}));
	});

	it.each(rows)("the query of %s names no parameter that is not known, and each once", (name, row) =>
		inQueue(async queue => {
			const at = (query: string) => `${pathOf(row)}?${query}`;
			for (const query of ["nonsense=1", "__proto__=1", "constructor", "%E0%A4%A=1", "=", "%00=", "a[]=1"])
				await refuse(queue, name, at(query), valid(name, row), "query_invalid");
			for (const query of ["limit=1&limit=1", "x=1&x=2", "dry_run=true&dry_run=true"])
				await refuse(queue, name, at(query), valid(name, row), "query_invalid");
			if (!hasDryRun(row)) await refuse(queue, name, at("dry_run=true"), valid(name, row), "dry_run_unsupported");
			for (const value of ["", "-1", "20001", "1.5", "NaN", "1e3", "9".repeat(400), "0x10", " 5", "%00"])
				await refuse(queue, name, at(`wait_ms=${value}`), valid(name, row), "query_invalid");
			expect((await queue.deps.storage.operator.counts()).submitted).toBe(0);
		}),
	);

	it.each(withBody)("the body of %s is JSON and says so", (name, row) =>
		inQueue(async queue => {
			const method = row.method;
			const send = (body: string, code: string | readonly string[], type?: string) =>
				refuse(queue, name, pathOf(row), { method, body, ...(type === undefined ? {} : { headers: { "content-type": type } }) }, code);
			for (const body of ["{", "{'a':1}", '{"a":1,}', "nul", "NaN", "undefined", '{"task":"echo"}{', '"\u0001"', "\ufeff", "[", "{}x"])
				await send(body, "json_invalid");
			await refuse(queue, name, pathOf(row), { method, headers: { "content-type": "application/json" } }, "json_invalid");
			for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "text/json", "*/*", "", "json"])
				await send('{"task":"echo"}', "media_type_unsupported", type);
			for (const body of ["null", "[]", '"text"', "5", "true", '{"nonsense":1}', '{"__proto__":{"task":"echo"}}', '{"constructor":1}'])
				await send(body, ["body_invalid", "task_required"]);
			for (const type of ["application/json; charset=utf-8", "application/vnd.acme+json", "APPLICATION/JSON"])
				expect(
					(await queue.call(name, pathOf(row), { method, body: '{"limit":1,"task":"echo"}', headers: { "content-type": type } })).body.code,
				).toBe("body_invalid");
			expect((await queue.deps.storage.operator.counts()).submitted).toBe(0);
		}),
	);

	it("of submitJob without body and type is told to name a task", () =>
		inQueue(queue => refuse(queue, "submitJob", "/api/jobs", { method: "POST" }, "task_required")));

	it.each(withBody)("the body of %s is refused above the limit, whether its length is told or not", (name, row) =>
		inQueue(
			async queue => {
				const large = `{"payload":"${"x".repeat(5000)}"}`;
				const wide = `{"payload":"${"€".repeat(1400)}"}`;
				for (const body of [large, wide])
					for (const headers of [{} as Record<string, string>, { "content-length": String(new TextEncoder().encode(body).length) }]) {
						const path = pathOf(row);
						const answer = await queue.call(name, path, { method: row.method, body, headers });
						expectProblem(answer, "payload_too_large", path);
						expect(answer.body.limit_bytes).toBe(row.results ? 4096 : 1024);
					}
				await refuse(
					queue,
					name,
					pathOf(row),
					{ method: row.method, body: "{}", headers: { "content-length": "99999999999" } },
					"payload_too_large",
				);
			},
			{ config: { payloadBytesMax: 1024, resultBytesMax: 1024 } },
		),
	);

	it("a body that never ends is read only up to the limit", () =>
		inQueue(
			async queue => {
				let pulled = 0;
				let cancelled = false;
				const body = new ReadableStream({
					pull(controller) {
						pulled++;
						controller.enqueue(new Uint8Array(1000).fill(32));
					},
					cancel() {
						cancelled = true;
					},
				});
				const request = new Request("http://localhost/api/jobs", {
					method: "POST",
					headers: { "x-tenant-id": "acme", "content-type": "application/json" },
					body,
					duplex: "half",
				} as RequestInit);
				expectProblem(await answered(functions.submitJob(request, queue.deps)), "payload_too_large", "/api/jobs");
				expect(cancelled).toBe(true);
				expect(pulled).toBeLessThan(10);
			},
			{ config: { payloadBytesMax: 4096 } },
		));

	it("a body of exactly the limit is taken", () =>
		inQueue(
			async queue => {
				const body = `{"task":"echo","payload":"${"x".repeat(1024 - 28)}"}`;
				expect(body).toHaveLength(1024);
				await submit(queue, body);
			},
			{ config: { payloadBytesMax: 1024 } },
		));

	it.each(withId)("the id of %s that names no job of the tenant is a job that is not there", (name, row) =>
		inQueue(async queue => {
			const job = await submit(queue, { task: "echo" });
			for (const id of [
				NO_JOB,
				"x",
				"job_",
				`${job.id}0`,
				`%20${job.id}`,
				"%E0%A4%A",
				"%00",
				"%F0%9F%92%A9",
				"__proto__",
				"x".repeat(5000),
				"job_zzzzzzzzzzzzzzzzzzzzzzzzz",
			])
				await refuse(queue, name, pathOf(row, id), valid(name, row), "job_not_found");
			await refuse(queue, name, pathOf(row, job.id), { ...valid(name, row), tenant: "other" }, "job_not_found");
			expect((await queue.call("getJob", `/api/jobs/${job.id}`)).body).toEqual(job);
		}),
	);

	it.each(withBulkId)("the id of %s that names no bulk action of the tenant is one that is not there", (name, row) =>
		inQueue(async queue => {
			const action = (await queue.call("startBulkAction", "/api/bulk-actions", valid("startBulkAction", operations.startBulkAction))).body;
			for (const id of [
				"x",
				"bulk_",
				"bulk_0",
				`${action.id}0`,
				`%20${action.id}`,
				"%E0%A4%A",
				"%00",
				"__proto__",
				"x".repeat(5000),
				NO_JOB,
			])
				await refuse(queue, name, pathOf(row, id), valid(name, row), "bulk_action_not_found");
			await refuse(queue, name, pathOf(row, action.id), { ...valid(name, row), tenant: "other" }, "bulk_action_not_found");
			expect((await queue.call("getBulkAction", `/api/bulk-actions/${action.id}`)).body).toEqual(action);
		}),
	);

	describe("fields of submitJob", () => {
		const FIELDS: readonly [string, string, string?][] = [
			["priority", "1.5"],
			["priority", "1001"],
			["priority", '"5"'],
			["delay_ms", "-1"],
			["delay_ms", "0.5"],
			["delay_ms", "1e300"],
			["delay_ms", '"NaN"'],
			["run_at", "5"],
			["run_at", '"tomorrow"'],
			["run_at", '"2026-01-01"'],
			["run_at", '"2026-02-30T00:00:00Z"'],
			["run_at", '"2026-01-01T00:00:00"'],
			["run_at", '"2026-01-01T25:00:00Z"'],
			["run_at", '"+010000-01-01T00:00:00Z"'],
			["start_by", '""'],
			["start_by", "{}"],
			["max_retries", "-1"],
			["max_retries", "101"],
			["max_retries", "1.5"],
			["timeout_ms", "0"],
			["timeout_ms", "1e12"],
			["key", '""'],
			["key", "5"],
			["key", `"${"x".repeat(201)}"`],
			["key", '"a\\u0000b"'],
			["key", '"a\\nb"'],
			["tags", '"a"'],
			["tags", "[5]", "/tags/0"],
			["tags", '["a",""]', "/tags/1"],
			["tags", `[${Array.from({ length: 21 }, (_, i) => `"${i}"`)}]`],
			["tags", `["${"x".repeat(101)}"]`, "/tags/0"],
			["tags", '["\\u0007"]', "/tags/0"],
			["idempotency_key", '""'],
			["idempotency_key", `"${"x".repeat(256)}"`],
			["idempotency_key", '"\\u0000"'],
			["task", '""'],
			["task", '"a b"'],
			["task", '"1a"'],
			["task", `"${"x".repeat(101)}"`],
			["task", '"../../etc"'],
			["webhook_url", "5"],
			["webhook_url", '"example.com"'],
			["webhook_url", '"http://127.0.0.1/"'],
			["nonsense", "1"],
			["payLoad", "1"],
		];
		it("that do not fit are pointed at, and nothing is stored", () =>
			inQueue(async queue => {
				for (const [field, text, pointer = `/${field}`] of FIELDS) {
					const body = field === "task" ? `{"task":${text}}` : `{"task":"echo","${field}":${text}}`;
					const answer = await queue.call("submitJob", "/api/jobs", { body });
					expect([body.slice(0, 60), answer.body.code]).toEqual([body.slice(0, 60), "body_invalid"]);
					expectProblem(answer, "body_invalid", "/api/jobs");
					expect([body.slice(0, 60), answer.body.errors[0].pointer]).toEqual([body.slice(0, 60), pointer]);
				}
				expect((await queue.deps.storage.operator.counts()).submitted).toBe(0);
			}));

		it("that do not fit are all named at once, and never more than 50", () =>
			inQueue(async queue => {
				const two = await queue.call("submitJob", "/api/jobs", { body: { task: "echo", priority: "a", max_retries: -1 } });
				expect(two.body.errors.map(({ pointer }: { pointer: string }) => pointer)).toEqual(["/priority", "/max_retries"]);
				expect(two.body.detail).toContain("(and 1 more)");
			}));

		it("that are unknown are never named by the thousand", () =>
			inQueue(async queue => {
				const body = { task: "echo", ...Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`field${i}`, 1])) };
				const answer = await queue.call("submitJob", "/api/jobs", { body });
				expect(answer.body.errors.length).toBeLessThanOrEqual(50);
			}));

		it("numbers that no double holds are refused, not stored as null", () =>
			inQueue(async queue => {
				for (const payload of ["1e400", "-1e400", "[1e999]", '{"a":{"b":1e400}}'])
					await refuse(queue, "submitJob", "/api/jobs", { body: `{"task":"echo","payload":${payload}}` }, "json_invalid");
			}));

		it("numbers at the edge of what a double holds are taken", () =>
			inQueue(async queue => {
				for (const payload of ["1e308", "5e-324", "9007199254740993", "-0"]) await submit(queue, `{"task":"echo","payload":${payload}}`);
			}));
	});

	describe("JSON that nests", () => {
		it("a little is taken", () =>
			inQueue(async queue => {
				await submit(queue, `{"task":"echo","payload":${"[".repeat(100)}${"]".repeat(100)}}`);
			}));

		it.each(["[", '{"a":'])("as deep as a body allows is taken or refused, never a 500: %s", open =>
			inQueue(async queue => {
				const depth = Math.floor(262_000 / (open.length + 1));
				const nested = open.repeat(depth) + 1 + (open === "[" ? "]" : "}").repeat(depth);
				const answer = await queue.call("submitJob", "/api/jobs", { body: `{"task":"echo","payload":${nested}}` });
				expect(answer.status).toBeLessThan(500);
				expect((await queue.call("processTick", "/api/tick", { method: "POST" })).status).toBe(200);
				expect((await queue.call("listJobs", "/api/jobs")).status).toBe(200);
			}),
		);

		it("deep with an idempotency key is taken or refused, never a 500", () =>
			inQueue(async queue => {
				const answer = await queue.call("submitJob", "/api/jobs", {
					body: `{"task":"echo","idempotency_key":"k","payload":${"[".repeat(100_000)}${"]".repeat(100_000)}}`,
				});
				expect(answer.status).toBeLessThan(500);
			}));
	});

	it("every answer carries the version", () =>
		inQueue(async queue => {
			for (const [name, row] of rows)
				expect((await queue.call(name, pathOf(row), valid(name, row))).headers.get("tickq-version") ?? row.path).toBeTypeOf("string");
			expect((await queue.call("listJobs", "/api/jobs")).headers.get("tickq-version")).not.toBeNull();
		}));

	it("problem documents carry the version too", () =>
		inQueue(async queue => {
			expect((await queue.call("listJobs", "/api/jobs?limit=0")).headers.get("tickq-version")).not.toBeNull();
		}));

	describe("through the router", () => {
		const routed = (queue: Harness) => {
			const app = compose(functions, () => queue.deps);
			return (method: string, path: string) => answered(app.request(toRequest(path, { method })) as Promise<Response>);
		};

		it("another method is 405 and says which there are", () =>
			inQueue(async queue => {
				const call = routed(queue);
				const paths = new Map<string, string[]>();
				for (const [, row] of rows) paths.set(pathOf(row), [...(paths.get(pathOf(row)) ?? []), row.method]);
				for (const [path, allowed] of paths)
					for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]) {
						if (allowed.includes(method)) continue;
						const answer = await call(method, path);
						expectProblem(answer, "method_not_allowed", path);
						const allow = answer.headers.get("allow")!.split(", ").sort();
						expect(allow).toEqual([...allowed, ...(allowed.includes("GET") ? ["HEAD"] : [])].sort());
					}
			}));

		it("an unknown path is 404", () =>
			inQueue(async queue => {
				const call = routed(queue);
				for (const path of [
					"/api",
					"/api/",
					"/api/jobs/",
					"/api/jobs//cancel",
					"/API/JOBS",
					"//api/jobs",
					"/api/jobs/x/y/z",
					"/%E0%A4%A",
					"/api/jobs/x/cancel/",
					"/..",
					"/docs/problems/",
					"/__proto__",
					`/${"x".repeat(10_000)}`,
				])
					for (const method of ["GET", "POST", "DELETE"]) {
						const { pathname } = new URL(path, "http://localhost");
						const answer = await call(method, path);
						if (path === "//api/jobs") expect(answer.status).toBe(404);
						else expectProblem(answer, "not_found", pathname === path ? path : pathname);
					}
			}));

		it("percent-encoding that is broken is a job that is not there", () =>
			inQueue(async queue => {
				const call = routed(queue);
				for (const id of ["%", "%E0%A4%A", "%ZZ", "%00", "a%2Fb", "%C0%AF"]) {
					expectProblem(await call("GET", `/api/jobs/${id}`), "job_not_found", `/api/jobs/${id}`);
					expectProblem(await call("POST", `/api/jobs/${id}/cancel`), "job_not_found", `/api/jobs/${id}/cancel`);
				}
			}));

		it("an id in percent-encoding is read", () =>
			inQueue(async queue => {
				const { id } = await submit(queue, { task: "echo" });
				expect((await routed(queue)("GET", `/api/jobs/${id.replace("_", "%5F")}`)).body.id).toBe(id);
			}));

		it("HEAD answers what GET would, without the body", () =>
			inQueue(async queue => {
				const call = routed(queue);
				for (const path of ["/health", "/api/jobs", "/api/metrics", "/openapi.json"])
					expect(await call("HEAD", path)).toMatchObject({ status: 200, body: null });
				expect(await call("HEAD", "/api/jobs/nothing")).toMatchObject({ status: 404, body: null });
				expect(await call("HEAD", "/api/tick")).toMatchObject({ status: 405, body: null });
			}));
	});

	describe("whatever it is", () => {
		const json = fc.oneof(
			fc.jsonValue(),
			fc.record(
				{
					task: fc.oneof(fc.constantFrom("echo", "flaky", "sleep", "process_data", "nothing", "__proto__"), fc.jsonValue()),
					payload: fc.oneof(
						fc.jsonValue(),
						fc.record({ task: fc.constantFrom("echo", "flaky", "x"), fail_times: fc.jsonValue() }, { requiredKeys: [] }),
					),
					priority: fc.oneof(fc.integer({ min: -2000, max: 2000 }), fc.double(), fc.constant(null)),
					delay_ms: fc.oneof(fc.integer({ min: 0, max: 1e9 }), fc.double(), fc.constant(null)),
					run_at: fc.oneof(
						fc.date({ noInvalidDate: true, min: new Date(0), max: new Date("9999-01-01") }).map(date => date.toISOString()),
						fc.string(),
					),
					start_by: fc.oneof(
						fc.date({ noInvalidDate: true, min: new Date(0), max: new Date("9999-01-01") }).map(date => date.toISOString()),
						fc.jsonValue(),
					),
					max_retries: fc.oneof(fc.integer({ min: -1, max: 200 }), fc.double()),
					timeout_ms: fc.oneof(fc.integer({ min: -1, max: 1e9 }), fc.double()),
					key: fc.oneof(fc.constantFrom("a", "b"), fc.string({ unit: "binary" })),
					tags: fc.oneof(fc.array(fc.string({ unit: "grapheme" }), { maxLength: 5 }), fc.jsonValue()),
					idempotency_key: fc.oneof(fc.constantFrom("i", "j"), fc.string({ unit: "binary" })),
				},
				{ requiredKeys: [] },
			),
		);
		const anyValue = fc.oneof(
			fc.constantFrom<unknown>(
				"echo",
				"retry",
				"cancel",
				"delete",
				"done",
				"UTC",
				"* * * * *",
				"30 2 30 2 *",
				"https://example.com/",
				"http://[::1]/",
			),
			fc.constantFrom<unknown>(null, true, 0, 1, 3, -1, 1.5, 1e9, "", [], {}, ["echo"], [NO_JOB], "2026-01-01T00:00:00Z"),
			fc.constantFrom<unknown>(
				{ status: "dead_letter" },
				{ status: ["done", "failed"] },
				{ task: "echo" },
				{ tag: "a" },
				{ reason: "requested" },
			),
			fc.constantFrom<unknown>([{ id: NO_JOB, lease_token: "1" }], [{ id: NO_JOB, lease_token: "1", outcome: "done", result: 1 }]),
			fc.jsonValue(),
		);
		/** A valid body with up to two fields changed. What would wait is left out: nobody moves the clock. */
		const changes = fc.array(fc.tuple(fc.nat(), anyValue), { maxLength: 2 });
		const changed = (name: OperationName, row: OperationRow, changes: readonly [number, unknown][]) => {
			const names = Object.keys(row.body instanceof z.ZodObject ? row.body.shape : {}).filter(name => name !== "wait_ms");
			const fields = names.length === 0 ? [] : changes.map(([i, value]) => [names[i % names.length], value]);
			return JSON.stringify({ ...(BODIES[name] as object), ...Object.fromEntries(fields) });
		};
		const body = fc.oneof(
			{ weight: 6, arbitrary: json.map(value => JSON.stringify(value)) },
			{ weight: 1, arbitrary: fc.string() },
			{ weight: 1, arbitrary: fc.string({ unit: "binary" }) },
		);
		/** Most requests are in order but for one thing: what is refused at the door never meets the function. */
		const mostly = <T>(usual: T, odd: fc.Arbitrary<T>) => fc.oneof({ weight: 5, arbitrary: fc.constant(usual) }, odd);
		const headers = fc.dictionary(
			fc.constantFrom("content-type", "idempotency-key", "traceparent", "if-none-match", "content-length", "accept", "x-tenant-id"),
			fc
				.oneof(fc.constantFrom("application/json", "acme", "*", '"k"', "0", "-1", "NaN"), fc.string())
				.map(text => text.replaceAll(/[^\x20-\x7e]/g, "")),
		);
		const query = fc.oneof(
			fc.constant(""),
			fc
				.dictionary(
					fc.constantFrom(
						...["limit", "cursor", "status", "task", "tag", "include", "dry_run", "x"],
						...["fingerprint", "reason", "created_after", "created_before"],
					),
					fc.oneof(fc.constantFrom("1", "10", "true", "false", "done,failed", "history", "echo", "1a"), fc.string({ unit: "binary" })),
				)
				.map(
					entries =>
						`?${Object.entries(entries)
							.map(([name, value]) => `${name}=${encodeURIComponent(value.toWellFormed())}`)
							.join("&")}`,
				),
			fc.webQueryParameters().map(text => `?${text}`),
		);

		it("is never a 5xx, is what the contract promises or a problem document, and leaves the store in order", () =>
			inQueue(async queue => {
				const jobs: string[] = [];
				const actions: string[] = [];
				await fc.assert(
					fc.asyncProperty(
						fc.constantFrom(...rows),
						fc.oneof({ weight: 3, arbitrary: body }, { weight: 5, arbitrary: changes }, fc.constant(undefined)),
						mostly({}, headers),
						mostly("", query),
						mostly<string | null>("acme", fc.constantFrom("other", "*", null)),
						fc.nat(),
						async ([name, row], given, headers, query, tenant, pick) => {
							const body = Array.isArray(given) ? changed(name, row, given) : given;
							const ids = row.path.startsWith("/api/bulk-actions") ? actions : jobs;
							const id = ids.length === 0 || pick % 5 === 0 ? NO_JOB : ids[pick % ids.length]!;
							const place = { id, name: "nightly", task: "echo", code: "not_found" };
							const path = `${row.path.replaceAll(/\{(\w+)\}/g, (_, part: keyof typeof place) => place[part])}${query}`;
							const call = queue.call(name, path, {
								method: row.method,
								tenant,
								headers,
								...(row.body !== undefined && body !== undefined ? { body } : {}),
							});
							for (let i = 0; i < 10; i++) await settle();
							const answer = await call;
							expect([path, body, answer.status < 500, answer.body?.detail]).toEqual([path, body, true, answer.body?.detail]);
							if (answer.status >= 400) expectProblem(answer, Object.keys(PROBLEMS), path);
							else if (answer.status !== 304) {
								const promised = answer.status === row.status ? row.answer : row.dryRun!;
								expect([path, promised.safeParse(answer.body ?? undefined)]).toEqual([
									path,
									{ success: true, data: answer.body ?? undefined },
								]);
							}
							if (answer.status === 201 && answer.body.job_id !== undefined) jobs.push(answer.body.id);
							if (answer.status === 202) actions.push(answer.body.id);
							expect(queue.logs.filter(({ level, message }) => level === "error" && message === "an operation failed")).toEqual([]);
						},
					),
					{ numRuns: 400 },
				);
				expect(await queue.deps.storage.operator.verify()).toEqual([]);
				await queue.clock.advance(60_000);
				await queue.call("processTick", "/api/tick", { method: "POST" });
				expect((await queue.call("listJobs", "/api/jobs?limit=200", { tenant: "*" })).status).toBe(200);
			}));
	});
});
