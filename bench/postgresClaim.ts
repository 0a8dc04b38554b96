/** Whether a claim costs the same whatever else lies in the store: two schemas at a time, asked in turn. */
import type { Storage } from "../lib/storage/storage.ts";
import type { Group } from "./fill.ts";
import { type Bench, median, ms, number, type Row, ratios } from "./measure.ts";
import { fillPostgres } from "./postgresFill.ts";
import { dropSchema, freshName, openUnsynced } from "./postgresQueue.ts";
import type { MeasuredServer } from "./postgresServer.ts";
import { mustAddUp } from "./queue.ts";

const ASKED = ["mail", "image", "report"];
const OTHERS = ["other_a", "other_b", "other_c"];
const LIMIT = 100;

interface Filled {
	readonly schema: string;
	readonly storage: Storage;
}

export async function claimRows(bench: Bench, server: MeasuredServer): Promise<Row[]> {
	const { url, admin } = server;
	const many = bench.quick ? 40_000 : 1_000_000;
	const open = async (groups: readonly Group[]): Promise<Filled> => {
		const schema = freshName("claim");
		const storage = await openUnsynced(url, schema, [...ASKED, ...OTHERS]);
		await fillPostgres(admin, schema, groups, Date.now());
		// A recount of a million takes seconds, and the small one is filled by the same statements.
		if (groups.reduce((sum, { jobs }) => sum + jobs, 0) <= 100_000) await mustAddUp(storage);
		return { schema, storage };
	};
	const close = async ({ schema, storage }: Filled): Promise<void> => {
		await storage.close();
		await dropSchema(admin, schema);
	};
	const rows: Row[] = [];
	const against = async (what: string, groups: readonly Group[], base: Filled): Promise<void> => {
		const full = await open(groups);
		rows.push(await compare(bench, `claim(${LIMIT}): ${what}`, full, base));
		await close(full);
	};
	const ready: Group = { prefix: "tenant-", tenants: 100, tasks: ASKED, jobs: 10_000, states: ["ready"] };
	const small = await open([ready]);
	await against(`${number(many)} ready / 10,000, over 100 tenants`, [{ ...ready, jobs: many }], small);
	await against(
		"10,000 tenants at their limit / none",
		[
			{
				prefix: "full-",
				tenants: 10_000,
				tasks: [ASKED[0]!],
				jobs: 60_000,
				states: ["running", "ready", "ready", "ready", "ready", "ready"],
				concurrency: 1,
			},
			ready,
		],
		small,
	);
	await against(`${number(many)} delayed / none`, [{ ...ready, jobs: many, states: ["delayed"] }, ready], small);
	await against(
		`90 % of ${number(many)} of tasks not asked for, half of them of 10,000 more tenants / 10,000 without`,
		[
			{ ...ready, jobs: many / 10 },
			{ ...ready, jobs: many * 0.45, tasks: OTHERS },
			{ ...ready, jobs: many * 0.45, tasks: OTHERS, prefix: "other-", tenants: 10_000 },
		],
		small,
	);
	await close(small);
	const alone: Group = { ...ready, tenants: 1, concurrency: 1000 };
	const one = await open([alone]);
	await against(`${number(many)} ready / 10,000, of 1 tenant`, [{ ...alone, jobs: many }], one);
	await close(one);
	return rows;
}

async function compare(bench: Bench, what: string, full: Filled, other: Filled): Promise<Row> {
	const blocks = bench.quick ? 3 : 5;
	const pairs = bench.quick ? 10 : 25;
	const medians = { full: [] as number[], other: [] as number[] };
	// A connection plans its first calls anew each.
	for (let i = 0; i < 8; i++) for (const side of [full, other]) await time(side.storage);
	for (let block = 0; block < blocks; block++) {
		const times = { full: [] as number[], other: [] as number[] };
		for (let i = 0; i < pairs; i++)
			for (const side of i % 2 === 0 ? (["full", "other"] as const) : (["other", "full"] as const))
				times[side].push(await time((side === "full" ? full : other).storage));
		medians.full.push(median(times.full));
		medians.other.push(median(times.other));
	}
	bench.say(`  ${what}: ${ms(medians.full)} / ${ms(medians.other)}`);
	return {
		what,
		tickq: ms(medians.full),
		against: ms(medians.other),
		values: ratios(medians.full, medians.other),
		unit: "×",
		must: { atMost: 2 },
		goal: { atMost: 1.3 },
	};
}

let token = 1;
/** One claim, in milliseconds. What it took is given back, so that the next finds the same. */
async function time({ worker }: Storage): Promise<number> {
	const nowMs = Date.now();
	const startedAt = performance.now();
	const jobs = await worker.claimDueJobs({ tasks: ASKED, limit: LIMIT, leaseMs: 30_000, token: ++token, worker: "bench" }, nowMs);
	const took = performance.now() - startedAt;
	if (jobs.length !== LIMIT) throw new Error(`a claim of ${LIMIT} took ${jobs.length}`);
	const released = await worker.finishIfLeased(
		jobs.map(({ id, token }) => ({ id, token, outcome: "release" })),
		nowMs,
	);
	if (released.length !== LIMIT) throw new Error(`${released.length} of ${LIMIT} jobs could be given back`);
	return took;
}
