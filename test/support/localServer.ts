/** An endpoint of a user, on loopback: it keeps what it was sent. */
import { once } from "node:events";
import {
	createServer,
	type IncomingHttpHeaders,
	type IncomingMessage,
	type RequestListener,
	type Server,
	type ServerResponse,
} from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";

export interface Received {
	readonly method: string;
	readonly url: string;
	readonly headers: IncomingHttpHeaders;
	readonly body: string;
}
export interface LocalServer {
	readonly port: number;
	/** http://127.0.0.1:port, without a slash at the end. */
	readonly url: string;
	readonly received: Received[];
	/** Resolves when every connection so far is closed. */
	idle(): Promise<void>;
	close(): Promise<void>;
}
export type Answerer = (request: Received, response: ServerResponse, message: IncomingMessage) => void;

/** @param tls key and certificate, for https */
export async function startServer(answer: Answerer, tls?: { readonly key: string; readonly certificate: string }): Promise<LocalServer> {
	const received: Received[] = [];
	const listener: RequestListener = async (message, response) => {
		let body = "";
		for await (const chunk of message.setEncoding("utf8")) body += chunk;
		const request = { method: message.method!, url: message.url!, headers: message.headers, body };
		received.push(request);
		answer(request, response, message);
	};
	const server: Server =
		tls === undefined
			? createServer(listener)
			: (createSecureServer({ key: tls.key, cert: tls.certificate }, listener) as unknown as Server);
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	let open = 0;
	let wake = () => {};
	server.on("connection", socket => {
		open++;
		socket.on("error", () => {});
		socket.once("close", () => {
			open--;
			wake();
		});
	});
	const { port } = server.address() as AddressInfo;
	return {
		port,
		url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`,
		received,
		async idle() {
			while (open > 0)
				await new Promise<void>(resolve => {
					wake = resolve;
				});
		},
		async close() {
			server.closeAllConnections();
			server.close();
			await once(server, "close");
		},
	};
}
