/** The PostgreSQL that is measured: DATABASE_URL, or one of its own that keeps what it has committed, as one in use does. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chownSync, mkdirSync, statSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import postgres from "postgres";
import { startPostgres } from "../test/support/postgresServer.ts";
import type { Bench } from "./measure.ts";

export interface MeasuredServer {
	/** The superuser's or owner's address. */
	readonly url: string;
	/** A connection for what is not measured: filling, vacuuming, looking. */
	readonly admin: postgres.Sql;
	/** Deadlocks since the statistics began. */
	deadlocks(): Promise<number>;
	stop(): Promise<void>;
}

/** Not an advice how to run PostgreSQL: no checkpoint of its own falls into a measure, and all that is measured fits into memory. */
const SETTINGS = {
	listen_addresses: "127.0.0.1",
	unix_socket_directories: "",
	max_connections: "200",
	shared_buffers: "1GB",
	max_wal_size: "8GB",
	min_wal_size: "1GB",
	checkpoint_timeout: "1h",
	fsync: "on",
	synchronous_commit: "on",
	full_page_writes: "on",
};
/** What a figure depends on most. */
const TOLD = ["fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers", "max_wal_size", "autovacuum"];

const open = (url: string): postgres.Sql => postgres(url, { max: 1, onnotice: () => {}, connection: { application_name: "bench" } });

export async function measuredServer(bench: Bench): Promise<MeasuredServer> {
	const { url, stop } = await (process.env.DATABASE_URL ? { url: process.env.DATABASE_URL, stop: async () => {} } : ownServer(bench));
	const admin = open(url);
	return {
		url,
		admin,
		async deadlocks() {
			const [row] = await admin`SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()`;
			return row!.deadlocks;
		},
		async stop() {
			await admin.end({ timeout: 5 });
			await stop();
		},
	};
}

/**
 * The server of the tests is made to be quick and not to last: `fsync` is off on its command line, where nothing can set it again. So its
 * programs and its folder are used for another one, and it ends.
 */
async function ownServer(bench: Bench): Promise<{ url: string; stop(): Promise<void> }> {
	const host = await startPostgres();
	const sql = open(host.url);
	const [found] = await sql`SELECT current_setting('data_directory') AS data, (SELECT setting FROM pg_config WHERE name = 'BINDIR') AS bin`;
	await sql.end();
	await host.stopNow();
	const { data, bin } = found as unknown as { data: string; bin: string };
	const { uid, gid } = statSync(data);
	const account = process.getuid?.() === 0 ? { uid, gid } : {};
	const folder = join(dirname(data), "measured");
	mkdirSync(folder, { mode: 0o700 });
	chownSync(folder, uid, gid);
	const options = { ...account, cwd: dirname(data), env: { ...process.env, LC_ALL: "C", TZ: "UTC" } };
	const made = spawnSync(join(bin, "initdb"), ["--locale=C", "--encoding=UTF8", "--username=postgres", "--auth=trust", "-D", folder], {
		...options,
		encoding: "utf8",
	});
	if (made.status !== 0) throw new Error(`initdb failed:\n${made.stderr}`);

	const { port } = new URL(host.url);
	const settings = Object.entries(SETTINGS).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
	const child: ChildProcess = spawn(join(bin, "postgres"), ["-D", folder, "-p", port, ...settings], {
		...options,
		stdio: ["ignore", "ignore", "pipe"],
	});
	bench.atEnd(() => void child.kill("SIGQUIT"));
	let log = "";
	await new Promise<void>((resolve, reject) => {
		child.stderr!.on("data", chunk => {
			log = (log + chunk).slice(-4000);
			if (log.includes("ready to accept connections")) resolve();
		});
		child.once("close", () => reject(new Error(`PostgreSQL did not start:\n${log}`)));
	});
	return {
		url: `postgres://postgres@127.0.0.1:${port}/postgres`,
		async stop() {
			if (child.exitCode === null) {
				const gone = once(child, "close");
				child.kill("SIGINT");
				await gone;
			}
			await host.stop();
		},
	};
}

/** What the figures of this server were measured on, line by line; `more` is what the rows add. */
export async function serverConditions({ admin }: MeasuredServer, more: readonly (readonly [string, string])[]): Promise<string> {
	const [server] = await admin`SELECT current_setting('server_version') AS version`;
	const rows = await admin`SELECT name, current_setting(name) AS value FROM unnest(${TOLD}::text[]) n(name)`;
	return [
		[
			"postgres",
			`${server!.version}, ${process.env.DATABASE_URL ? "as DATABASE_URL has it" : "of the tests' package, data in the system's scratch folder"}`,
		],
		["", rows.map(({ name, value }) => `${name}=${value}`).join(", ")],
		["", `server, clients and load share ${cpus().length} cores; over TCP on 127.0.0.1`],
		...more,
	]
		.map(([name, text]) => `${name!.padEnd(9)} ${text}`)
		.join("\n");
}
