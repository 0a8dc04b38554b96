import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { afterEach, describe, expect, it, vi } from "vitest";
import { createFetchOutside, type FetchOutsideOptions } from "../../emulator/fetchOutside.ts";
import { functions } from "../../functions/all.ts";
import { type HttpAnswer, http_request } from "../../functions/tasks/http_request.ts";
import { CONFIG_DEFAULT } from "../../lib/config.ts";
import { createLog, type LogRecord } from "../../lib/log.ts";
import { ALLOW_NOTHING, readAllow } from "../../lib/outside.ts";
import { startAttempt } from "../../lib/runJob.ts";
import type { Claimed, Ending } from "../../lib/storage/storage.ts";
import type { FetchOutside } from "../../lib/task.ts";
import { tenantSecrets } from "../../lib/webhook.ts";
import { inQueue, submit } from "../functions/inQueue.ts";
import { answered, toRequest } from "../support/harness.ts";
import { type Answerer, type LocalServer, startServer } from "../support/localServer.ts";

const SECRETS = [`whsec_${Buffer.alloc(32, 1).toString("base64")}`, `whsec_${Buffer.alloc(32, 2).toString("base64")}`];
const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";

const closing: (() => unknown)[] = [];
afterEach(async () => {
	vi.useRealTimers();
	for (const close of closing.splice(0)) await close();
});
async function serve(answer: Answerer): Promise<LocalServer> {
	const server = await startServer(answer);
	closing.push(server.close);
	return server;
}
const answering =
	(status: number, body = "", headers: Record<string, string> = {}): Answerer =>
	(_, response) =>
		response.writeHead(status, headers).end(body);
const echoing: Answerer = ({ url, headers }, response) =>
	response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ url, headers }));

interface Options extends Partial<FetchOutsideOptions> {
	readonly secrets?: readonly string[];
	readonly failures?: number;
	/** Instead of Node's. */
	readonly call?: FetchOutside;
	/** Told how to stop the attempt, before anything is sent. */
	readonly onStart?: (attempt: ReturnType<typeof startAttempt>) => void;
}
interface Ended {
	readonly ending: Ending | null;
	/** The result of a job that is done. */
	readonly answer: HttpAnswer;
	/** The message of one that is not. */
	readonly error: string;
	/** Everything that is kept or written of it. */
	readonly shown: string;
}

/** Runs one attempt as a worker does; loopback is allowed. The payload has passed the schema, as that of a submitted job has. */
async function run(payload: object, { secrets = [], failures = 0, onStart, call, ...outside }: Options = {}): Promise<Ended> {
	http_request.input!.parse(payload);
	const clock = { now: () => Date.now(), after: () => () => {}, turn: async () => {} };
	const logs: LogRecord[] = [];
	const job = {
		id: 1,
		token: 7,
		tail: 5,
		createdAt: 0,
		tenant: "acme",
		task: "http_request",
		payload: JSON.stringify(payload),
		taskInPayload: false,
		failures,
		claims: 1,
		losses: 0,
		maxRetries: 3,
		timeoutMs: null,
		startBy: null,
		traceId: TRACE_ID,
	} as unknown as Claimed;
	const attempt = startAttempt(job, {
		clock,
		random: { fraction: () => 0.5, tail: () => 1, token: () => 1, traceId: () => TRACE_ID },
		log: createLog(record => logs.push(record), clock.now, "debug"),
		config: CONFIG_DEFAULT,
		tasks: { http_request },
		fetchOutside: call ?? createFetchOutside({ clock, allow: readAllow("127.0.0.1"), resolve: async () => ["127.0.0.1"], ...outside }),
		webhookSecrets: secrets,
	});
	onStart?.(attempt);
	const ending = await attempt.ending;
	return {
		ending,
		answer: ending?.outcome === "done" ? JSON.parse(ending.result) : null,
		error: ending !== null && "error" in ending ? JSON.parse(ending.error ?? "{}").message : "",
		shown: JSON.stringify([ending, logs]),
	};
}

const nested = (depth: number): unknown => JSON.parse(`${"[".repeat(depth)}${"]".repeat(depth)}`);

const refused = (payload: unknown): string[] =>
	(http_request.input!.safeParse(payload).error?.issues ?? []).map(({ path, message }) => `${path.join("/")}: ${message}`);

describe("the payload", () => {
	const url = "https://example.com/";
	it.each<[string, object]>([
		["its own example", http_request.example as object],
		["an address only", { url }],
		["statuses of all forms", { url, done: [200, "2xx"], retry: ["429", "500-599"], failed: [404] }],
		["JSON of any type", { url, body: null }],
		["a text", { url, body: "a=b", headers: { "Content-Type": "application/x-www-form-urlencoded" } }],
		["credentials in a header", { url, headers: { Authorization: "Bearer x" } }],
	])("may be %s", (_, payload) => {
		expect(refused(payload)).toEqual([]);
	});

	it.each<[string, object, RegExp]>([
		["no address", {}, /^url: /],
		["a path", { url: "/api" }, /^url: expected an http or https address/],
		["another scheme", { url: "ftp://example.com/" }, /^url: expected an http/],
		["a user", { url: "https://user@example.com/" }, /^url: .*without user and password$/],
		["a password", { url: "https://:hunter2@example.com/" }, /^url: /],
		["a very long address", { url: `https://example.com/${"x".repeat(4096)}` }, /^url: /],
		["an unknown method", { url, method: "CONNECT" }, /^method: /],
		["a body that is not sent", { url, method: "GET", body: 1 }, /^body: a GET has none/],
		["a timeout of nothing", { url, timeout_ms: 0 }, /^timeout_ms: /],
		["a timeout beyond all bounds", { url, timeout_ms: 900_001 }, /^timeout_ms: /],
		["a status that is none", { url, done: [99] }, /^done\/0: Too small/],
		["a status that is no text", { url, done: [true] }, /^done\/0: expected a status such as 429/],
		["a class that is none", { url, done: ["6xx"] }, /^done\/0: expected a status such as 429/],
		["no statuses", { url, done: [] }, /^done: /],
		["a range from end to beginning", { url, retry: ["599-500"] }, /^retry: has a range that ends before it begins$/],
		["a status with two meanings", { url, done: ["2xx"], failed: ["250-300"] }, /^done: is named in two lists/],
		["a line break in a header", { url, headers: { "x-a": "b\r\nx-c: d" } }, /^headers\/x-a: expected printable ASCII/],
		["a header with an odd name", { url, headers: { "x a": "b" } }, /^headers\/x a: is not a name/],
		["a line break in a header's name", { url, headers: { "x-a: b\r\nx": "y" } }, /is not a name that a header can have$/],
		["a header twice", { url, headers: { "X-A": "1", "x-a": "2" } }, /^headers\/X-A: is given twice/],
		["a long header", { url, headers: { "x-a": "b".repeat(8193) } }, /^headers\/x-a: /],
		["many headers", { url, headers: Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`x-${i}`, ""])) }, /^headers: at most 50/],
		["what is not known", { url, redirect: "follow" }, /^: /],
	])("may not have %s", (_, payload, says) => {
		expect(refused(payload).join("\n")).toMatch(says);
		expect(refused(payload).join("\n")).not.toContain("hunter2");
	});

	it.each([
		"Host",
		"content-length",
		"Transfer-Encoding",
		"connection",
		"Upgrade",
		"Expect",
		"Accept-Encoding",
		"Proxy-Authorization",
		"Sec-Fetch-Mode",
		"webhook-id",
		"Webhook-Signature",
		"Tickq-Job-Id",
	])("may not set the header %s", name => {
		expect(refused({ url, headers: { [name]: "x" } })).toEqual([`headers/${name}: is set by tickq: leave it out`]);
	});
});

describe("whatever the payload is", () => {
	// Bug: each header and each status was compared with each other, also when there were far too many of them.
	it("it is not compared with itself where it is too long anyway", () => {
		const many = Array.from({ length: 100_000 }, (_, i) => i);
		const headers = Object.fromEntries(many.map(i => [`x-${i}`, ""]));
		expect(refused({ url: "https://example.com/", headers })).toEqual(["headers: at most 50 headers"]);
		const [done, failed] = [many.map(() => 200), many.map(() => 400)];
		expect(refused({ url: "https://example.com/", done, failed }).map(text => text.split(":")[0])).toEqual(["done", "failed"]);
	});

	it("it is taken or refused, and never breaks the schema", () => {
		const field = fc.oneof(
			fc.jsonValue({ maxDepth: 2 }),
			fc.webUrl(),
			fc.array(fc.oneof(fc.constantFrom("5xx", "-", "500-"), fc.jsonValue({ maxDepth: 0 })), { maxLength: 5 }),
		);
		const names = ["url", "method", "headers", "body", "timeout_ms", "done", "retry", "failed", "sign", "more"];
		fc.assert(
			fc.property(fc.record(Object.fromEntries(names.map(name => [name, field])), { requiredKeys: [] }), payload => {
				expect(() => http_request.input!.safeParse(payload)).not.toThrow();
			}),
		);
	});
});

describe("what is sent", () => {
	it("is a POST of JSON that says which job it is of", async () => {
		const server = await serve(answering(200));
		await run({ url: `${server.url}/a?b=c`, body: { n: 1, name: "Åse" } }, { failures: 2 });
		const [request] = server.received;
		expect([request!.method, request!.url, request!.body]).toEqual(["POST", "/a?b=c", '{"n":1,"name":"Åse"}']);
		const { "idempotency-key": key, traceparent, ...headers } = request!.headers;
		expect(headers).toEqual({
			accept: "*/*",
			"accept-encoding": "identity",
			connection: "close",
			"content-length": "21",
			"content-type": "application/json",
			host: `127.0.0.1:${server.port}`,
			"tickq-attempt": "3",
			"tickq-job-id": key,
			"tickq-tenant": "acme",
			"user-agent": "tickq",
		});
		expect(key).toMatch(/^job_\w+$/);
		expect(traceparent).toMatch(new RegExp(`^00-${TRACE_ID}-(?!0{16})[0-9a-f]{16}-01$`));
	});

	it("has the same idempotency key and another span in the next attempt", async () => {
		const server = await serve(answering(500));
		await run({ url: server.url });
		await run({ url: server.url }, { failures: 1 });
		const [first, second] = server.received.map(({ headers }) => headers);
		expect(second!["idempotency-key"]).toBe(first!["idempotency-key"]);
		expect(second!.traceparent).not.toBe(first!.traceparent);
	});

	it("is a text as it is, and nothing where there is no body", async () => {
		const server = await serve(answering(200));
		await run({ url: server.url, body: "a=b" });
		await run({ url: server.url, body: "a=b", headers: { "Content-Type": "application/x-www-form-urlencoded" } });
		await run({ url: server.url });
		await run({ url: server.url, method: "GET" });
		await run({ url: server.url, body: null });
		expect(server.received.map(({ method, body, headers }) => [method, body, headers["content-type"], headers["content-length"]])).toEqual([
			["POST", "a=b", "text/plain;charset=UTF-8", "3"],
			["POST", "a=b", "application/x-www-form-urlencoded", "3"],
			["POST", "", undefined, "0"],
			["GET", "", undefined, undefined],
			["POST", "null", "application/json", "4"],
		]);
	});

	it("has the payload's headers, which may take the place of most of its own", async () => {
		const server = await serve(answering(200));
		const headers = { Authorization: "Bearer x", "User-Agent": "mine", "Idempotency-Key": "own", "X-Empty": "" };
		await run({ url: server.url, headers });
		expect(server.received[0]!.headers).toMatchObject({
			authorization: "Bearer x",
			"user-agent": "mine",
			"idempotency-key": "own",
			"x-empty": "",
		});
	});
});

describe("the signature", () => {
	it("is verified by the reference implementation with either secret of a rotation, and no other tenant's", async () => {
		const server = await serve(answering(200));
		await run({ url: server.url, body: { hello: "wörld" } }, { secrets: SECRETS });
		const { body, headers } = server.received[0]!;
		const verify = (secret: string) => new Webhook(secret).verify(body, headers as Record<string, string>);
		for (const secret of await tenantSecrets(SECRETS, "acme")) expect(verify(secret)).toEqual({ hello: "wörld" });
		for (const secret of [...SECRETS, ...(await tenantSecrets(SECRETS, "globex"))]) expect(() => verify(secret)).toThrow();
		expect(headers["webhook-id"]).toBe(headers["idempotency-key"]);
	});

	it("is over nothing where nothing is sent", async () => {
		const server = await serve(answering(200));
		await run({ url: server.url, method: "GET" }, { secrets: SECRETS });
		const [secret] = await tenantSecrets(SECRETS, "acme");
		expect(() => new Webhook(secret!).verify("", server.received[0]!.headers as Record<string, string>)).not.toThrow();
	});

	it("is left out where it is not wanted or cannot be made, and missed only where it is asked for", async () => {
		const server = await serve(answering(200));
		await run({ url: server.url, sign: false }, { secrets: SECRETS });
		await run({ url: server.url });
		expect(server.received.flatMap(({ headers }) => Object.keys(headers).filter(name => name.startsWith("webhook")))).toEqual([]);
		const { ending, error } = await run({ url: server.url, sign: true });
		expect([ending?.outcome, error]).toEqual(["failed", "the call was to be signed, but no webhook secret is set here"]);
		expect(server.received.length).toBe(2);
	});
});

describe("a status", () => {
	it.each<[number, string, object]>([
		[200, "done", {}],
		[299, "done", {}],
		[304, "failed", {}],
		[400, "failed", {}],
		[401, "failed", {}],
		[404, "failed", {}],
		[410, "failed", {}],
		[408, "retry", {}],
		[425, "retry", {}],
		[429, "retry", {}],
		[500, "retry", {}],
		[599, "retry", {}],
		[404, "done", { done: ["2xx", 404] }],
		[201, "failed", { done: [200] }],
		[404, "retry", { retry: ["400-499"] }],
		[500, "failed", { retry: [503] }],
		[503, "failed", { failed: ["5xx"] }],
		[202, "retry", { retry: ["202"] }],
		[204, "failed", { failed: [204] }],
	])("%i ends the job %s with %o", async (status, outcome, meaning) => {
		const server = await serve(answering(status));
		const { ending, error } = await run({ url: server.url, ...meaning });
		expect(ending?.outcome).toBe(outcome);
		expect(error).toBe(outcome === "done" ? "" : `POST 127.0.0.1:${server.port} answered ${status}`);
	});

	it("comes back after Retry-After where there is one that can be read, else after the backoff", async () => {
		const server = await serve(({ url }, response) => {
			const wait = decodeURIComponent(url.slice(1));
			response.writeHead(429, wait === "" ? {} : { "retry-after": wait }).end();
		});
		const delayOf = async (wait: string) => {
			const { ending } = await run({ url: `${server.url}/${encodeURIComponent(wait)}` });
			return ending?.outcome === "retry" ? ending.delayMs : null;
		};
		expect(await delayOf("120")).toBe(120_000);
		expect(await delayOf("99999999999")).toBe(24 * 3_600_000);
		expect(await delayOf(new Date(Date.now() + 3_600_000).toUTCString())).toBeGreaterThan(3_500_000);
		// Half of the first backoff's 2 s, by the random number of these tests.
		expect(await delayOf("")).toBe(1000);
		expect(await delayOf("soon")).toBe(1000);
	});

	it("that is a mistake is shown with the beginning of what the endpoint says", async () => {
		const server = await serve(
			answering(422, `{"error":"no such customer",\n"trace":"${"x".repeat(1000)}"}`, { "content-type": "application/json" }),
		);
		const { error } = await run({ url: server.url });
		expect(error).toBe(`POST 127.0.0.1:${server.port} answered 422: "{ error : no such customer , trace : ${"x".repeat(113)}…"`);
	});

	it("that differs in nothing but what the endpoint says belongs to one group of errors", async () => {
		let count = 0;
		const server = await serve((_, response) => response.writeHead(500).end(`request ${"abc".repeat(++count)} "failed"`));
		const fingerprints = new Set<unknown>();
		for (let i = 0; i < 3; i++) {
			const { ending } = await run({ url: server.url });
			fingerprints.add(ending?.outcome === "retry" ? ending.fingerprint : "");
		}
		expect(fingerprints.size).toBe(1);
	});
});

describe("the answer", () => {
	it("is kept as JSON where it is, with a few of its headers", async () => {
		const headers = {
			"content-type": "application/problem+json; charset=utf-8",
			"x-request-id": "r1",
			"set-cookie": "a=b",
			"x-other": "1",
			date: "now",
		};
		const server = await serve(answering(201, '{"a":[1,null]}', { ...headers, location: "/jobs/1" }));
		expect((await run({ url: server.url })).answer).toEqual({
			status: 201,
			headers: { "content-type": headers["content-type"], "x-request-id": "r1", location: "/jobs/1", date: "now" },
			body: { a: [1, null] },
			truncated: false,
		});
	});

	it.each<[string, string, string, unknown]>([
		["text", "text/plain", "grüße", "grüße"],
		["JSON that is not said to be", "text/plain", "[1]", "[1]"],
		["what is said to be JSON and is not", "application/json", "{oops", "{oops"],
		["JSON that nests 500 deep", "application/json", `${"[".repeat(500)}${"]".repeat(500)}`, nested(500)],
		[
			"JSON that nests deeper",
			"application/json",
			`${"[".repeat(30_000)}${"]".repeat(30_000)}`,
			`${"[".repeat(30_000)}${"]".repeat(30_000)}`,
		],
		["JSON with a number that no double holds", "application/json", "[1e999]", "[1e999]"],
		["nothing", "application/json", "", null],
	])("may be %s", async (_, type, body, kept) => {
		const server = await serve(answering(200, body, { "content-type": type }));
		const { answer } = await run({ url: server.url });
		expect([answer.body, answer.truncated]).toEqual([kept, false]);
	});

	it("is kept up to 65,536 bytes, and never with half a character", async () => {
		const server = await serve(({ url }, response) => response.end(url === "/fits" ? "x".repeat(65_536) : `${"x".repeat(65_535)}ü`));
		expect((await run({ url: `${server.url}/fits` })).answer).toMatchObject({ body: "x".repeat(65_536), truncated: false });
		expect((await run({ url: `${server.url}/more` })).answer).toMatchObject({ body: "x".repeat(65_535), truncated: true });
		await server.idle();
	});

	it("that never ends is cut, and its connection closed", async () => {
		const server = await serve((_, response) => {
			response.writeHead(200, { "content-type": "application/json" });
			const more = () => {
				while (!response.destroyed && response.write("[".repeat(16_384)));
				if (!response.destroyed) response.once("drain", more);
			};
			more();
		});
		expect((await run({ url: server.url })).answer).toMatchObject({ body: "[".repeat(65_536), truncated: true });
		await server.idle();
	});

	it("that is compressed although that was not asked for is not unpacked", async () => {
		const server = await serve((_, response) => response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync("x".repeat(1e6))));
		expect((await run({ url: server.url })).answer).toMatchObject({ status: 200, body: null, truncated: true });
		await server.idle();
	});
});

describe("trouble", () => {
	it("is an end for good where the address leads inside", async () => {
		for (const url of ["http://10.0.0.1/", "http://localhost/", "http://0x7f000001/", "http://[::ffff:169.254.169.254]/"]) {
			const { ending, error } = await run({ url }, { allow: ALLOW_NOTHING });
			expect([url, ending?.outcome]).toEqual([url, "failed"]);
			expect(error).toMatch(/may not be called unless TICKQ_OUTSIDE_ALLOW names it$/);
		}
	});

	it("is an end for good where a redirect leads inside", async () => {
		const server = await serve(answering(307, "", { location: "http://169.254.169.254/latest/meta-data/" }));
		const { ending, error } = await run({ url: server.url });
		expect([ending?.outcome, error]).toEqual([
			"failed",
			"169.254.169.254 is link-local, and may not be called unless TICKQ_OUTSIDE_ALLOW names it",
		]);
	});

	it("is a failed attempt where only the name leads inside, since it may not tomorrow", async () => {
		const { ending, error } = await run({ url: "http://endpoint.example/" }, { resolve: async () => ["10.0.0.1"] });
		expect([ending?.outcome, error]).toEqual([
			"retry",
			"endpoint.example resolves to an address that is not public, and may not be called unless TICKQ_OUTSIDE_ALLOW names it",
		]);
	});

	it("is a failed attempt where nobody listens, and where the connection breaks", async () => {
		const gone = await startServer(answering(200));
		await gone.close();
		expect((await run({ url: gone.url })).ending?.outcome).toBe("retry");
		const server = await serve((_, response) => response.destroy());
		const { ending, error } = await run({ url: server.url });
		expect([ending?.outcome, error]).toEqual(["retry", `127.0.0.1:${server.port} broke the connection off (ECONNRESET)`]);
	});

	it.each(["silent", "slow"])("is a failed attempt where the endpoint is %s for longer than timeout_ms", async how => {
		vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
		const server = await serve((_, response) => {
			if (how === "slow") response.write("some");
			vi.advanceTimersByTime(5000);
		});
		const { ending, error } = await run({ url: server.url, timeout_ms: 5000 });
		expect([ending?.outcome, error]).toEqual(["retry", `127.0.0.1:${server.port} did not answer within 5000 ms`]);
		await server.idle();
	});

	it("is called a timeout also where the platform has its own word for an abort", async () => {
		vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
		const call: FetchOutside = async () => {
			vi.advanceTimersByTime(5000);
			throw new DOMException("The operation was aborted", "AbortError");
		};
		expect((await run({ url: "http://example.com/", timeout_ms: 5000 }, { call })).error).toBe("example.com did not answer within 5000 ms");
	});

	it("leaves no timer behind", async () => {
		vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
		const server = await serve(answering(200));
		await run({ url: server.url });
		await run({ url: "http://10.0.0.1/" });
		expect(vi.getTimerCount()).toBe(0);
	});

	it("closes the connection when the job is cancelled", async () => {
		let stop = () => {};
		const server = await serve((_, response) => {
			response.write("some");
			stop();
		});
		const { ending } = await run(
			{ url: server.url },
			{
				onStart: attempt => {
					stop = () => attempt.stop("cancelled");
				},
			},
		);
		expect(ending?.outcome).toBe("cancelled");
		await server.idle();
	});
});

describe("credentials", () => {
	const headers = {
		Authorization: "Bearer hunter2-bearer",
		Cookie: "theme=dark; sid=hunter2-cookie",
		"X-Api-Key": "hunter2-key",
		"X-Auth": `Basic ${Buffer.from("user:hunter2-basic").toString("base64")}`,
		"X-Secret": 'hunter2-"quoted"',
	};
	const query = "?api_key=hunter2-query&sig=hunter2%2Bsig&X-Amz-Signature=hunter2-amz&page=12345678";

	it("are in no ending and no log, whatever goes wrong", async () => {
		const shown: string[] = [];
		const keep = async (path: string, options: Options = {}, url = "") => {
			const target = url === "" ? (await serve(answering(500))).url : url;
			shown.push((await run({ url: `${target}/${path}${query}`, headers, body: 1 }, { secrets: SECRETS, ...options })).shown);
		};
		const gone = await startServer(answering(200));
		await gone.close();
		await keep("status");
		await keep("refused", {}, gone.url);
		await keep("inside", {}, "http://10.0.0.1");
		await keep("resolves", { resolve: async () => ["10.0.0.1"] }, "http://endpoint.example");
		await keep("unknown", { resolve: async () => [] }, "http://endpoint.example");
		await keep("broken", {}, (await serve((_, response) => response.destroy())).url);
		await keep(
			"cut",
			{},
			(await serve((_, response) => response.writeHead(200, { "content-length": "5" }).write("1", () => response.destroy()))).url,
		);
		await keep(
			"redirects",
			{},
			(await serve(({ url }, response) => response.writeHead(307, { location: `http://10.0.0.1${url}` }).end())).url,
		);
		await keep("loops", {}, (await serve(({ url }, response) => response.writeHead(307, { location: url }).end())).url);
		await keep("unreadable", {}, (await serve((_, response) => response.writeHead(307, { location: `http://[${query}` }).end())).url);
		expect(shown.map(text => JSON.parse(text)[0].outcome)).toEqual([
			"retry",
			"retry",
			"failed",
			"retry",
			"retry",
			"retry",
			"retry",
			"failed",
			"retry",
			"retry",
		]);
		for (const text of shown) expect(text).not.toMatch(/hunter2|whsec_|aHVudGVyMi|dXNlcjpodW50/);
	});

	it("are taken out of what an endpoint repeats, as a result and as an error", async () => {
		const server = await serve(({ url, headers }, response) => {
			const [, password] = atob(String(headers["x-auth"]).slice("Basic ".length)).split(":");
			response.writeHead(200, { "content-type": "application/json", location: url }).end(JSON.stringify({ url, headers, password }));
		});
		const done = await run({ url: `${server.url}/${query}`, headers });
		expect(done.shown).not.toMatch(/hunter2|dXNlcjpodW50/);
		expect(done.answer.body).toMatchObject({ password: "***", headers: { "x-api-key": "***", "tickq-tenant": "acme" } });
		expect(done.answer.headers.location).toBe("/?api_key=***&sig=***&X-Amz-Signature=***&page=12345678");
		expect((done.answer.body as { url: string }).url).toContain("page=12345678");

		const failing = await serve(({ headers, url }, response) =>
			response.writeHead(400, { location: url }).end(`not for ${headers.authorization} with ${headers["x-secret"]} at ${url}`),
		);
		const failed = await run({ url: `${failing.url}/${query}`, headers });
		expect(failed.shown).not.toContain("hunter2");
		expect(failed.error).toContain('answered 400: "not for *** with *** at /?api_key=***&sig=***&X-Amz-Signature=***&page=12345678');
	});

	it("are what they are called: other headers and parameters stay in the answer", async () => {
		const server = await serve(echoing);
		const { answer } = await run({
			url: `${server.url}/?sort_key=created_at&design=brutalist`,
			headers: { "X-Customer": "customer-1234", "Idempotency-Key": "own-key-123" },
		});
		expect(answer.body).toMatchObject({
			url: "/?sort_key=created_at&design=brutalist",
			headers: { "x-customer": "customer-1234", "idempotency-key": "own-key-123" },
		});
	});
});

describe("in a queue", () => {
	it("a payload that does not fit is refused when it is submitted, and what is wrong is pointed at", () =>
		inQueue(async queue => {
			const payload = { url: "https://user:hunter2@example.com/", headers: { host: "x" }, done: ["2xx", 700] };
			const { status, body } = await queue.call("submitJob", "/api/jobs", { body: { task: "http_request", payload } });
			expect([status, body.code]).toEqual([422, "invalid_payload"]);
			expect(body.errors.map(({ pointer }: { pointer: string }) => pointer)).toEqual([
				"/payload/url",
				"/payload/done/1",
				"/payload/headers/host",
			]);
			expect(JSON.stringify(body)).not.toContain("hunter2");
			expect(body.errors[2].detail).toBe("is set by tickq: leave it out");
		}));

	it("a job is delivered, comes back as the endpoint asks, and is done with its answer", () =>
		inQueue(async queue => {
			const server = await serve(({ headers }, response) =>
				headers["tickq-attempt"] === "1" ? response.writeHead(503, { "retry-after": "60" }).end("busy") : response.end("served"),
			);
			const deps = {
				...queue.deps,
				webhookSecrets: SECRETS,
				fetchOutside: createFetchOutside({ clock: queue.clock, allow: readAllow("127.0.0.1") }),
			};
			const tick = () => answered(functions.processTick(toRequest("/api/tick", { method: "POST" }), deps));
			const { id } = await submit(queue, { task: "http_request", payload: { url: server.url, body: { n: 1 } } });
			await tick();
			const waiting = (await queue.call("getJob", `/api/jobs/${id}`)).body;
			expect(waiting).toMatchObject({ retry_count: 1, run_at: new Date(queue.clock.now() + 60_000).toISOString() });
			expect(waiting.error.message).toBe(`POST 127.0.0.1:${server.port} answered 503: "busy"`);
			await queue.clock.advance(60_000);
			await tick();
			expect((await queue.call("getJob", `/api/jobs/${id}`)).body).toMatchObject({
				status: "done",
				result: { status: 200, body: "served" },
			});
			expect(server.received.map(({ headers }) => [headers["tickq-attempt"], headers["idempotency-key"], headers["webhook-id"]])).toEqual([
				["1", id, id],
				["2", id, id],
			]);
		}));
});
