/** Whether looking costs the same whatever lies in the store: first pages and metrics, through the functions. */
import { functions } from "../functions/all.ts";
import type { OperationName } from "../lib/contract.ts";
import type { State } from "../lib/job.ts";
import { fill, type Group } from "./fill.ts";
import { type Bench, type Measure, median, ms, number, type Row, ratios } from "./measure.ts";
import { type BenchQueue, mustAddUp, noopTasks, openQueue } from "./queue.ts";

const TASKS = ["mail", "image"];
const STATES: readonly State[] = ["done", "ready", "done", "failed", "done", "delayed", "done", "dead", "done", "cancelled"];

interface Look {
	readonly what: string;
	readonly operation: OperationName;
	readonly path: string;
	/** "*" is all of them. */
	readonly tenant: string;
}
const TENANT = "tenant-7";
const LOOKS: readonly Look[] = [
	{ what: "list", operation: "listJobs", path: "/api/jobs", tenant: TENANT },
	{ what: "list ?task", operation: "listJobs", path: "/api/jobs?task=mail", tenant: TENANT },
	{ what: "list ?status=done", operation: "listJobs", path: "/api/jobs?status=done", tenant: TENANT },
	{ what: "list ?status=failed&limit=10", operation: "listJobs", path: "/api/jobs?status=failed&limit=10", tenant: TENANT },
	{ what: "list ?status=pending&limit=20", operation: "listJobs", path: "/api/jobs?status=pending&limit=20", tenant: TENANT },
	{ what: "list of all tenants", operation: "listJobs", path: "/api/jobs", tenant: "*" },
	{ what: "list of all tenants ?status=failed", operation: "listJobs", path: "/api/jobs?status=failed", tenant: "*" },
	{ what: "metrics of a tenant", operation: "metrics", path: "/api/metrics", tenant: TENANT },
	{ what: "metrics", operation: "metrics", path: "/api/metrics", tenant: "*" },
];

export const list: Measure = {
	about:
		"the first page of a list and the metrics, function called with a Request, in a large store against a small one; every page is as full in both",
	async run(bench) {
		const many = bench.quick ? 100_000 : 1_000_000;
		const group = (tenants: number, jobs: number): Group => ({ prefix: "tenant-", tenants, tasks: TASKS, jobs, states: STATES });
		const small = await open(bench, "small", group(10, 1_000));
		const large = await open(bench, "large", group(10, many));
		const wide = await open(bench, "wide", group(many / 100, many));
		const rows: Row[] = [];
		for (const look of LOOKS) rows.push(await compare(bench, look, `${number(many)} jobs / 1,000`, large, small));
		for (const look of LOOKS) rows.push(await compare(bench, look, `${number(many / 100)} tenants / 10`, wide, large));
		for (const queue of [small, large, wide]) await queue.discard();
		return rows;
	},
};

async function open(bench: Bench, name: string, group: Group): Promise<BenchQueue> {
	const queue = await openQueue(bench.file(`list-${name}.db`), noopTasks(TASKS));
	fill(queue.database, [group], queue.deps.clock.now());
	await mustAddUp(queue.storage);
	return queue;
}

async function compare(bench: Bench, look: Look, what: string, large: BenchQueue, small: BenchQueue): Promise<Row> {
	const blocks = 5;
	const pairs = bench.quick ? 40 : 100;
	const medians = { large: [] as number[], small: [] as number[] };
	const counts = [await jobsIn(look, large), await jobsIn(look, small)];
	if (counts[0] !== counts[1]) throw new Error(`${look.what}: ${counts.join(" and ")} jobs on the page`);
	for (let block = 0; block < blocks; block++) {
		const times = { large: [] as number[], small: [] as number[] };
		for (let i = 0; i < pairs; i++)
			for (const side of i % 2 === 0 ? (["large", "small"] as const) : (["small", "large"] as const)) {
				const { deps } = side === "large" ? large : small;
				const startedAt = performance.now();
				await answer(look, deps);
				times[side].push(performance.now() - startedAt);
			}
		medians.large.push(median(times.large));
		medians.small.push(median(times.small));
	}
	return {
		what: `${look.what}: ${what}`,
		tickq: ms(medians.large),
		against: ms(medians.small),
		values: ratios(medians.large, medians.small),
		unit: "×",
		must: { atMost: 1.5 },
		goal: { atMost: 1.1 },
	};
}

async function answer({ operation, path, tenant }: Look, deps: BenchQueue["deps"]): Promise<string> {
	const response = await functions[operation](new Request(`http://localhost${path}`, { headers: { "x-tenant-id": tenant } }), deps);
	if (response.status !== 200) throw new Error(`${path} was answered with ${response.status}: ${await response.text()}`);
	return response.text();
}
const jobsIn = async (look: Look, { deps }: BenchQueue): Promise<unknown> => JSON.parse(await answer(look, deps)).count;
