/** The HTTP side of the emulator: the API, the dashboard's files, the live metrics; on this machine's loopback only. */
import type { Server } from "node:http";
import { fileURLToPath } from "node:url";
import { createAdaptorServer, upgradeWebSocket } from "@hono/node-server";
import { serveStatic } from "@hono/node-server/serve-static";
import type { Hono } from "hono";
import type { WSContext } from "hono/ws";
import { WebSocketServer } from "ws";
import { compose, type Functions } from "../lib/compose.ts";
import type { Deps } from "../lib/context.ts";
import { messageOf } from "../lib/log.ts";
import { metricsOf } from "../lib/metrics.ts";
import { PAGE_HEADERS } from "../lib/pageHeaders.ts";
import { Problem, problemResponse } from "../lib/problem.ts";

const PUBLIC = fileURLToPath(new URL("../public", import.meta.url));
const UPLOT = fileURLToPath(new URL(".", import.meta.resolve("uplot/dist/uPlot.min.css")));
const PUSH_EVERY_MS = 2000;
/** A client that does not read is closed rather than buffered for. */
const SOCKET_BUFFER_BYTES_MAX = 1024 * 1024;
const SOCKETS_MAX = 200;

function addFiles(app: Hono): void {
	app.on("GET", ["/", "/static/*", "/vendor/uplot/*"], async (context, next) => {
		await next();
		for (const [name, value] of Object.entries(PAGE_HEADERS)) context.header(name, value);
	});
	app.get("/", serveStatic({ root: PUBLIC, path: "index.html" }));
	app.get("/static/*", serveStatic({ root: PUBLIC, rewriteRequestPath: path => path.slice("/static".length) }));
	app.get("/vendor/uplot/*", serveStatic({ root: UPLOT, rewriteRequestPath: path => path.slice("/vendor/uplot".length) }));
}

/**
 * The queue is open to this machine, not to the pages its browser visits: a foreign name that leads here (DNS rebinding) and a WebSocket
 * from another site are refused.
 */
const LOCAL_NAMES = new Set(["localhost", "127.0.0.1", "[::1]"]);
function isLocal(address: string | undefined): boolean {
	const name = URL.parse(address?.includes("://") ? address : `http://${address}`)?.hostname;
	return name !== undefined && (LOCAL_NAMES.has(name) || name.endsWith(".localhost"));
}
const foreign = (what: string, path: string, deps: Deps): Response =>
	problemResponse(new Problem("host_forbidden", `${what} Use http://localhost:PORT on this machine.`), path, deps.random.traceId());

/** Pushes the metrics object to every open socket: at once, then every 2 s, with one read for all and none while nobody looks. */
function addLiveMetrics(app: Hono, deps: () => Deps): () => void {
	const sockets = new Set<WSContext>();
	let timer: NodeJS.Timeout | undefined;
	const push = async (to: Iterable<WSContext>): Promise<void> => {
		const { storage, log } = deps();
		try {
			const text = JSON.stringify(await metricsOf(await storage.operator.counts(), storage.operator, deps()));
			for (const socket of to) {
				const raw = socket.raw as { bufferedAmount?: number } | undefined;
				if ((raw?.bufferedAmount ?? 0) > SOCKET_BUFFER_BYTES_MAX) socket.close(1013, "too slow");
				else socket.send(text);
			}
		} catch (error) {
			log.warn("live metrics could not be sent", { error: messageOf(error) });
		}
	};
	app.get(
		"/ws/metrics",
		(context, next) => {
			const origin = context.req.header("origin");
			return origin === undefined || isLocal(origin)
				? next()
				: Promise.resolve(foreign("Pages of other sites may not listen.", context.req.path, deps()));
		},
		upgradeWebSocket(() => ({
			onOpen(_, socket) {
				if (sockets.size >= SOCKETS_MAX) return socket.close(1013, "too many connections");
				sockets.add(socket);
				timer ??= setInterval(() => void push(sockets), PUSH_EVERY_MS);
				void push([socket]);
			},
			onClose(_, socket) {
				sockets.delete(socket);
				if (sockets.size > 0) return;
				clearInterval(timer);
				timer = undefined;
			},
		})),
	);
	return () => {
		clearInterval(timer);
		for (const socket of sockets) socket.close(1001, "the server stops");
	};
}

export interface Serving {
	readonly port: number;
	/** Takes no more requests, and resolves when those that run are answered. */
	close(): Promise<void>;
}

/** Listens on 127.0.0.1 and, where there is one, ::1. Rejects with the system's error when the port cannot be had. */
export async function serve(functions: Functions, deps: () => Deps, port: number): Promise<Serving> {
	let closeSockets = () => {};
	const app = compose(functions, deps, app => {
		closeSockets = addLiveMetrics(app, deps);
		addFiles(app);
	});
	const fetch = (request: Request, env: unknown): Response | Promise<Response> =>
		isLocal(request.headers.get("host") ?? undefined)
			? app.fetch(request, env as object)
			: foreign("This address is for this machine only.", new URL(request.url).pathname, deps());
	const open = async (hostname: string, port: number): Promise<Server> => {
		const websocket = { server: new WebSocketServer({ noServer: true, maxPayload: 4096 }) };
		const server = createAdaptorServer({ fetch, websocket }) as Server;
		await new Promise<void>((resolve, reject) => {
			server.once("error", reject);
			server.listen(port, hostname, resolve);
		});
		return server;
	};
	const first = await open("127.0.0.1", port);
	const bound = (first.address() as { port: number }).port;
	const servers = [first];
	try {
		servers.push(await open("::1", bound));
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		// Machines without IPv6 have no ::1.
		if (code !== "EADDRNOTAVAIL" && code !== "EAFNOSUPPORT") {
			first.close();
			throw error;
		}
	}
	return {
		port: bound,
		async close() {
			closeSockets();
			await Promise.all(
				servers.map(
					server =>
						new Promise<void>(resolve => {
							server.close(() => resolve());
							server.closeIdleConnections();
						}),
				),
			);
		},
	};
}
