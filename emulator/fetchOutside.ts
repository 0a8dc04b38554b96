/**
 * Calls addresses that users gave, from Node: resolves a name once, refuses it when any of its addresses is inside, and connects to one of those
 * that were checked. A connection serves one request; proxies of the environment are not used.
 */
import { lookup, Resolver } from "node:dns/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Clock } from "../lib/clock.ts";
import { followRedirects, type Stop } from "../lib/followRedirects.ts";
import { ALLOW_NOTHING, type Allow, allowsName, hostOf, isInside, OutsideForbidden } from "../lib/outside.ts";
import type { FetchOutside } from "../lib/task.ts";

/** All addresses of a name. `allowed`: the operator named it. */
export type Resolve = (name: string, allowed: boolean, signal: AbortSignal) => Promise<readonly string[]>;

export interface FetchOutsideOptions {
	readonly clock: Pick<Clock, "after">;
	/** What may be called although it is inside. */
	readonly allow?: Allow;
	readonly resolve?: Resolve;
	/** Resolving, connecting and the handshake of TLS, for each redirect anew. */
	readonly connectMs?: number;
	/** Everything, until the answer has been read to its end. */
	readonly totalMs?: number;
	/** An answer that goes on beyond this is broken off. */
	readonly bodyBytesMax?: number;
}

const HEADER_BYTES_MAX = 16 * 1024;
const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
/** Set here, whatever the caller says. */
const OWN_HEADERS = [
	"connection",
	"keep-alive",
	"proxy-authorization",
	"proxy-connection",
	"te",
	"trailer",
	"transfer-encoding",
	"upgrade",
];

export function createFetchOutside({
	clock,
	allow = ALLOW_NOTHING,
	resolve = resolveName,
	connectMs = 10_000,
	totalMs = 15 * 60_000,
	bodyBytesMax = 16 * 1024 * 1024,
}: FetchOutsideOptions): FetchOutside {
	return async (address, init = {}) => {
		const watch = watchOver(init.signal);
		watch.atEnd(clock.after(totalMs, () => watch.abort(new Error(`the call took longer than ${totalMs} ms`))));
		let read: Promise<void> = Promise.resolve();
		try {
			const response = await followRedirects(address, init, allow, async (url, stop) => {
				if (!METHODS.has(stop.method)) throw new TypeError("this method is not one to call with");
				const stopConnect = clock.after(connectMs, () =>
					watch.abort(new Error(`${url.host} accepted no connection within ${connectMs} ms`)),
				);
				const socket = await connect(url, allow, resolve, watch).finally(stopConnect);
				const answer = toResponse(await ask(url, stop, socket, watch), stop.method, url, bodyBytesMax, watch);
				read = answer.read;
				return answer.response;
			});
			void read.then(watch.end);
			return response;
		} catch (error) {
			// Closes whatever is still open; has no effect where an abort is the cause.
			watch.abort(error);
			watch.end();
			throw watch.signal.reason;
		}
	};
}

/** One signal for everything that may end a call, and what is to be done when it is over. */
interface Watch {
	readonly signal: AbortSignal;
	abort(reason: unknown): void;
	atEnd(callback: () => void): void;
	end(): void;
}
function watchOver(outer: AbortSignal | undefined): Watch {
	const controller = new AbortController();
	const callbacks: (() => void)[] = [];
	const forward = () => controller.abort(outer!.reason);
	if (outer?.aborted) forward();
	outer?.addEventListener("abort", forward);
	callbacks.push(() => outer?.removeEventListener("abort", forward));
	return {
		signal: controller.signal,
		abort: reason => controller.abort(reason),
		atEnd: callback => callbacks.push(callback),
		end() {
			for (const callback of callbacks.splice(0)) callback();
		},
	};
}

/** What `work` comes to, unless the call is aborted before. */
function unlessAborted<T>(work: Promise<T>, { signal }: Watch): Promise<T> {
	return new Promise((resolve, reject) => {
		const abort = () => reject(signal.reason);
		if (signal.aborted) abort();
		signal.addEventListener("abort", abort);
		work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
	});
}

/**
 * DNS is asked directly, so that names which nobody answers for do not hold up the few threads that the system's resolver has, and no search
 * domain makes an inside name of an outside one. Names that the operator allows may stand in the hosts file.
 */
async function resolveName(name: string, allowed: boolean, signal: AbortSignal): Promise<readonly string[]> {
	if (allowed) return (await lookup(name, { all: true })).map(({ address }) => address);
	const resolver = new Resolver({ timeout: 2500, tries: 2 });
	signal.addEventListener("abort", () => resolver.cancel());
	const [four, six] = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
	const addresses = [four, six].flatMap(found => (found.status === "fulfilled" ? found.value : []));
	if (addresses.length === 0 && four.status === "rejected") throw four.reason;
	return addresses;
}

async function addressesOf(host: string, allowed: boolean, resolve: Resolve, watch: Watch): Promise<readonly string[]> {
	const addresses = await unlessAborted(resolve(host, allowed, watch.signal), watch).catch(({ code }: { code?: string }) => {
		if (code === "ENOTFOUND" || code === "ENODATA" || code === "EBADNAME") return [];
		throw new Error(`${host} could not be resolved${code === undefined ? "" : ` (${code})`}`);
	});
	if (addresses.length === 0) throw new Error(`${host} has no address: check the name`);
	return addresses;
}

/** A connection to one of the addresses that were checked; the name is not resolved again. */
async function connect(url: URL, allow: Allow, resolve: Resolve, watch: Watch): Promise<Socket> {
	const host = hostOf(url);
	const byName = allowsName(allow, host);
	const refuse = (address: string): void => {
		if (!byName && isInside(address, allow))
			throw new OutsideForbidden(
				`${host} resolves to an address that is not public, and may not be called unless TICKQ_OUTSIDE_ALLOW names it`,
				true,
			);
	};
	const addresses = isIP(host) === 0 ? await addressesOf(host, byName, resolve, watch) : [host];
	addresses.forEach(refuse);

	const secure = url.protocol === "https:";
	const tcp = connectTcp({
		host,
		port: Number(url.port || (secure ? 443 : 80)),
		autoSelectFamily: true,
		lookup: (_, { all }, callback) => {
			const found = addresses.map(address => ({ address, family: isIP(address) }));
			if (all) callback(null, found);
			else callback(null, found[0]!.address, found[0]!.family);
		},
	});
	const destroy = () => tcp.destroy();
	watch.signal.addEventListener("abort", destroy);
	watch.atEnd(() => watch.signal.removeEventListener("abort", destroy));
	try {
		await unlessAborted(once(tcp, "connect"), watch);
		if (tcp.remoteAddress !== undefined) refuse(tcp.remoteAddress);
		if (!secure) return tcp;
		const tls = connectTls({
			socket: tcp,
			host,
			...(isIP(host) === 0 ? { servername: host } : {}),
			ALPNProtocols: ["http/1.1"],
			rejectUnauthorized: true,
		});
		await unlessAborted(once(tls, "secureConnect"), watch);
		return tls;
	} catch (error) {
		tcp.destroy();
		throw explain(url, error);
	}
}

const once = (socket: Socket, event: string): Promise<void> =>
	new Promise((resolve, reject) => {
		socket.once(event, () => resolve());
		// Stays, so that an error which comes later than the answer is nobody's surprise.
		socket.on("error", reject);
		socket.once("close", () => reject(Object.assign(new Error("closed"), { code: "ECONNRESET" })));
	});

function ask(url: URL, { method, headers: given, body }: Stop, socket: Socket, watch: Watch): Promise<IncomingMessage> {
	const headers = new Headers(given);
	for (const name of OWN_HEADERS) headers.delete(name);
	headers.set("host", url.host);
	headers.set("connection", "close");
	// A compressed answer would have to be unpacked to be measured.
	headers.set("accept-encoding", "identity");
	if (body !== undefined || /^P/.test(method)) headers.set("content-length", String(Buffer.byteLength(body ?? "")));
	else headers.delete("content-length");
	return unlessAborted(
		new Promise<IncomingMessage>((resolve, reject) => {
			const request = httpRequest({
				createConnection: () => socket,
				method,
				path: url.pathname + url.search,
				headers: Object.fromEntries(headers),
				setHost: false,
				maxHeaderSize: HEADER_BYTES_MAX,
			});
			request.once("response", resolve);
			request.once("upgrade", () => reject(Object.assign(new Error("upgrade"), { code: "HPE_UPGRADE" })));
			request.on("error", reject);
			request.end(body);
		}),
		watch,
	).catch(error => {
		socket.destroy();
		throw explain(url, error);
	});
}

/** @returns the answer, and when its body has been read, cancelled or broken off */
function toResponse(
	message: IncomingMessage,
	method: string,
	url: URL,
	bytesMax: number,
	watch: Watch,
): { readonly response: Response; readonly read: Promise<void> } {
	const { promise: read, resolve: isRead } = Promise.withResolvers<void>();
	const finish = (): void => {
		message.destroy();
		isRead();
	};
	const init = { status: message.statusCode ?? 0, headers: new Headers() };
	try {
		for (let i = 0; i < message.rawHeaders.length; i += 2) init.headers.append(message.rawHeaders[i]!, message.rawHeaders[i + 1]!);
		if (method === "HEAD" || [204, 205, 304].includes(init.status)) {
			finish();
			return { response: new Response(null, init), read };
		}
		return { response: new Response(bodyOf(message, url, bytesMax, watch, finish), init), read };
	} catch {
		throw new Error(`${url.host} did not answer in HTTP/1.1`);
	}
}

function bodyOf(
	message: IncomingMessage,
	url: URL,
	bytesMax: number,
	watch: Watch,
	finish: () => void,
): ReadableStream<Uint8Array<ArrayBuffer>> {
	const chunks = message[Symbol.asyncIterator]() as AsyncIterator<Buffer<ArrayBuffer>>;
	let bytes = 0;
	return new ReadableStream<Uint8Array<ArrayBuffer>>(
		{
			async pull(controller) {
				try {
					const { done, value } = await unlessAborted(chunks.next(), watch);
					if (done) {
						finish();
						return controller.close();
					}
					bytes += value.byteLength;
					if (bytes > bytesMax) throw new Error(`${url.host} answered with more than ${bytesMax} bytes`);
					controller.enqueue(value);
				} catch (error) {
					finish();
					controller.error(watch.signal.aborted ? watch.signal.reason : explain(url, error));
				}
			},
			cancel: finish,
		},
		{ highWaterMark: 0 },
	);
}

const SAYS: readonly (readonly [RegExp, string])[] = [
	[/^ECONNREFUSED$/, "refused the connection"],
	[/^(?:ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EHOSTDOWN)$/, "cannot be reached"],
	[/^(?:ECONNRESET|EPIPE|ERR_STREAM_PREMATURE_CLOSE|ECONNABORTED)$/, "broke the connection off"],
	[/^HPE_HEADER_OVERFLOW$/, `answered with more than ${HEADER_BYTES_MAX} bytes of headers`],
	[/^HPE_/, "did not answer in HTTP/1.1"],
	[/^ERR_TLS_CERT_ALTNAME_INVALID$/, "has a certificate for another name"],
	[/^(?:CERT_|SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_)/, "has a certificate that is not trusted"],
	[/^(?:ERR_SSL_|ERR_TLS_|EPROTO)/, "could not agree on TLS"],
];

/** What went wrong, for people: the host at most, since the rest of an address may hold credentials. */
function explain(url: URL, error: unknown): unknown {
	const { code, errors } = (error ?? {}) as { code?: unknown; errors?: readonly { code?: unknown }[] };
	const known = code ?? errors?.[0]?.code;
	if (typeof known !== "string" || error instanceof OutsideForbidden || error instanceof TypeError) return error;
	const says = SAYS.find(([pattern]) => pattern.test(known))?.[1] ?? "could not be called";
	return new Error(`${url.host} ${says} (${known})`);
}
