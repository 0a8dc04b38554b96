/**
 * The plans of the statements that every request or tick sends: none may walk what grows with the store. The statements are those that the
 * verbs really send, caught on their way; the triggers are read from the schema.
 */
import { describe, expect, it } from "vitest";
import { type OpenedStorage, openStorage } from "../../emulator/openStorage.ts";
import { CIRCUIT_PROBE_MS } from "../../lib/job.ts";
import type { ListQuery } from "../../lib/storage/storage.ts";
import { DAY, DEFAULTS, Desk, DONE, FAILED, LEASE_MS, LISTS, RELEASE, retryIn, T0, TASKS } from "./desk.ts";

/** Tables that grow. `queue` has one row; `tasks` as many as there is code for. */
const GROWING = ["jobs", "lanes", "turns", "tenants", "keys", "job_events", "job_tags", "schedules", "bulk_actions", "workers"];

/** Partial indexes that hold only what a sweep looks for, in its order: they are walked from their beginning. */
const SWEPT = [
	"jobs_running",
	"jobs_start_by",
	"jobs_expiry",
	"jobs_untold",
	"lanes_due",
	"lanes_reopen",
	"keys_expiry",
	"schedules_due",
	"bulk_actions_due",
	"workers_seen",
];

/** Statements for people that may walk more: what bounds it. */
const WALKS: Record<string, string> = {
	groups: "failed jobs and dead letters, 100,000 of them",
	tasks: "the workers that are there",
	"list schedules": "the schedules there are",
	"bulk start": "the bulk actions of a month",
	"bulk list": "a page, by its own order",
};

/** Where rows are sorted: what bounds their number. */
const SORTS: Record<string, string> = {
	claim: "the turns and tenants of one claim",
	"submit plain": "the rows of one turn",
	"submit keyed": "the rows of one turn",
	"finish done": "follow-ups of one call",
	retry: "the jobs of one call",
	list: "a page of each of a tenant's lanes",
	groups: "the groups",
	"list schedules": "the schedules there are",
	workers: "the workers of one page",
	tasks: "the tasks, and what workers serve",
	bulk: "the portion of each of a tenant's lanes",
	refuse: "the endings of one call",
	"list all": "the rows that one page looks at",
};

interface Caught {
	readonly verb: string;
	readonly sql: string;
	readonly params: object;
}

/** Hands on what is prepared, and keeps it with the verb that asked. */
function catchStatements({ database }: OpenedStorage): { caught: Map<string, Caught>; name(verb: string): void } {
	const caught = new Map<string, Caught>();
	let verb = "";
	const prepare = database.prepare.bind(database);
	Object.assign(database, {
		prepare(sql: string) {
			const statement = prepare(sql);
			const keep = (params: object) => {
				caught.set(sql, { verb, sql, params });
				return params;
			};
			return {
				reader: statement.reader,
				all: (params: object) => statement.all(keep(params)),
				run: (params: object) => statement.run(keep(params)),
			};
		},
	});
	return {
		caught,
		name(next) {
			verb = next;
		},
	};
}

/** Lists that ask for more than a state, a task or a tag. */
const FILTERED = [
	{ fingerprint: "f_no" },
	{ fingerprint: "f_no", task: "a", statuses: ["failed"] },
	{ reason: "not_retryable", statuses: ["failed", "dead_letter"] },
	{ reason: "not_retryable", tag: "x" },
	{ createdAfter: T0, createdBefore: T0 + DAY },
	{ createdAfter: T0 + DAY, statuses: ["running"] },
] as const satisfies readonly Omit<ListQuery, "limit">[];

/** Every verb that is called by requests and ticks, once in each of its forms. */
async function live(q: Desk, name: (verb: string) => void): Promise<void> {
	name("submit plain");
	await q.fill(20, i => ({ tenant: `t${i % 3}`, tags: ["x"], task: TASKS[i % 3]!, runAt: q.now + (i % 4) * 10, maxRetries: 0 }));
	name("submit keyed");
	await q.fill(10, i => ({
		key: `k${i % 3}`,
		idempotency: { key: `i${q.draw()}`, fingerprint: "f", expiresAt: q.now + DAY },
		startBy: q.now + DAY,
	}));
	name("claim");
	q.now += 100;
	const jobs = await q.claim({ limit: 20 });
	name("extend");
	await q.worker.extendLeases(
		jobs.map(({ id, token }) => ({ id, token, progress: "1" })),
		LEASE_MS,
		q.now,
	);
	await q.worker.extendLeases(
		jobs.slice(0, 2).map(({ id, token }) => ({ id, token })),
		LEASE_MS,
		q.now,
		{ heldMsMax: DAY, graceMs: 1000 },
	);
	name("finish done");
	await q.finish(jobs.slice(0, 1));
	await q.finish(jobs.slice(1, 2), { ...DONE, followUps: [q.followUp({ task: "b" })] });
	name("finish");
	await q.finish(jobs.slice(2, 4), FAILED);
	await q.finish(jobs.slice(4, 5), RELEASE);
	await q.finish(jobs.slice(5, 7), retryIn(5));
	q.now += 10;
	const [held] = await q.claim({ limit: 1, tasks: ["a", "b", "c"] });
	name("finish");
	if (held !== undefined) await q.finish(held, retryIn(5, { hold: "tenant", circuitFailures: 1 }));
	const [other] = await q.claim({ limit: 1 });
	if (other !== undefined) await q.finish(other, retryIn(5, { hold: "task" }));
	name("claim");
	q.now += CIRCUIT_PROBE_MS;
	await q.claim({ limit: 1 });
	name("finish again");
	await q.finish(jobs.slice(0, 3));
	name("refuse");
	await q.finish({ ...jobs[0]!, token: 1 });
	name("submit plain");
	const waiting = await q.submit();
	name("cancel");
	await q.cancel(jobs[7]!.id);
	await q.cancel(waiting);
	name("retry");
	await q.retry(waiting);
	name("get");
	const job = await q.get(waiting);
	await q.tenant().getJob(job);
	await q.operator.getJob(job);
	await q.tenant().historyOf(job);
	name("forfeit");
	await q.worker.forfeitLeases("worker", q.now);
	await q.worker.leaseHolders();
	name("expire");
	await q.expire(5);
	name("cancelLate");
	await q.worker.cancelLate(5, q.now + 2 * DAY);
	name("prune");
	await q.worker.prune(5, q.now + 10 * DAY);
	name("nextDue");
	await q.worker.nextDue(TASKS, q.now);
	name("counts");
	await q.operator.counts();
	await q.tenant().counts();
	name("runnable");
	for (const tasks of [null, TASKS]) for (const store of [q.operator, q.tenant("t1")]) await store.runnable(tasks, 20, q.now);
	name("list");
	for (const query of LISTS) await q.tenant().listJobs({ ...query, limit: 20 });
	name("list all");
	for (const query of LISTS) await q.operator.listJobs({ ...query, limit: 20 });
	name("list");
	for (const query of FILTERED) await q.tenant().listJobs({ ...query, limit: 20 });
	name("list all");
	for (const query of FILTERED) await q.operator.listJobs({ ...query, limit: 20 });
	await q.operator.countMatching({ task: "a" }, 10);
	name("groups");
	for (const store of [q.operator, q.tenant()])
		for (const query of [{}, { task: "a" }, { fingerprint: "f_no" }, { reason: "not_retryable" } as const])
			await store.deadLetterGroups(query, 10);
	name("get");
	await q.operator.getJobsById([waiting, waiting + 1]);
	name("delete");
	await q.cancel(waiting);
	await q.tenant().deleteJob(await q.get(waiting), q.now);
	name("bulk start");
	const bulk = await q.tenant().startBulkAction({ action: "retry", filter: { statuses: ["failed"] } }, q.now);
	await q.operator.startBulkAction({ action: "cancel", ids: [1, 2, 3], canary: 1 }, q.now);
	name("bulk");
	for (let i = 0; i < 3; i++) await q.worker.advanceBulkActions(5, q.now);
	await q.tenant().getBulkAction(bulk.id);
	await q.tenant().listBulkActions(5);
	await q.operator.stopBulkAction(bulk.id, q.now);
	name("bulk list");
	await q.operator.listBulkActions(5);
	name("schedules");
	const schedule = { name: "s", task: "a", payload: "{}", cron: "* * * * *", timezone: "UTC", missed: "one", overlap: "skip" } as const;
	await q.tenant().putSchedule({ ...schedule, paused: false, maxRetries: 3, nextAt: q.now }, q.now, 10);
	await q.tenant().putSchedule({ ...schedule, name: "t", paused: true, maxRetries: 3, nextAt: q.now }, q.now, 10);
	await q.tenant().changeSchedule({ ...schedule, name: "t", paused: true, maxRetries: 3, nextAt: null }, q.now);
	for (const due of await q.worker.dueSchedules(5, q.now))
		await q.worker.moveSchedule(due, { lastAt: q.now, nextAt: q.now + DAY, lastJobId: 1 });
	await q.tenant().getSchedule("s");
	await q.tenant().deleteSchedule("t");
	await q.tenant().listSchedules(5);
	name("list schedules");
	await q.operator.listSchedules(5);
	name("webhooks");
	await q.tenant().setWebhook("https://example.com");
	await q.tenant().getWebhook();
	await q.worker.tellWebhooks(await q.worker.untoldWebhooks(5));
	name("workers");
	await q.worker.seeWorker({ name: "w", kind: "remote", tasks: ["a"], version: "1" }, q.now);
	await q.operator.listWorkers(5);
	name("tasks");
	await q.operator.listTasks();
	name("circuit");
	await q.operator.resetCircuit("a", "t1");
	await q.operator.resetCircuit("a", null);
	name("limits");
	await q.operator.setLimits("t1", { concurrency: 50, tasks: { a: 5 } });
	await q.operator.setTask("c", { concurrency: 50 });
}

/** The statements inside triggers, with a number in the place of each value of the row. */
function triggerStatements({ database }: OpenedStorage): Caught[] {
	const triggers = database.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").all() as { name: string; sql: string }[];
	return triggers.flatMap(({ name, sql }) => {
		const body = /\bBEGIN\b([\s\S]*)\bEND\s*$/.exec(sql)![1]!;
		return body
			.split(";")
			.filter(part => part.trim() !== "")
			.map(part => ({ verb: `trigger ${name}`, sql: part.replace(/\b(NEW|OLD)\.\w+/g, "1"), params: {} }));
	});
}

interface Finding {
	readonly verb: string;
	readonly detail: string;
	readonly sql: string;
}

function examine({ database }: OpenedStorage, { verb, sql, params }: Caught): { walks: Finding[]; sorts: Finding[] } {
	const rows = database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(params) as { detail: string }[];
	const names = new Set<string>();
	for (const [, table, alias] of sql.matchAll(
		/\b(?:FROM|JOIN|UPDATE|INTO)\s+(\w+)(?:\s+(?:AS\s+)?(?!WHERE|SET|ON|CROSS|ORDER|GROUP|USING|FROM|SELECT|UNION|VALUES|LIMIT)(\w+))?/g,
	))
		if (GROWING.includes(table!)) for (const name of [table, alias]) if (name !== undefined) names.add(name);
	const walks: Finding[] = [];
	const sorts: Finding[] = [];
	for (const { detail } of rows) {
		const scan = /^SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?/.exec(detail);
		const isSwept = scan?.[2] !== undefined && SWEPT.includes(scan[2]);
		if (scan !== null && names.has(scan[1]!) && !isSwept && WALKS[verb] === undefined) walks.push({ verb, detail, sql });
		if (detail.includes("TEMP B-TREE FOR ORDER BY") || detail.includes("AUTOMATIC")) sorts.push({ verb, detail, sql });
	}
	return { walks, sorts };
}

async function filled(jobs: number): Promise<{ opened: OpenedStorage; q: Desk }> {
	const opened = await openStorage(":memory:", { ...DEFAULTS, backlog: 1_000_000 }, TASKS);
	const q = new Desk(opened.storage);
	for (let i = 0; i < jobs; i += 10_000)
		await q.fill(Math.min(10_000, jobs - i), n => ({
			tenant: `t${n % 50}`,
			task: TASKS[n % 3]!,
			runAt: q.now + (n % 10 === 0 ? DAY : 0),
			...(n % 20 === 0 ? { key: `k${n % 7}`, tags: ["x"] } : {}),
		}));
	return { opened, q };
}

describe("query plans", () => {
	for (const state of ["new", "filled", "analyzed"] as const)
		it(`walk nothing that grows, in a store that is ${state}`, async () => {
			const { opened, q } = await filled(state === "new" ? 0 : 3000);
			if (state !== "new") for (let i = 0; i < 5; i++) await q.finish(await q.claim({ limit: 100 }), i % 2 === 0 ? DONE : FAILED);
			if (state === "analyzed") opened.database.exec("ANALYZE");
			const prepare = opened.database.prepare.bind(opened.database);
			const { caught, name } = catchStatements(opened);
			await live(q, name);
			Object.assign(opened.database, { prepare });
			const all = [...caught.values(), ...triggerStatements(opened)];
			const found = all.map(statement => examine(opened, statement));
			expect(found.flatMap(({ walks }) => walks)).toEqual([]);
			expect(found.flatMap(({ sorts }) => sorts).filter(({ verb }) => SORTS[verb] === undefined)).toEqual([]);
			expect(new Set(all.map(({ verb }) => verb)).size).toBeGreaterThan(20);
			await opened.storage.close();
		});
});

describe("statements", () => {
	it("are as many with 1,000 jobs as with 100,000", async () => {
		const counts: Record<string, number>[] = [];
		for (const jobs of [1000, 100_000]) {
			const { opened, q } = await filled(jobs);
			const sent: Record<string, number> = {};
			let verb = "";
			let before = 0;
			await live(q, next => {
				if (verb !== "") sent[verb] = (sent[verb] ?? 0) + opened.storage.worker.statements() - before;
				verb = next;
				before = opened.storage.worker.statements();
			});
			counts.push(sent);
			expect(await q.operator.verify()).toEqual([]);
			await opened.storage.close();
		}
		expect(counts[1]).toEqual(counts[0]);
		expect(counts[0]).toMatchObject({ nextDue: 1, forfeit: 2, extend: 2 });
	});
});
