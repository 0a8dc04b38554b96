/**
 * Connections to PostgreSQL: their address, their sockets, a pool of them, and one that listens. postgres.js speaks the protocol; the pool
 * is ours, since its own ends the process when a connection is lost within a transaction, and may wait without a bound.
 */
import { readFileSync } from "node:fs";
import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { codeOf, type Param, type PostgresHandle, type PostgresTransaction } from "../lib/storage/postgres/driver.ts";
import type { Row } from "../lib/storage/rows.ts";

/** What an address says beside host, user and database. https://www.postgresql.org/docs/current/libpq-connect.html names the TLS ones. */
export interface Address {
	readonly url: URL;
	/** Schema that everything is kept in. */
	readonly schema: string;
	/** Connections at most. */
	readonly pool: number;
	/** false behind a transaction pooler that does not know prepared statements. */
	readonly prepare: boolean;
	readonly ssl: postgres.Options<never>["ssl"];
}

/** An IPv6 address stands in brackets in a URL only. */
const hostOf = ({ hostname }: URL): string => hostname.replace(/^\[(.*)\]$/, "$1");

const SSL_MODES = ["disable", "prefer", "require", "verify-full"] as const;

/** Reads ?schema=tickq&pool=10&prepare=true&sslmode=prefer&sslrootcert=FILE. Throws a sentence for what it does not know. */
export function readAddress(address: string): Address {
	const url = new URL(address);
	const given = new Map(url.searchParams);
	url.search = "";
	const take = (name: string, initial: string): string => {
		const value = given.get(name) ?? initial;
		given.delete(name);
		return value;
	};
	const schema = take("schema", "tickq");
	const pool = Number(take("pool", "10"));
	const prepare = take("prepare", "true");
	const sslmode = take("sslmode", "prefer") as (typeof SSL_MODES)[number];
	const rootCert = take("sslrootcert", "");
	if (url.hostname.includes(",")) throw new Error("the address names several hosts: name one, or what stands before them");
	if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) throw new Error(`schema=${schema} is no name of a schema: small letters, digits and _`);
	if (!Number.isInteger(pool) || pool < 1 || pool > 1000) throw new Error("pool is not a whole number between 1 and 1000");
	if (prepare !== "true" && prepare !== "false") throw new Error("prepare is neither true nor false");
	if (!SSL_MODES.includes(sslmode)) throw new Error(`sslmode=${sslmode} is none of ${SSL_MODES.join(", ")}`);
	if (given.size > 0)
		throw new Error(`${[...given.keys()].join(", ")} in the address is not known. Known: schema, pool, prepare, sslmode, sslrootcert`);
	const verifies = rootCert !== "" || sslmode === "verify-full";
	const ca = rootCert === "" ? {} : { ca: readFileSync(rootCert, "utf8") };
	const ssl = sslmode === "disable" ? false : verifies ? { rejectUnauthorized: true, host: hostOf(url), ...ca } : sslmode;
	return { url, schema, pool, prepare: prepare === "true", ssl };
}

/** How long a statement, or a migration, may go on without a word from the server. */
export const SILENCE_MS = 90_000;
const MIGRATION_SILENCE_MS = 600_000;
/** A connection that has nothing to do is closed before its silence could be mistaken. */
const IDLE_SHARE = 2 / 3;
/** And so much of that it waits for a connection of the pool, or for a server that has too many, at most. */
const TURN_SHARE = 1 / 3;
const CONNECT_TIMEOUT_S = 10;
/** TCP asks a connection that is silent whether it still is there: so hints come back soon when theirs has died without a word. */
const KEEP_ALIVE_S = 15;

/** How much silence is borne. */
export interface Patience {
	readonly silenceMs: number;
	isMigrating: boolean;
}

const secondsOf = (ms: number): number => Math.round(ms / 100) / 10;
/** An error of a connection, with its code. */
const trouble = (code: string, message: string): Error => Object.assign(new Error(message), { code });

/**
 * The socket of a connection. It ends with an error where postgres.js would go on waiting: when who answers is no PostgreSQL, when TLS is
 * refused, and when the other side has died without a word.
 */
class Line extends Socket {
	readonly host: string;
	readonly port: number;
	readonly #mustEncrypt: boolean;
	readonly #onLost: () => void;
	#hasAnswered = false;
	#stopWatching = (): void => {};

	/** @param patience null: any silence is borne */
	constructor({ host, port, path, ssl }: postgres.ParsedOptions<never>, patience: Patience | null, onLost: () => void) {
		super();
		this.host = host[0]!;
		this.port = port[0]!;
		this.#mustEncrypt = ssl !== false && ssl !== "prefer";
		this.#onLost = onLost;
		if (patience !== null) this.#watch(patience);
		if (path) this.connect(path);
		else this.connect(this.port, this.host);
	}
	get where(): string {
		return `${this.host}:${this.port}`;
	}

	#watch(patience: Patience): void {
		let heard = 0;
		let heardAt = performance.now();
		const look = setInterval(() => {
			// What was asked anew may take its time anew.
			const passed = this.bytesRead + this.bytesWritten;
			if (passed !== heard) {
				heard = passed;
				heardAt = performance.now();
			}
			const silentMs = performance.now() - heardAt;
			if (silentMs >= (patience.isMigrating ? MIGRATION_SILENCE_MS : patience.silenceMs))
				this.destroy(trouble("ETIMEDOUT", `the database at ${this.where} has not answered for ${secondsOf(silentMs)} s`));
		}, patience.silenceMs / 10).unref();
		this.#stopWatching = () => clearInterval(look);
	}
	override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
		this.#stopWatching();
		this.#onLost();
		super._destroy(error, callback);
	}

	// postgres.js takes all listeners off when TLS begins, so what must not be missed is seen here.
	override emit(event: string | symbol, ...args: unknown[]): boolean {
		if (event === "data" && !this.#hasAnswered) {
			this.#hasAnswered = true;
			// S and N answer the question for TLS, R asks for a password, E is an error, v another version of the protocol.
			const answer = String.fromCharCode((args[0] as Buffer)[0]!);
			const refusal = !"SNREv".includes(answer)
				? trouble("NOT_POSTGRES", `what answers at ${this.where} is no PostgreSQL`)
				: answer === "N" && this.#mustEncrypt
					? trouble("TLS_REFUSED", `the database at ${this.where} does not offer TLS, which sslmode asks for`)
					: null;
			if (refusal !== null) {
				this.destroy(refusal);
				return true;
			}
		}
		return super.emit(event, ...args);
	}
}

interface Connection {
	readonly sql: postgres.Sql;
	isReady: boolean;
	isLost: boolean;
}

/** A connection that is made with its first statement, and not made anew when it is lost: a transaction never goes on in another. */
export function connectOnce({ url, ssl, prepare }: Address, patience: Patience | null, onLost: () => void = () => {}): Connection {
	let line: Line | undefined;
	const socket = (options: postgres.ParsedOptions<never>): Line => {
		if (line !== undefined) throw trouble("CONNECTION_CLOSED", `the database at ${line.where} closed the connection`);
		line = new Line(options, patience, () => {
			connection.isLost = true;
			onLost();
		});
		return line;
	};
	const options = {
		// Of an IPv6 address postgres.js reads the first part as the host.
		...(url.hostname.startsWith("[") ? ({ host: [hostOf(url)], port: [Number(url.port || 5432)] } as object) : {}),
		max: 1,
		prepare,
		...(ssl === undefined ? {} : { ssl }),
		fetch_types: false,
		connect_timeout: CONNECT_TIMEOUT_S,
		idle_timeout: patience === null ? undefined : (patience.silenceMs * IDLE_SHARE) / 1000,
		max_lifetime: null,
		keep_alive: KEEP_ALIVE_S,
		onnotice: () => {},
		// It tells its parameters to whom it lets in.
		onparameter() {
			connection.isReady = true;
		},
		connection: { application_name: "tickq" },
		types: { bigint: { to: 20, from: [20], serialize: String, parse: Number } },
		socket,
	};
	const connection: Connection = { sql: postgres(url.href, options) as unknown as postgres.Sql, isReady: false, isLost: false };
	return connection;
}

/** Wait before the server is called again, after so many times in vain. */
const backoffMs = (vain: number, most: number): number => (0.5 + Math.random() / 2) * Math.min(20 * 2 ** vain, most);
const BACKOFF_MS_MAX = 2000;
const LISTEN_BACKOFF_MS_MAX = 5000;

/** The server has no connection left. */
const TOO_MANY = "53300";
const TOO_MANY_PAUSE_MS = 50;
const TOO_MANY_PAUSE_MS_MAX = 1000;

interface Waiting {
	readonly go: () => void;
	readonly fail: (error: unknown) => void;
}

/** At most `size` connections, each with one statement or transaction at a time. */
export class Pool implements PostgresHandle {
	readonly #connect: () => Connection;
	readonly #size: number;
	readonly #turnMs: number;
	readonly #all = new Set<Connection>();
	readonly #idle: Connection[] = [];
	readonly #waiting = new Set<Waiting>();
	/** What ends with it. */
	readonly endings = new Set<() => void>();
	#busy = 0;
	#vain = 0;
	#notBefore = 0;
	#hasEnded = false;

	constructor(address: Address, patience: Patience) {
		this.#size = address.pool;
		this.#turnMs = patience.silenceMs * TURN_SHARE;
		this.#connect = () => connectOnce(address, patience);
	}

	unsafe(text: string, params: Param[] = [], options: { prepare?: boolean } = {}): Promise<Row[]> {
		return this.#through(async ({ sql }) => sql.unsafe(text, params, options));
	}
	async begin<T>(work: (transaction: PostgresTransaction) => Promise<T>): Promise<T> {
		const ended = await this.#through(async connection => {
			const { sql } = connection;
			await sql.unsafe("begin");
			try {
				const value = await work({ unsafe: (text, params = [], options = {}) => sql.unsafe(text, params, options) });
				await sql.unsafe("commit");
				return { value };
			} catch (error) {
				await sql.unsafe("rollback").catch(() => {
					connection.isLost = true;
				});
				return { error };
			}
		});
		if ("error" in ended) throw ended.error;
		return ended.value;
	}
	async end(options: { timeout?: number } = {}): Promise<void> {
		this.#hasEnded = true;
		for (const end of this.endings) end();
		for (const { fail } of this.#waiting) fail(trouble("CONNECTION_ENDED", "the store is closed"));
		await Promise.all([...this.#all].map(({ sql }) => sql.end(options)));
	}

	/** Sends when a connection is free. */
	async #through<T>(send: (connection: Connection) => Promise<T>): Promise<T> {
		if (this.#hasEnded) throw trouble("CONNECTION_ENDED", "the store is closed");
		if (this.#busy < this.#size) this.#busy++;
		else await this.#turn();
		try {
			return await this.#send(send);
		} finally {
			const [next] = this.#waiting;
			if (next === undefined) this.#busy--;
			else next.go();
		}
	}
	/** Resolves when another's turn is over. */
	#turn(): Promise<void> {
		return new Promise((resolve, reject) => {
			const leave = (): void => {
				clearTimeout(timer);
				this.#waiting.delete(waiting);
			};
			const waiting: Waiting = {
				go() {
					leave();
					resolve();
				},
				fail(error) {
					leave();
					reject(error);
				},
			};
			const tooLong = () =>
				trouble("POOL_EXHAUSTED", `all ${this.#size} connections of the pool have been busy for ${secondsOf(this.#turnMs)} s`);
			const timer = setTimeout(() => waiting.fail(tooLong()), this.#turnMs);
			this.#waiting.add(waiting);
		});
	}
	async #send<T>(send: (connection: Connection) => Promise<T>): Promise<T> {
		const giveUpAt = performance.now() + this.#turnMs;
		for (let pauseMs = TOO_MANY_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, TOO_MANY_PAUSE_MS_MAX)) {
			const vain = this.#vain;
			const connection = await this.#take();
			try {
				const answer = await send(connection);
				this.#vain = 0;
				return answer;
			} catch (error) {
				// After any other error, a connection is not what it was.
				if ((error as { severity?: string }).severity !== "ERROR") connection.isLost = true;
				const isFull = codeOf(error) === TOO_MANY;
				if (!connection.isReady) {
					// Of calls that were made together, one counts.
					if (vain === this.#vain) this.#notBefore = performance.now() + backoffMs(++this.#vain, BACKOFF_MS_MAX);
					if (!isFull) for (const { fail } of this.#waiting) fail(error);
				}
				// A server that is full has done nothing, and of ours one is free, or becomes so.
				const mayHaveOne = this.#idle.length > 0 || this.#busy > 1;
				if (!isFull || !mayHaveOne || performance.now() > giveUpAt) throw error;
			} finally {
				if (connection.isLost) this.#retire(connection);
				else this.#idle.push(connection);
			}
			await sleep(pauseMs);
		}
	}
	/** The connection that was used last, else a new one. */
	async #take(): Promise<Connection> {
		for (let connection = this.#idle.pop(); connection !== undefined; connection = this.#idle.pop()) {
			if (!connection.isLost) return connection;
			this.#retire(connection);
		}
		const pauseMs = this.#notBefore - performance.now();
		if (pauseMs > 0) await sleep(pauseMs);
		const connection = this.#connect();
		this.#all.add(connection);
		return connection;
	}
	#retire(connection: Connection): void {
		this.#all.delete(connection);
		connection.sql.end({ timeout: 0 }).catch(() => {});
	}
}

/** Calls back with what is said on a channel, and with null when something may have been missed. Answers how to stop. */
export function listen(connect: (onLost: () => void) => Connection, channel: string, heard: (said: string | null) => void): () => void {
	let hasStopped = false;
	let hasListened = false;
	let vain = 0;
	let timer: NodeJS.Timeout | undefined;
	let close = (): void => {};
	const start = async (): Promise<void> => {
		timer = undefined;
		const again = (): void => {
			if (hasStopped || timer !== undefined) return;
			close();
			timer = setTimeout(() => void start(), backoffMs(++vain, LISTEN_BACKOFF_MS_MAX));
		};
		const { sql } = connect(again);
		close = () => void sql.end({ timeout: 0 }).catch(() => {});
		try {
			await sql.listen(channel, heard);
			vain = 0;
			if (hasListened) heard(null);
			hasListened = true;
		} catch {
			again();
		}
	};
	void start();
	return () => {
		hasStopped = true;
		clearTimeout(timer);
		close();
	};
}
