/** Whether a claim costs the same whatever else lies in the store: two stores at a time, asked in turn. */
import type { Claimed } from "../lib/storage/storage.ts";
import { fill, type Group } from "./fill.ts";
import { type Bench, type Measure, median, ms, number, type Row, ratios } from "./measure.ts";
import { type BenchQueue, mustAddUp, noopTasks, openQueue } from "./queue.ts";

const ASKED = ["mail", "image", "report"];
const OTHERS = ["other_a", "other_b", "other_c"];

export const claim: Measure = {
	about:
		"one claim (promotion, choice, lease, counters, commit; synchronous=NORMAL, so that the disk's sync hides nothing) in a full store against the same claim without what fills it; 100 tenants × 3 tasks have jobs ready in both",
	async run(bench) {
		const many = bench.quick ? 100_000 : 1_000_000;
		const ready: Group = { prefix: "tenant-", tenants: 100, tasks: ASKED, jobs: 10_000, states: ["ready"] };
		const small = await open(bench, "small", [ready]);
		const rows: Row[] = [];
		const against = async (what: string, groups: readonly Group[], base: BenchQueue | readonly Group[] = small): Promise<void> => {
			const full = await open(bench, "full", groups);
			const other = Array.isArray(base) ? await open(bench, "base", base) : (base as BenchQueue);
			for (const limit of [1, 100]) rows.push(await compare(bench, `claim(${limit}): ${what}`, limit, full, other));
			await full.discard();
			if (other !== small) await other.discard();
		};
		await against(`${number(many)} ready / 10,000`, [{ ...ready, jobs: many }]);
		await against("10,000 tenants at their limit / none", [
			{
				prefix: "full-",
				tenants: 10_000,
				tasks: [ASKED[0]!],
				jobs: 60_000,
				states: ["running", "ready", "ready", "ready", "ready", "ready"],
				concurrency: 1,
			},
			ready,
		]);
		await against(`${number(many)} delayed / none`, [{ ...ready, jobs: many, states: ["delayed"] }, ready]);
		await against(`${number(many)} done / none`, [{ ...ready, jobs: many, states: ["done"] }, ready]);
		await against(
			`${number(many * 0.9)} of tasks not asked for, half of them of 10,000 more tenants / none`,
			[
				{ ...ready, jobs: many / 10 },
				{ ...ready, jobs: many * 0.45, tasks: OTHERS },
				{ ...ready, jobs: many * 0.45, tasks: OTHERS, prefix: "other-", tenants: 10_000 },
			],
			[{ ...ready, jobs: many / 10 }],
		);
		await small.discard();
		return rows;
	},
};

let stores = 0;
async function open(bench: Bench, name: string, groups: readonly Group[]): Promise<BenchQueue> {
	const queue = await openQueue(bench.file(`claim-${name}-${stores++}.db`), noopTasks([...ASKED, ...OTHERS]));
	fill(queue.database, groups, queue.deps.clock.now());
	await mustAddUp(queue.storage);
	queue.database.pragma("synchronous = NORMAL");
	return queue;
}

async function compare(bench: Bench, what: string, limit: number, full: BenchQueue, other: BenchQueue): Promise<Row> {
	const blocks = 5;
	const pairs = (bench.quick ? 40 : 80) / (limit === 1 ? 1 : 2);
	const medians = { full: [] as number[], other: [] as number[] };
	await time(full, limit);
	await time(other, limit);
	for (let block = 0; block < blocks; block++) {
		const times = { full: [] as number[], other: [] as number[] };
		for (let i = 0; i < pairs; i++)
			for (const side of i % 2 === 0 ? (["full", "other"] as const) : (["other", "full"] as const))
				times[side].push(await time(side === "full" ? full : other, limit));
		medians.full.push(median(times.full));
		medians.other.push(median(times.other));
	}
	return {
		what,
		tickq: ms(medians.full),
		against: ms(medians.other),
		values: ratios(medians.full, medians.other),
		unit: "×",
		must: { atMost: 2 },
		goal: { atMost: 1.2 },
	};
}

/** One claim, in milliseconds. What it took is given back, so that the next finds the same. */
async function time({ storage, deps }: BenchQueue, limit: number): Promise<number> {
	const request = { tasks: ASKED, limit, leaseMs: deps.config.leaseMs, token: deps.random.token(), worker: deps.worker };
	const nowMs = deps.clock.now();
	const startedAt = performance.now();
	const jobs: Claimed[] = await storage.worker.claimDueJobs(request, nowMs);
	const took = performance.now() - startedAt;
	if (jobs.length !== limit) throw new Error(`a claim of ${limit} took ${jobs.length}`);
	const released = await storage.worker.finishIfLeased(
		jobs.map(({ id, token }) => ({ id, token, outcome: "release" })),
		nowMs,
	);
	if (released.length !== limit) throw new Error(`${released.length} of ${limit} jobs could be given back`);
	return took;
}
