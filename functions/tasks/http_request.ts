/** Calls an address: so any function that can be reached by HTTP is a worker. Webhooks are called in the same way. */
import { defineTask, Failed, RetryAfter } from "tickq";
import * as z from "zod";

const URL_CHARS_MAX = 4096;
const HEADERS_MAX = 50;
const STATUSES_MAX = 50;
const HEADER_CHARS_MAX = 8192;
const TIMEOUT_MS_DEFAULT = 30_000;
const TIMEOUT_MS_MAX = 15 * 60_000;
/** Of the answer's body; what comes after it is not read. */
const ANSWER_BYTES_MAX = 64 * 1024;
/** As payloads have it. */
const DEPTH_MAX = 500;
const SHOWN_CHARS_MAX = 2048;
const QUOTE_CHARS_MAX = 150;
/** What is shorter would be taken out of words that only look like it. */
const SECRET_CHARS_MIN = 8;

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] as const;
/** Set by the connection, by the signature or by tickq. */
const RESERVED =
	/^(?:host|content-length|transfer-encoding|te|trailer|connection|keep-alive|upgrade|expect|accept-encoding|tickq-job-id|tickq-attempt|tickq-tenant)$|^(?:proxy|sec|webhook)-/;
const SHOWN = ["content-type", "location", "retry-after", "date", "etag", "last-modified", "x-request-id", "request-id", "traceparent"];

/** The whole answer, as the job's result. */
export interface HttpAnswer {
	readonly status: number;
	/** Those of `content-type`, `location`, `retry-after`, `date`, `etag`, `last-modified`, `x-request-id`, `request-id`, `traceparent` that came. */
	readonly headers: Readonly<Record<string, string>>;
	/** JSON where it is said to be and is, otherwise text; null if there is none. */
	readonly body: unknown;
	/** There was more of the body than the 65,536 bytes that are kept, or it was compressed and none is. */
	readonly truncated: boolean;
}

const STATUS_RULE = 'expected a status such as 429, a class such as "5xx", or a range such as "500-599"';
const statuses = z
	.array(
		z.union([z.int().min(100).max(599), z.string().regex(/^[1-5]xx$|^[1-5]\d\d(?:-[1-5]\d\d)?$/, STATUS_RULE)], { error: STATUS_RULE }),
	)
	.min(1)
	.max(STATUSES_MAX)
	.optional();
const OVERLAP = "is named in two lists: name each status once";

const input = z
	.strictObject({
		url: z.string().max(URL_CHARS_MAX).refine(isCallable, "expected an http or https address without user and password"),
		method: z.enum(METHODS).default("POST"),
		headers: z.record(z.string(), z.string().max(HEADER_CHARS_MAX)).default({}),
		body: z.unknown().optional(),
		timeout_ms: z.int().min(1).max(TIMEOUT_MS_MAX).default(TIMEOUT_MS_DEFAULT),
		done: statuses,
		retry: statuses,
		failed: statuses,
		sign: z.boolean().optional(),
	})
	.superRefine(({ method, headers, body, done, retry, failed }, context) => {
		const refuse = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
		if (body !== undefined && (method === "GET" || method === "HEAD")) refuse(["body"], `a ${method} has none: leave it out, or use POST`);
		const names = Object.keys(headers).map(name => name.toLowerCase());
		// Comparing each with each is only for as many as are allowed.
		if (names.length > HEADERS_MAX) return refuse(["headers"], `at most ${HEADERS_MAX} headers`);
		for (const [name, value] of Object.entries(headers)) {
			const lower = name.toLowerCase();
			if (!/^[\w!#$%&'*+.^`|~-]{1,100}$/.test(name)) refuse(["headers", name.slice(0, 100)], "is not a name that a header can have");
			else if (RESERVED.test(lower)) refuse(["headers", name], "is set by tickq: leave it out");
			else if (!/^[\t\x20-\x7e]*$/.test(value)) refuse(["headers", name], "expected printable ASCII, without line breaks");
			else if (names.indexOf(lower) !== names.lastIndexOf(lower)) refuse(["headers", name], "is given twice, in different case");
		}
		const lists = { done, retry, failed };
		if (Object.values(lists).some(given => given && given.length > STATUSES_MAX)) return;
		for (const [list, given] of Object.entries(lists)) {
			if (given?.some(entry => rangeOf(entry)[0] > rangeOf(entry)[1])) refuse([list], "has a range that ends before it begins");
			const others = Object.entries(lists).flatMap(([other, entries]) => (other === list ? [] : (entries ?? [])));
			if (given?.some(entry => others.some(other => overlap(rangeOf(entry), rangeOf(other))))) refuse([list], OVERLAP);
		}
	});

/**
 * Sends `{ url, method?, headers?, body?, timeout_ms?, done?, retry?, failed?, sign? }` and answers with an {@link HttpAnswer}.
 *
 * - `method`: GET, HEAD, POST (if absent), PUT, PATCH or DELETE. `headers`: up to 50. `body`: JSON; a text is sent as it is, as `text/plain`
 *   unless a Content-Type says otherwise.
 * - `timeout_ms`: until the answer is there, its body included; 30,000 if absent. The job's own timeout holds, too.
 * - `done`, `retry`, `failed`: which statuses mean what, as numbers, classes ("5xx") and ranges ("500-599"). If absent, 2xx is done, and
 *   408, 425, 429 and 5xx are failed attempts, repeated after `Retry-After` or the task's backoff; everything else fails for good.
 * - `sign`: signed by Standard Webhooks where a secret is set; true fails where none is, false never signs.
 * - Sent along, unless the payload says otherwise: `Idempotency-Key` (the same in each attempt) and `traceparent`; always `Tickq-Job-Id`,
 *   `Tickq-Attempt`, `Tickq-Tenant`.
 *
 * Addresses inside are refused for good, those that only resolve to inside are failed attempts. Errors name the host and no more of the
 * address; what the payload has for credentials is shown nowhere else, also where the answer repeats it.
 */
export const http_request = defineTask({
	summary: "Calls an HTTP endpoint; its status says how the job ends",
	example: { url: "https://example.com/", method: "GET" },
	timeoutMs: TIMEOUT_MS_MAX,
	retry: { maxRetries: 8, baseMs: 2000, factor: 3, maxMs: 15 * 60_000 },
	input,
	async run({ url, method, headers, body, timeout_ms, sign, ...meaning }, context): Promise<HttpAnswer> {
		const host = new URL(url).host;
		const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
		const signature = sign === false ? {} : await context.sign(context.idempotencyKey, text ?? "");
		if (sign === true && !("webhook-signature" in signature))
			throw new Failed("the call was to be signed, but no webhook secret is set here");
		const hide = hider(url, headers);
		const timer = new AbortController();
		const timeout = setTimeout(() => timer.abort(new Error(`${host} did not answer within ${timeout_ms} ms`)), timeout_ms);
		const signal = AbortSignal.any([context.signal, timer.signal]);
		try {
			const response = await context.fetchOutside(url, {
				method,
				headers: {
					accept: "*/*",
					...(text === undefined ? {} : { "content-type": typeof body === "string" ? "text/plain;charset=UTF-8" : "application/json" }),
					"user-agent": "tickq",
					"idempotency-key": context.idempotencyKey,
					traceparent: `00-${context.traceId}-${await spanId(context.jobId, context.attempt)}-01`,
					...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])),
					"tickq-job-id": context.jobId,
					"tickq-attempt": String(context.attempt),
					"tickq-tenant": context.tenant,
					...signature,
				},
				...(text === undefined ? {} : { body: text }),
				signal,
			});
			const answer = await read(response, hide);
			const means = meaningOf(response.status, meaning);
			if (means === "done") return answer;
			const message = `${method} ${host} answered ${response.status}${quote(answer.body)}`;
			if (means === "failed") throw new Failed(message);
			throw new RetryAfter(response.headers.get("retry-after"), message);
		} catch (error) {
			if (signal.aborted) throw signal.reason;
			const { name, message, forNow } = error as Error & { forNow?: boolean };
			throw name === "OutsideForbidden" && !forNow ? new Failed(message) : error;
		} finally {
			clearTimeout(timeout);
		}
	},
});

/**
 * Calls a webhook when a job has ended: the queue submits it, with an address and a body. As {@link http_request}, but that a receiver which is
 * away is called again for hours, and that no circuit opens: each tenant has receivers of its own, and their calls wait for nobody else's.
 */
export const webhook = defineTask({
	...http_request,
	summary: "Calls a webhook when a job has ended; the queue submits it",
	timeoutMs: 60_000,
	retry: { maxRetries: 15, baseMs: 5000, factor: 3, maxMs: 4 * 3_600_000 },
	circuitBreaker: false,
});

function isCallable(text: string): boolean {
	const url = URL.parse(text);
	return url !== null && /^https?:$/.test(url.protocol) && url.username === "" && url.password === "";
}

type Range = readonly [from: number, to: number];
const overlap = ([a, b]: Range, [c, d]: Range): boolean => a <= d && c <= b;

function rangeOf(entry: number | string): Range {
	if (typeof entry === "number") return [entry, entry];
	if (entry.endsWith("xx")) return [Number(entry[0]) * 100, Number(entry[0]) * 100 + 99];
	const [from, to = from] = entry.split("-").map(Number);
	return [from!, to!];
}

type Lists = Partial<Record<"done" | "retry" | "failed", readonly (number | string)[] | undefined>>;
const DEFAULTS: Required<Lists> = { done: ["2xx"], retry: [408, 425, 429, "5xx"], failed: [] };

/** What is given comes before the defaults; a list that is given replaces its default. */
function meaningOf(status: number, given: Lists): keyof Lists {
	const means = ["done", "retry", "failed"] as const;
	const says = (lists: Lists) => means.find(name => lists[name]?.some(entry => overlap(rangeOf(entry), [status, status])));
	const left = Object.fromEntries(means.map(name => [name, given[name] === undefined ? DEFAULTS[name] : []])) as Lists;
	return says(given) ?? says(left) ?? "failed";
}

/** The parent of what the endpoint traces: the same for whoever asks again which attempt it was. */
async function spanId(jobId: string, attempt: number): Promise<string> {
	const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${jobId}.${attempt}`));
	return Array.from(new Uint8Array(digest, 0, 8), byte => byte.toString(16).padStart(2, "0")).join("");
}

async function read(response: Response, hide: (text: string) => string): Promise<HttpAnswer> {
	const headers: Record<string, string> = {};
	for (const name of SHOWN) {
		const value = response.headers.get(name);
		if (value !== null) headers[name] = hide(value).slice(0, SHOWN_CHARS_MAX);
	}
	const { status } = response;
	if (response.body === null) return { status, headers, body: null, truncated: false };
	const encoding = response.headers.get("content-encoding");
	if (encoding !== null && encoding !== "identity") {
		await response.body.cancel();
		return { status, headers, body: null, truncated: true };
	}
	const { text, truncated } = await readText(response.body);
	const isJson = /^application\/(?:[\w.-]+\+)?json\b/i.test(response.headers.get("content-type") ?? "");
	return { status, headers, body: text === "" ? null : isJson && !truncated ? jsonOr(hide(text)) : hide(text), truncated };
}

/** As much as is kept; the rest is never asked for. */
async function readText(body: ReadableStream<Uint8Array>): Promise<{ text: string; truncated: boolean }> {
	const reader = body.getReader();
	const decoder = new TextDecoder();
	let text = "";
	for (let left = ANSWER_BYTES_MAX; ; ) {
		const { done, value } = await reader.read();
		if (done) return { text: text + decoder.decode(), truncated: false };
		text += decoder.decode(value.subarray(0, left), { stream: true });
		left -= value.byteLength;
		if (left < 0) {
			await reader.cancel();
			return { text, truncated: true };
		}
	}
}

function jsonOr(text: string): unknown {
	try {
		const value: unknown = JSON.parse(text);
		return isStorable(value) ? value : text;
	} catch {
		return text;
	}
}

/** Whether JSON comes out of the store as it came: numbers that a double holds, and no nesting without bounds. */
function isStorable(value: unknown, levels = DEPTH_MAX): boolean {
	if (typeof value === "number") return Number.isFinite(value);
	if (typeof value !== "object" || value === null) return true;
	return levels > 0 && Object.values(value).every(inner => isStorable(inner, levels - 1));
}

/** The beginning of an answer, to be read in an error. Quoted, so that errors which differ in nothing else are grouped as one. */
function quote(body: unknown): string {
	if (body === null) return "";
	const text = (typeof body === "string" ? body : JSON.stringify(body))
		.slice(0, SHOWN_CHARS_MAX)
		.replaceAll(/[\s\p{Cc}"]+/gu, " ")
		.trim();
	return text === "" ? "" : `: "${text.length > QUOTE_CHARS_MAX ? `${text.slice(0, QUOTE_CHARS_MAX)}…` : text}"`;
}

const SECRET_WORD = /^(?:auth|authorization|cookie|credentials?|key|apikey|passw(?:or)?d|pwd|secret|session|sig|signature|token)$/;
const SECRET_QUERY = /^(?:code|key)$|(?:api|access|auth|functions?|private|secret|subscription)[-_]?key$/i;

/** Takes out of a text what the payload has for credentials, in case the endpoint repeats them. */
function hider(url: string, headers: Readonly<Record<string, string>>): (text: string) => string {
	const words = (name: string) => name.toLowerCase().split(/[-_.]/);
	const secrets = [
		...Object.entries(headers).filter(
			([name]) => name.toLowerCase() !== "idempotency-key" && words(name).some(word => SECRET_WORD.test(word)),
		),
		...[...new URL(url).searchParams].filter(
			([name]) => SECRET_QUERY.test(name) || words(name).some(word => word !== "key" && SECRET_WORD.test(word)),
		),
	]
		.flatMap(([, value]) => [value, ...parts(value)])
		.flatMap(value => [value, JSON.stringify(value).slice(1, -1), encodeURIComponent(value)])
		.filter(value => value.length >= SECRET_CHARS_MIN);
	const longestFirst = [...new Set(secrets)].sort((a, b) => b.length - a.length);
	return text => longestFirst.reduce((shown, value) => shown.replaceAll(value, "***"), text);
}

/** What is secret in `Bearer …`, `a=…; b=…` and `Basic …`, where it is written in base64. */
function parts(value: string): string[] {
	const words = value.split(/[\s;,]+/).flatMap(word => [word, word.slice(word.indexOf("=") + 1)]);
	const basic = /^basic ([\w+/=]+)$/i.exec(value)?.[1];
	if (basic === undefined) return words;
	try {
		return [...words, atob(basic), atob(basic).replace(/^[^:]*:/, "")];
	} catch {
		return words;
	}
}
