/** What scaling the threads by the load is worth: bursts of jobs, against as many threads as the least, and as the most, all the time. */
import { setTimeout as sleep } from "node:timers/promises";
import { startLoop } from "../emulator/loop.ts";
import { createScaledPool } from "../emulator/pool/scaler.ts";
import { tasksToRun } from "../lib/tick.ts";
import { type Bench, type Measure, number, quantile, type Row } from "./measure.ts";
import { insert, poolOptions } from "./pool.ts";
import { tasks } from "./poolTasks.ts";
import { openQueue } from "./queue.ts";

const MIN = 2;
const MAX = 10;
const BURST_EVERY_MS = 20_000;
const BURST_JOBS = 600;
const TRICKLE_EVERY_MS = 200;
const JOB_MS = 100;

export const autoscale: Measure = {
	about: `bursty load: ${BURST_JOBS} jobs of ${JOB_MS} ms at once every ${BURST_EVERY_MS / 1000} s, one every ${TRICKLE_EVERY_MS} ms between; 5 jobs a thread; ${MIN} to ${MAX} threads against ${MIN} and ${MAX} all the time`,
	async run(bench) {
		const scaled = await underLoad(bench, MIN, MAX);
		const few = await underLoad(bench, MIN, MIN);
		const many = await underLoad(bench, MAX, MAX);
		const beside = (text: (side: Side) => string): Pick<Row, "tickq" | "against"> => ({
			tickq: text(scaled),
			against: `${MIN}: ${text(few)} · ${MAX}: ${text(many)}`,
		});
		const wait = (q: number): Row => ({
			what: `wait until the first line of run(), p${q * 100} of ${number(scaled.waits.length)}`,
			...beside(({ waits }) => `${number(quantile(waits, q))} ms`),
			values: [quantile(scaled.waits, q)],
			unit: "ms",
		});
		return [
			wait(0.5),
			wait(0.95),
			{ what: "thread-seconds", ...beside(({ threadSeconds }) => `${number(threadSeconds)} s`), values: [scaled.threadSeconds], unit: "s" },
			{ what: "changes of the number of threads", values: [scaled.changes], unit: "×" },
		];
	},
};

interface Side {
	readonly waits: readonly number[];
	readonly threadSeconds: number;
	readonly changes: number;
}

async function underLoad(bench: Bench, workersMin: number, workersMax: number): Promise<Side> {
	const queue = await openQueue(bench.file(`autoscale-${workersMin}-${workersMax}.db`), tasks, {
		workersMin,
		workersMax,
		tenantConcurrency: 1000,
	});
	const { storage, deps, tickDeps } = queue;
	const workers = createScaledPool({
		...poolOptions(queue),
		pending: most => storage.operator.runnable(tasksToRun(deps), most, deps.clock.now()),
	});
	const { pool } = workers;
	const waits: number[] = [];
	let left = 0;
	const execute: typeof pool.execute = job => {
		const attempt = pool.execute(job);
		void attempt.ending.then(ending => {
			if (ending?.outcome !== "done") throw new Error("a job was not done");
			waits.push(JSON.parse(ending.result) - job.runAt);
			left--;
		});
		return attempt;
	};
	const loop = startLoop(() => ({ ...tickDeps, execute }), { backstop: "*/5 * * * * *" });
	const submit = async (jobs: number): Promise<void> => {
		left += jobs;
		await Promise.all(Array.from({ length: jobs }, (_, i) => insert(queue, "wait", String(JOB_MS), `tenant-${i % 20}`)));
		deps.wake.ring();
	};

	const startedAt = performance.now();
	const endsAt = startedAt + (bench.quick ? 1 : 3) * BURST_EVERY_MS;
	let threadMs = 0;
	let seenAt = startedAt;
	let burstAt = startedAt + 1000;
	for (let now = startedAt; now < endsAt; now = performance.now()) {
		threadMs += pool.running * (now - seenAt);
		seenAt = now;
		await submit(now >= burstAt ? BURST_JOBS : 1);
		if (now >= burstAt) burstAt += BURST_EVERY_MS;
		await sleep(TRICKLE_EVERY_MS);
	}
	while (left > 0) await sleep(TRICKLE_EVERY_MS);
	await loop.stop();
	await workers.close();
	await queue.close();
	return { waits, threadSeconds: threadMs / 1000, changes: pool.scaled.length };
}
