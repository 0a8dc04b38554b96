/** Calls an address that a user gave and goes where it redirects to; each stop is held to the same rules as the first. */
import { type Allow, assertOutside, OutsideForbidden } from "./outside.ts";
import type { OutsideInit } from "./task.ts";

const REDIRECTS_MAX = 5;
/** What another origin than the one it was meant for may see. */
const HARMLESS = /^(?:accept|accept-language|content-type|idempotency-key|traceparent|tracestate|user-agent|(?:tickq|webhook)-[\w-]+)$/;

export interface Stop {
	readonly method: string;
	readonly headers: Headers;
	readonly body?: string;
	readonly signal?: AbortSignal;
}

/**
 * Follows at most 5 redirects, and none from https to http. 307 and 308 keep method and body, 303 becomes a GET, 301 and 302 are followed
 * for GET and HEAD only: for other methods they are the answer, since browsers' habit of making a GET of them loses what was sent. Another
 * origin gets no header but harmless ones.
 * @param call makes one request and follows nothing
 */
export async function followRedirects(
	address: string | URL,
	{ method = "GET", headers, body, signal }: OutsideInit,
	allow: Allow,
	call: (url: URL, stop: Stop) => Promise<Response>,
): Promise<Response> {
	let url = assertOutside(address, allow);
	let stop: Stop = {
		method: method.toUpperCase(),
		headers: toHeaders(headers),
		...(body === undefined ? {} : { body }),
		...(signal === undefined ? {} : { signal }),
	};
	for (let followed = 0; ; followed++) {
		const response = await call(url, stop);
		const location = response.headers.get("location");
		if (location === null || !isFollowed(response.status, stop.method)) return response;
		await response.body?.cancel();
		if (followed === REDIRECTS_MAX) throw new Error(`${url.host} redirects more than ${REDIRECTS_MAX} times`);
		const next = URL.parse(location, url);
		if (next === null) throw new Error(`${url.host} redirects to an address that cannot be read`);
		if (url.protocol === "https:" && next.protocol === "http:")
			throw new OutsideForbidden(`${url.host} redirects from https to http, which would send in the clear what was to be encrypted`);
		stop = nextStop(stop, response.status, next.origin === url.origin);
		url = assertOutside(next, allow);
	}
}

/** The platform's own error would show the value, which may be a credential. */
function toHeaders(given: OutsideInit["headers"] = {}): Headers {
	const headers = new Headers();
	for (const [name, value] of Object.entries(given)) {
		try {
			headers.set(name, value);
		} catch {
			throw new TypeError(
				`the header ${JSON.stringify(name.slice(0, 100))} cannot be sent: its name or value has characters that no header has`,
			);
		}
	}
	return headers;
}

const isRead = (method: string): boolean => method === "GET" || method === "HEAD";
const isFollowed = (status: number, method: string): boolean =>
	status === 303 || status === 307 || status === 308 || ((status === 301 || status === 302) && isRead(method));

function nextStop({ method, headers, body, signal }: Stop, status: number, sameOrigin: boolean): Stop {
	const becomesGet = status === 303 && method !== "HEAD";
	const kept = new Headers();
	for (const [name, value] of headers) {
		if (!sameOrigin && !HARMLESS.test(name)) continue;
		// What was signed is no longer what is sent.
		if (becomesGet && /^(?:content|webhook)-/.test(name)) continue;
		kept.set(name, value);
	}
	return {
		method: becomesGet ? "GET" : method,
		headers: kept,
		...(body === undefined || becomesGet ? {} : { body }),
		...(signal === undefined ? {} : { signal }),
	};
}
