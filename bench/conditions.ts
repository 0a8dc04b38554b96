/** What the figures were measured on: without it they say nothing. */
import { closeSync, fdatasyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { type Bench, median, quantile } from "./measure.ts";

/** How long the disk takes to keep 4 KiB, in milliseconds. */
function syncCost(file: string): number[] {
	const handle = openSync(file, "w");
	const page = Buffer.alloc(4096, 1);
	const costs: number[] = [];
	for (let i = 0; i < 200; i++) {
		const start = performance.now();
		writeSync(handle, page);
		fdatasyncSync(handle);
		costs.push(performance.now() - start);
	}
	closeSync(handle);
	return costs;
}

/** Type of the file system that holds `folder`, where the system tells. */
function fileSystem(folder: string): string {
	try {
		const mounts = readFileSync("/proc/mounts", "utf8")
			.split("\n")
			.map(line => line.split(" "))
			.filter(([, at]) => at !== undefined && (folder === at || folder.startsWith(at === "/" ? "/" : `${at}/`)));
		return mounts.sort((a, b) => b[1]!.length - a[1]!.length)[0]?.[2] ?? "unknown";
	} catch {
		return "unknown";
	}
}

export function conditions(bench: Bench): string {
	const file = bench.file("sync");
	const costs = syncCost(file);
	const database = new Database(":memory:");
	const sqlite = database.prepare("SELECT sqlite_version()").pluck().get();
	database.close();
	const load = loadavg().map(value => value.toFixed(2));
	return [
		["date", new Date().toISOString()],
		[
			"machine",
			`${cpus()[0]?.model ?? "unknown CPU"}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, ${process.platform} ${process.arch}`,
		],
		["software", `Node ${process.versions.node}, SQLite ${sqlite}`],
		[
			"disk",
			`${fileSystem(dirname(file))}; writing 4 KiB and syncing takes ${median(costs).toFixed(2)} ms (median of ${costs.length}; p95 ${quantile(costs, 0.95).toFixed(2)} ms)`,
		],
		["load", `${load.join(" ")} (1, 5, 15 min) before the run`],
		["settings", "WAL, synchronous=FULL unless a row says NORMAL; batches of 100; every figure is the median of interleaved repeats"],
		...(bench.quick ? [["quick", "fewer repeats and smaller stores than a full run"]] : []),
	]
		.map(([name, text]) => `${name!.padEnd(9)} ${text}`)
		.join("\n");
}
