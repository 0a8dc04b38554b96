/** How soon the emulator answers, and how much memory it holds: started as a user starts it. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { loadTasks } from "../emulator/loadTasks.ts";
import { fill } from "./fill.ts";
import { type Bench, type Measure, number, type Row } from "./measure.ts";
import { openQueue } from "./queue.ts";

const PROJECT = fileURLToPath(new URL("..", import.meta.url));
const IDLE_MS = 3000;

export const start: Measure = {
	about: "npm run emulate: from the command to the first answer of /health, and the resident memory of its process",
	async run(bench) {
		const rows: Row[] = [];
		const first = await answeredAfter(bench, "start.db", { NODE_COMPILE_CACHE: bench.file("compile-cache") });
		await answeredAfter(bench, "start.db");
		const times: number[] = [];
		for (let i = 0; i < (bench.quick ? 3 : 7); i++) times.push(await answeredAfter(bench, "start.db"));
		rows.push({ what: "to the first answer", values: times, unit: "s", must: { atMost: 1 }, goal: { atMost: 0.5 } });
		rows.push({ what: "  the very first time, when nothing is compiled", values: [first], unit: "s" });

		const many = bench.quick ? 100_000 : 1_000_000;
		const tasks = await loadTasks();
		const { database, storage, deps } = await openQueue(bench.file("start-full.db"), tasks);
		const group = { prefix: "tenant-", tenants: 100, tasks: Object.keys(tasks), jobs: many };
		fill(database, [{ ...group, states: ["done", "done", "done", "done", "done", "done", "failed", "dead"] }], deps.clock.now());
		await storage.close();
		const idle: number[] = [];
		const full: number[] = [];
		for (let i = 0; i < (bench.quick ? 1 : 3); i++) {
			idle.push(await memory(bench, "start.db"));
			full.push(await memory(bench, "start-full.db"));
		}
		if (idle.some(Number.isNaN)) bench.say("resident memory is not measured: this system has no /proc");
		else {
			rows.push({ what: `memory, idle for ${IDLE_MS / 1000} s`, values: idle, unit: "MB", must: { atMost: 120 } });
			rows.push({
				what: `memory, ${number(many)} jobs in the file, after lists and metrics`,
				values: full,
				unit: "MB",
				must: { atMost: 160 },
			});
		}
		return rows;
	},
};

interface Emulator {
	readonly url: string;
	readonly npm: ChildProcess;
	stop(): Promise<void>;
}

/** On POSIX it is the leader of a process group, so that npm, its shell and the emulator end together. */
const OWN_GROUP = process.platform !== "win32";

async function emulate(bench: Bench, file: string, env: Record<string, string> = {}): Promise<Emulator> {
	const args = ["run", "emulate", "--", "--port", "0", "--database", bench.file(file), "--log-format", "json"];
	const npm = spawn("npm", args, {
		cwd: PROJECT,
		env: { ...process.env, ...env },
		stdio: ["ignore", "pipe", "inherit"],
		detached: OWN_GROUP,
		shell: !OWN_GROUP,
	});
	let isGone = false;
	const gone = new Promise<void>(resolve => {
		npm.once("close", () => {
			isGone = true;
			resolve();
		});
	});
	const kill = (): void => {
		if (isGone) return;
		try {
			if (OWN_GROUP) process.kill(-npm.pid!, "SIGTERM");
			else npm.kill();
		} catch {
			// It has ended.
		}
	};
	bench.atEnd(kill);
	const url = await new Promise<string>((resolve, reject) => {
		createInterface({ input: npm.stdout! }).on("line", line => {
			const found = line.startsWith("{") ? (JSON.parse(line) as { url?: string }).url : undefined;
			if (found !== undefined) resolve(found);
		});
		void gone.then(() => reject(new Error("the emulator ended before it listened")));
	});
	return {
		url,
		npm,
		async stop() {
			kill();
			await gone;
		},
	};
}

async function get(url: string, tenant?: string): Promise<string> {
	const response = await fetch(url, { headers: tenant === undefined ? {} : { "x-tenant-id": tenant } });
	if (!response.ok) throw new Error(`${url} was answered with ${response.status}`);
	return response.text();
}

/** Seconds from the command to the first answer. */
async function answeredAfter(bench: Bench, file: string, env?: Record<string, string>): Promise<number> {
	const startedAt = performance.now();
	const emulator = await emulate(bench, file, env);
	await get(`${emulator.url}/health`);
	const seconds = (performance.now() - startedAt) / 1000;
	await emulator.stop();
	return seconds;
}

/** Resident memory of the emulator, in 1,000,000 bytes; NaN where the system does not tell. */
async function memory(bench: Bench, file: string): Promise<number> {
	const emulator = await emulate(bench, file);
	await sleep(IDLE_MS);
	if (file !== "start.db") {
		for (const path of ["/api/jobs", "/api/jobs?status=failed", "/api/jobs?status=done&task=echo", "/api/metrics"])
			for (const tenant of ["*", "tenant-7", "tenant-42"]) await get(emulator.url + path, tenant);
		await sleep(200);
	}
	const bytes = residentBytes(emulator.npm.pid!);
	await emulator.stop();
	return bytes / 1e6;
}

/** Of the process itself, which npm and its shell started: the last of the line. */
function residentBytes(pid: number): number {
	try {
		const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
		if (children !== "") return residentBytes(Number(children.split(" ").at(-1)));
		return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
	} catch {
		return Number.NaN;
	}
}
