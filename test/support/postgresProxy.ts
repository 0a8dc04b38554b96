/**
 * A way to PostgreSQL that breaks where a test wants it to: it reads the protocol as far as needed to know when a statement is asked for
 * and when it is done; of what is encrypted, nothing. https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** before: the server never sees the statement. after: it does it, and its answer is lost. hang: nothing passes any more, and nobody hangs up. */
export type Break = "before" | "after" | "hang";

export interface PostgresProxy {
	/** The address it was made for, through the proxy. */
	readonly url: string;
	/** Breaks the connection at the `nth` statement from now on. */
	breakAt(nth: number, how: Break): void;
	/** Whether that has happened; what was ordered is forgotten. */
	broke(): boolean;
	/** Statements asked for since the start, as they are written. */
	readonly statements: readonly string[];
	/** Breaks all connections. */
	cut(): void;
	/** Makes them hang, whatever is said on them. */
	freeze(): void;
	/** While false, who connects is hung up on before anything was said. */
	accepts: boolean;
	/** Connections there have been. */
	readonly dialled: number;
	close(): Promise<void>;
}

/** What other processes are told by: it comes between the statements of verbs, and is none. */
const HINT = /pg_notify|^\s*(?:un)?listen/i;
const SSL_REQUEST = 80877103;

/** Cuts a stream into messages. The first of a client has no type. */
class Messages {
	#rest: Buffer = Buffer.alloc(0);
	take(chunk: Buffer, isTyped: () => boolean, each: (type: string, message: Buffer) => void): void {
		this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
		for (;;) {
			const start = isTyped() ? 1 : 0;
			if (this.#rest.length < start + 4) return;
			const end = start + this.#rest.readUInt32BE(start);
			if (this.#rest.length < end) return;
			const message = this.#rest.subarray(0, end);
			this.#rest = this.#rest.subarray(end);
			each(start === 1 ? String.fromCharCode(message[0]!) : "", message);
		}
	}
}
const textAt = (message: Buffer, from: number): string => message.toString("utf8", from, message.indexOf(0, from));

export async function startPostgresProxy(address: string): Promise<PostgresProxy> {
	const target = new URL(address);
	const lines = new Set<() => void>();
	const freezing = new Set<() => void>();
	const statements: string[] = [];
	let order: { left: number; how: Break } | null = null;
	let hasBroken = false;

	/** Answers how this statement is to break, if it is. */
	function ask(text: string): Break | null {
		if (HINT.test(text)) return null;
		statements.push(text);
		if (order === null || --order.left > 0) return null;
		const { how } = order;
		order = null;
		hasBroken = true;
		return how;
	}

	function carry(client: Socket): void {
		const server = connect(Number(target.port), target.hostname);
		const hangUp = (): void => {
			lines.delete(hangUp);
			client.destroy();
			server.destroy();
		};
		lines.add(hangUp);
		for (const socket of [client, server]) socket.setNoDelay(true).on("error", hangUp).on("close", hangUp);

		const prepared = new Map<string, string>();
		let hasStarted = false;
		let answersTls = false;
		let isEncrypted = false;
		let broken: Break | null = null;
		const freeze = (): void => {
			broken = "hang";
		};
		freezing.add(freeze);
		client.on("close", () => freezing.delete(freeze));
		const asked = new Messages();
		client.on("data", (chunk: Buffer) => {
			if (isEncrypted) {
				if (broken === null) server.write(chunk);
				return;
			}
			asked.take(
				chunk,
				() => hasStarted,
				(type, message) => {
					if (type === "") {
						answersTls = message.readUInt32BE(4) === SSL_REQUEST;
						hasStarted = !answersTls;
					} else if (type === "P") prepared.set(textAt(message, 5), textAt(message, message.indexOf(0, 5) + 1));
					else if (broken === null && (type === "B" || type === "Q")) {
						broken = ask(type === "Q" ? textAt(message, 5) : prepared.get(textAt(message, message.indexOf(0, 5) + 1))!);
						if (broken === "before") hangUp();
					}
					if (broken !== "before" && broken !== "hang") server.write(message);
				},
			);
		});
		const said = new Messages();
		server.on("data", (chunk: Buffer) => {
			if (broken === "hang") return;
			if (answersTls || isEncrypted) {
				isEncrypted ||= chunk.toString() === "S";
				answersTls = false;
				client.write(chunk);
				return;
			}
			said.take(
				chunk,
				() => true,
				(type, message) => {
					// What follows from parsing passes: the client waits for it before it asks for more.
					if (broken !== "after" || "1tTn".includes(type)) client.write(message);
					else if (type === "Z") hangUp();
				},
			);
		});
	}

	let accepts = true;
	let dialled = 0;
	const door = createServer(client => {
		dialled++;
		client.on("error", () => {});
		if (accepts) carry(client);
		else client.resume().end();
	});
	door.listen(0, "127.0.0.1");
	await once(door, "listening");
	const url = new URL(address);
	url.hostname = "127.0.0.1";
	url.port = String((door.address() as AddressInfo).port);
	const cut = (): void => {
		for (const hangUp of [...lines]) hangUp();
	};
	return {
		url: url.href,
		statements,
		breakAt(nth, how) {
			order = { left: nth, how };
			hasBroken = false;
		},
		broke() {
			order = null;
			return hasBroken;
		},
		cut,
		freeze() {
			for (const freeze of freezing) freeze();
		},
		get accepts() {
			return accepts;
		},
		set accepts(does) {
			accepts = does;
		},
		get dialled() {
			return dialled;
		},
		async close() {
			cut();
			const closed = once(door, "close");
			door.close();
			await closed;
		},
	};
}
