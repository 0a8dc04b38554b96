/** What a job costs from submit to end, beside the three writes that nobody can do without. */
import { setImmediate as turn } from "node:timers/promises";
import Database from "better-sqlite3";
import type { Clock } from "../lib/clock.ts";
import type { NewJob } from "../lib/storage/storage.ts";
import { startTick } from "../lib/tick.ts";
import { type Bench, type Measure, perSecond, type Row, ratios } from "./measure.ts";
import { noopTasks, openQueue, PAYLOAD } from "./queue.ts";

const BATCH = 100;

interface Side {
	/** Runs that many batches, and answers jobs per second. */
	run(batches: number): Promise<number>;
	close(): Promise<void>;
}

interface Form {
	readonly what: string;
	readonly tenants: number;
	readonly tasks: number;
	/** What its jobs have beside the plain ones; `n` is different for each. */
	readonly extra?: (n: number, nowMs: number) => Partial<NewJob>;
	/** Time that passes, on the queue's clock, between submit and tick. */
	readonly passMs?: number;
}

const SPREAD = { tenants: 100, tasks: 3 };
const FORMS = {
	spread: { what: "100 tenants × 3 tasks in each batch", ...SPREAD },
	one: { what: "1 tenant × 1 task", tenants: 1, tasks: 1 },
	ten: { what: "10 tenants × 1 task", tenants: 10, tasks: 1 },
	tags: { what: "two tags", ...SPREAD, extra: n => ({ tags: [`customer-${n % 1000}`, "mail"] }) },
	idempotency: {
		what: "an idempotency key",
		...SPREAD,
		extra: (n, nowMs) => ({
			idempotency: { key: `order-${n}`, fingerprint: n.toString(16).padStart(32, "0"), expiresAt: nowMs + 24 * 3_600_000 },
		}),
	},
	ordering: { what: "an ordering key", ...SPREAD, extra: n => ({ key: `account-${n % 1000}` }) },
	delay: { what: "a delay", ...SPREAD, extra: (_, nowMs) => ({ runAt: nowMs + 1 }), passMs: 2 },
	priority: { what: "a priority", ...SPREAD, extra: n => ({ priority: n % 10 }) },
} satisfies Record<string, Form>;

export const life: Measure = {
	about: `the whole life of a no-op job in process (submit, claim, run, finish; batches of ${BATCH}, FULL) against a prepared insert, update, update of the same ${PAYLOAD.length} B, a transaction per batch and step`,
	async run(bench) {
		const raw = openRaw(bench.file("life-raw.db"));
		const sides = Object.entries<Form>(FORMS);
		const queues = new Map<string, Side>();
		for (const [name, form] of sides) queues.set(name, await openLife(bench, name, form));
		const rates: Record<string, number[]> = Object.fromEntries([["raw", []], ...sides.map(([name]) => [name, []])]);

		const repeats = bench.quick ? 7 : 15;
		const batches = bench.quick ? 15 : 30;
		const order = ["raw", ...queues.keys()];
		for (let i = -1; i < repeats; i++) {
			for (const name of i % 2 === 0 ? order : order.toReversed()) {
				const rate = name === "raw" ? await raw.run(batches * 4) : await queues.get(name)!.run(batches);
				if (i >= 0) rates[name]!.push(rate);
			}
		}
		await raw.close();
		for (const queue of queues.values()) await queue.close();

		const row = (name: keyof typeof FORMS, against: "raw" | "spread", what = FORMS[name].what): Row => ({
			what,
			tickq: perSecond(rates[name]!, "job"),
			against: perSecond(rates[against]!, "job"),
			values: ratios(rates[name]!, rates[against]!),
			unit: "×",
		});
		return [
			{ ...row("spread", "raw"), must: { atLeast: 0.25 }, goal: { atLeast: 0.4 } },
			row("ten", "raw"),
			row("one", "raw"),
			...(["tags", "idempotency", "ordering", "delay", "priority"] as const).map(name =>
				row(name, "spread", `  ${FORMS[name].what} on every job, against none`),
			),
		];
	},
};

async function openLife(bench: Bench, name: string, { tenants, tasks, extra, passMs = 0 }: Form): Promise<Side> {
	const names = Array.from({ length: tasks }, (_, i) => `noop_${i}`);
	const queue = await openQueue(bench.file(`life-${name}.db`), noopTasks(names), {
		workersMin: 1,
		tasksPerWorker: BATCH,
		tenantConcurrency: BATCH,
	});
	let ahead = 0;
	const clock: Clock = { ...queue.deps.clock, now: () => queue.deps.clock.now() + ahead };
	const tickDeps = { ...queue.tickDeps, clock };
	const { random } = queue.deps;
	let n = 0;
	return {
		async run(batches) {
			const startedAt = performance.now();
			for (let batch = 0; batch < batches; batch++) {
				const nowMs = clock.now();
				const submits: Promise<unknown>[] = [];
				for (let i = 0; i < BATCH; i++, n++) {
					const job: NewJob = {
						task: names[(i + batch) % tasks]!,
						payload: PAYLOAD,
						maxRetries: 3,
						tail: random.tail(),
						traceId: random.traceId(),
						...extra?.(n, nowMs),
					};
					submits.push(queue.storage.tenant(`tenant-${i % tenants}`).insertJob(job, nowMs));
				}
				await Promise.all(submits);
				ahead += passMs;
				const { outcomes } = await startTick(tickDeps, { trigger: "submit" }).report;
				if (outcomes.done !== BATCH) throw new Error(`${outcomes.done} of ${BATCH} jobs were done in a tick`);
			}
			return (batches * BATCH * 1000) / (performance.now() - startedAt);
		},
		close: queue.close,
	};
}

/** No queue at all: the payload is written, marked as running, and marked as done. */
function openRaw(file: string): Side {
	const database = new Database(file);
	database.exec(`
PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 1000;
CREATE TABLE jobs (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, created_at INTEGER NOT NULL, started_at INTEGER, completed_at INTEGER,
  payload TEXT NOT NULL, result TEXT) STRICT;`);
	const insert = database.prepare("INSERT INTO jobs (id, state, created_at, payload) VALUES (?, 2, ?, ?)");
	const begin = database.prepare("UPDATE jobs SET state = 3, started_at = ? WHERE id = ?");
	const finish = database.prepare("UPDATE jobs SET state = 4, completed_at = ?, result = ? WHERE id = ?");
	const each = (step: (id: number) => void) =>
		database.transaction((first: number) => {
			for (let id = first; id < first + BATCH; id++) step(id);
		});
	const steps = [
		each(id => insert.run(id, Date.now(), PAYLOAD)),
		each(id => begin.run(Date.now(), id)),
		each(id => finish.run(Date.now(), "null", id)),
	];
	let next = 1;
	return {
		async run(batches) {
			const startedAt = performance.now();
			for (let batch = 0; batch < batches; batch++) {
				for (const step of steps) step.immediate(next);
				next += BATCH;
				await turn();
			}
			return (batches * BATCH * 1000) / (performance.now() - startedAt);
		},
		async close() {
			const done = database.prepare("SELECT count(*) FROM jobs WHERE state = 4").pluck().get();
			if (done !== next - 1) throw new Error(`${done} of ${next - 1} raw jobs are done`);
			database.close();
		},
	};
}
