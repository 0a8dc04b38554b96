/**
 * One of several processes on one file. `open` opens it and says what it found. `hot` and `endless` say "ready", wait for a line, submit,
 * claim and finish as fast as they can, and say at the end what they did. Arguments: mode, file, its name, number of rounds.
 */
import { once } from "node:events";
import { openStorage } from "../../emulator/openStorage.ts";
import { DEFAULTS, Desk, DONE, retryIn, TASKS } from "./desk.ts";

const [mode, file, name, rounds] = process.argv.slice(2) as [string, string, string, string];
const { storage, migrated } = await openStorage(file, DEFAULTS, TASKS);

if (mode === "open") {
	await storage.operator.ping();
	await new Desk(storage).submit({ tenant: name });
	console.log(JSON.stringify({ migrated: migrated.length, verify: await storage.operator.verify() }));
} else {
	const q = new Desk(storage);
	console.log("ready");
	await once(process.stdin, "data");
	process.stdin.destroy();
	const startedAt = performance.now();
	// Tokens and tails of two processes are never the same.
	const offset = name === "one" ? 0 : 500_000_000;
	const finished: number[] = [];
	const waits: number[] = [];
	for (let i = 0; i < Number(rounds); i++) {
		q.now += 1;
		const before = performance.now();
		await q.fill(5, n => ({ tenant: `t${n % 3}`, task: TASKS[n % 3]!, ...(n === 0 ? { key: "k" } : {}), tail: offset + q.draw() }));
		const jobs = await storage.worker.claimDueJobs({ ...q.request({ limit: 8, worker: name }), token: offset + 1 + q.draw() }, q.now);
		const moved = await q.finish(jobs.slice(i % 4 === 0 ? 1 : 0), DONE);
		if (i % 4 === 0) await q.finish(jobs.slice(0, 1), retryIn(1));
		finished.push(...moved.map(job => job.id));
		waits.push(performance.now() - before);
		// For whoever wants to kill this process in the middle.
		if (mode === "endless" && i === 20) console.log("under way");
	}
	console.log(JSON.stringify({ finished, ms: performance.now() - startedAt, longestMs: Math.max(...waits) }));
}
await storage.close();
