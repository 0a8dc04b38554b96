/** The verbs over a SQL driver: the same texts on better-sqlite3 and on D1. */
import type { BulkProgress, Engine, EngineLimits, GroupQuery, JobList, RehearsedRows, Submission, SubmitRow } from "../engine.ts";
import { fitting, groupsOf, textsOfEnding, textsOfJob } from "../fitting.ts";
import { type Row, S } from "../rows.ts";
import {
	type ClaimRequest,
	type Ending,
	type LeaseBounds,
	type LeaseExtension,
	type NewBulkAction,
	type NewSchedule,
	type NewWorker,
	type ScheduleMove,
	type StorageDefaults,
	StorageUnavailable,
	type SubmitAnswer,
} from "../storage.ts";
import * as bulkActions from "./bulkActions.ts";
import { cancelStatements, retryStatements } from "./change.ts";
import { claimedStatement, claimStatements } from "./claim.ts";
import type { SqlDriver, Statement } from "./driver.ts";
import { endedStatement, extendStatement, finishStatements } from "./finish.ts";
import * as operate from "./operate.ts";
import * as read from "./read.ts";
import { refuseStatements } from "./refuse.ts";
import * as schedules from "./schedules.ts";
import { submitStatements } from "./submit.ts";
import {
	cancelLateStatements,
	deleteStatements,
	expireLeasesStatements,
	forfeitStatement,
	lateStatement,
	lostStatement,
	oldStatement,
	pruneStatements,
} from "./sweep.ts";
import { CHECKS } from "./verify.ts";
import * as webhooks from "./webhooks.ts";

/** The schema this code speaks; the migrations write it into `meta`. */
export const SCHEMA = 3;

/** Tenants and tasks of `?1`, a JSON list of [tenant, task]. */
const NAMED = "FROM json_each(?1) e CROSS JOIN tenants t ON t.name = e.value->>0 CROSS JOIN tasks k ON k.name = e.value->>1";

const ids = (rows: readonly Row[]): number[] => rows.map(row => row.id);

export class SqliteEngine implements Engine {
	readonly submitRowsMax = 500;
	readonly #driver: SqlDriver;
	constructor(driver: SqlDriver) {
		this.#driver = driver;
	}

	async #one(statement: Statement): Promise<Row | undefined> {
		return (await this.#driver.all(statement))[0];
	}

	async submit(gather: () => Submission): Promise<void> {
		let gathered: Submission = { rows: [], nowMs: 0, answered() {} };
		let parts: ReturnType<typeof submitStatements>[] = [];
		let sizes: number[] = [];
		const rows = await this.#driver.batch(() => {
			gathered = gather();
			const fit = this.#fitting(gathered.rows);
			sizes = fit.map(part => part.length);
			parts = fit.map(part => submitStatements(part, gathered.nowMs));
			return parts.flatMap(({ statements }) => statements);
		});
		const answers: SubmitAnswer[] = gathered.rows.map(() => ({ status: "backlog_full" }));
		let place = 0;
		let from = 0;
		for (const [n, { statements, inserted, keys }] of parts.entries()) {
			for (const key of keys === null ? [] : rows[from + keys]!)
				answers[place + key.i] = { status: key.same === 1 ? "replayed" : "key_conflict", id: key.id };
			for (const { i, id, webhook_url: webhookUrl } of rows[from + inserted]!)
				answers[place + i] = { status: "created", id, createdAt: gathered.nowMs, webhookUrl };
			place += sizes[n]!;
			from += statements.length;
		}
		answers.forEach((answer, i) => {
			gathered.answered(i, answer);
		});
	}
	#fitting(rows: readonly SubmitRow[]): readonly (readonly SubmitRow[])[] {
		return fitting(rows, ({ job }) => textsOfJob(job), this.#driver.paramBytesMax);
	}

	tenantNamed(name: string): Promise<Row | undefined> {
		return this.#one({ sql: "SELECT tenant_id, name FROM tenants WHERE name = ?1", params: [name] });
	}
	tenantsNumbered(ids: readonly number[]): Promise<Row[]> {
		return this.#driver.all({
			sql: "SELECT tenant_id, name FROM tenants WHERE tenant_id IN (SELECT value FROM json_each(?1))",
			params: [JSON.stringify(ids)],
		});
	}
	tasks(): Promise<Row[]> {
		return this.#driver.all({ sql: "SELECT task_id, name FROM tasks", params: [] });
	}
	async writeTasks(names: readonly string[], most?: number): Promise<void> {
		await this.#driver.batch([
			{
				sql: `INSERT INTO tasks (name) SELECT value FROM json_each(?1) WHERE ?2 IS NULL OR (SELECT count(*) FROM tasks)
  + (SELECT count(DISTINCT value) FROM json_each(?1) WHERE value NOT IN (SELECT name FROM tasks)) <= ?2 ON CONFLICT DO NOTHING`,
				params: [JSON.stringify(names), most ?? null],
			},
		]);
	}
	async makeLanes(gather: () => readonly (readonly [string, string])[], defaults: StorageDefaults): Promise<Row[]> {
		const rows = await this.#driver.batch(() => {
			const params = [JSON.stringify(gather())];
			return [
				{
					sql: "INSERT INTO tenants (name, concurrency, backlog) SELECT DISTINCT value->>0, ?2, ?3 FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING",
					params: [...params, defaults.concurrency, defaults.backlog],
				},
				{ sql: "INSERT INTO tasks (name) SELECT DISTINCT value->>1 FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING", params },
				{
					sql: `INSERT INTO lanes (lane_id, task_id) SELECT DISTINCT t.tenant_id << 16 | k.task_id, k.task_id ${NAMED} WHERE true ON CONFLICT DO NOTHING`,
					params,
				},
				{ sql: `SELECT DISTINCT t.tenant_id, t.name, k.task_id, k.name AS task ${NAMED}`, params },
			];
		});
		return rows.at(-1)!;
	}

	jobs(ids: readonly number[], columns: "all" | "brief" = "all"): Promise<Row[]> {
		return this.#driver.all(read.jobsStatement(ids, columns));
	}
	list(list: JobList, columns: "all" | "brief" = "all"): Promise<Row[]> {
		return this.#driver.all(read.listStatement(list, columns));
	}
	async scanEnd(list: JobList, above: number): Promise<number | null> {
		const statement = read.scanEndStatement(list, above);
		return statement === null ? null : ((await this.#one(statement))?.id ?? null);
	}
	events(jobId: number): Promise<Row[]> {
		return this.#driver.all(read.eventsStatement(jobId));
	}
	groups(query: GroupQuery): Promise<Row[]> {
		return this.#driver.all(read.groupsStatement(query));
	}
	async counts(): Promise<Row> {
		return (await this.#one(read.queueCountsStatement))!;
	}
	tenantCounts(tenantId: number): Promise<Row | undefined> {
		return this.#one(read.tenantCountsStatement(tenantId));
	}
	runnableLanes(taskIds: readonly number[] | null, tenantId: number | null, limit: number, nowMs: number): Promise<Row[]> {
		return this.#driver.all(read.runnableLanesStatement(taskIds, tenantId, limit, nowMs));
	}

	async cancel(jobIds: readonly number[], defaults: StorageDefaults, nowMs: number): Promise<number[]> {
		return ids((await this.#driver.batch(cancelStatements(jobIds, defaults, nowMs))).flat());
	}
	async retry(jobIds: readonly number[], nowMs: number): Promise<number[]> {
		return ids((await this.#driver.batch(retryStatements(jobIds, nowMs))).flat());
	}
	async deleteJobs(jobIds: readonly number[]): Promise<number[]> {
		return ids((await this.#driver.batch(deleteStatements(jobIds))).at(-1)!);
	}

	async claim(request: ClaimRequest, taskIds: readonly number[], nowMs: number): Promise<Row[]> {
		const { statements, claimed } = claimStatements(request, taskIds, nowMs);
		return (await this.#driver.batch(statements))[claimed]!;
	}
	async rehearse(
		request: ClaimRequest,
		taskIds: readonly number[],
		sweepLimit: number,
		defaults: StorageDefaults,
		nowMs: number,
	): Promise<RehearsedRows> {
		const expire = expireLeasesStatements(sweepLimit, defaults, nowMs);
		const cancelLate = cancelLateStatements(sweepLimit, defaults, nowMs);
		const prune = pruneStatements(sweepLimit, nowMs);
		const { statements: claim } = claimStatements(request, taskIds, nowMs);
		/** Rows of a SELECT as it would answer after the statements. */
		const after = async (statements: readonly Statement[], question: Statement, columns: readonly string[]): Promise<Row[]> =>
			JSON.parse(await this.#driver.rehearse(statements, read.jsonStatement(question, columns)));
		const claimed = read.jsonStatement(claimedStatement(request, nowMs), ["id", "seq", "claims", "losses"]);
		const held = read.jsonStatement(read.heldStatement(nowMs), ["code", "jobs", "tenants"]);
		const moved = ["id", "tail", "state", "reason"];
		return {
			lost: await after([], lostStatement(sweepLimit, nowMs), moved),
			late: await after(expire, lateStatement(sweepLimit, nowMs), moved),
			pruned: (await after([...expire, ...cancelLate], oldStatement(sweepLimit, nowMs), ["id"])).length,
			...JSON.parse(await this.#driver.rehearse([...expire, ...cancelLate, ...prune, ...claim], read.jsonObject({ claimed, held }))),
		};
	}

	async extend(leases: readonly LeaseExtension[], leaseUntil: number, nowMs: number, bounds?: LeaseBounds): Promise<Row[]> {
		return (await this.#driver.batch([extendStatement(leases, leaseUntil, nowMs, bounds)]))[0]!.filter(row => row.held === 1);
	}
	async finish(endings: readonly Ending[], followUps: readonly SubmitRow[], defaults: StorageDefaults, nowMs: number): Promise<Row[]> {
		const statements = this.#fitting(followUps).flatMap(part => submitStatements(part, nowMs).statements);
		const answers: number[] = [];
		const written: number[] = [];
		for (const parts of groupsOf(endings, this.#driver.paramBytesMax)) {
			written.push(statements.length);
			const length = statements.push(...finishStatements(parts, defaults, nowMs));
			for (let i = length - parts.length; i < length; i++) answers.push(i);
		}
		const rows = await this.#driver.batch(statements);
		const opened = new Set(written.flatMap(events => rows[events]!.filter(row => row.circuit === "opened").map(row => row.job_id)));
		const accepted = answers.flatMap(answer => rows[answer]!.map(row => (opened.has(row.id) ? { ...row, circuit: "opened" } : row)));
		if (accepted.length === endings.length) return accepted;
		// Nearly always all are accepted; what is left may have been sent before.
		const taken = new Set(ids(accepted));
		return [...accepted, ...(await this.#driver.all(endedStatement(endings.filter(({ id }) => !taken.has(id)))))];
	}
	async refuse(endings: readonly Ending[], nowMs: number): Promise<void> {
		for (const part of fitting(endings, textsOfEnding, this.#driver.paramBytesMax)) await this.#driver.batch(refuseStatements(part, nowMs));
	}
	async #sweep(statements: Statement[]): Promise<Row[]> {
		return (await this.#driver.batch(statements)).flat();
	}
	expire(limit: number, defaults: StorageDefaults, nowMs: number): Promise<Row[]> {
		return this.#sweep(expireLeasesStatements(limit, defaults, nowMs));
	}
	cancelLate(limit: number, defaults: StorageDefaults, nowMs: number): Promise<Row[]> {
		return this.#sweep(cancelLateStatements(limit, defaults, nowMs));
	}
	async prune(limit: number, nowMs: number): Promise<number> {
		return (await this.#driver.batch(pruneStatements(limit, nowMs))).at(-1)!.length;
	}

	async nextDue(taskIds: readonly number[], nowMs: number): Promise<Row> {
		return (await this.#one(read.nextDueStatement(taskIds, nowMs)))!;
	}
	async leaseHolders(): Promise<string[]> {
		return (await this.#driver.all(read.leaseHoldersStatement)).map(row => row.worker);
	}
	async forfeit(worker: string, nowMs: number): Promise<number> {
		return (await this.#driver.batch([forfeitStatement(worker, nowMs)]))[0]!.length;
	}

	/** The rows of the last of these statements. */
	async #last(statements: readonly Statement[]): Promise<Row[]> {
		return (await this.#driver.batch(statements)).at(-1)!;
	}
	async insertBulkAction(action: NewBulkAction, tenantId: number | null, most: number, nowMs: number): Promise<Row | undefined> {
		return (await this.#last(bulkActions.insertBulkActionStatements(action, tenantId, most, nowMs)))[0];
	}
	bulkAction(id: number): Promise<Row | undefined> {
		return this.#one(bulkActions.bulkActionStatement(id));
	}
	bulkActions(tenantId: number | null, limit: number): Promise<Row[]> {
		return this.#driver.all(bulkActions.bulkActionsStatement(tenantId, limit));
	}
	async stopBulkAction(id: number, nowMs: number): Promise<void> {
		await this.#driver.batch(bulkActions.stopBulkActionStatements(id, nowMs));
	}
	async takeBulkAction(nowMs: number, busyUntil: number): Promise<Row | undefined> {
		return (await this.#last([bulkActions.takeBulkActionStatement(nowMs, busyUntil)]))[0];
	}
	async recordBulkAction(progress: BulkProgress, nowMs: number): Promise<void> {
		await this.#driver.batch(bulkActions.recordBulkActionStatements(progress, nowMs));
	}

	schedules(tenantId: number | null, limit: number, after?: { readonly tenant: string; readonly name: string }): Promise<Row[]> {
		return this.#driver.all(schedules.schedulesStatement(tenantId, limit, after));
	}
	schedule(tenantId: number, name: string): Promise<Row | undefined> {
		return this.#one(schedules.scheduleStatement(tenantId, name));
	}
	async putSchedule(tenantId: number, schedule: NewSchedule, nowMs: number, most: number): Promise<Row | undefined> {
		return (await this.#last(schedules.putScheduleStatements(tenantId, schedule, nowMs, most)))[0];
	}
	async changeSchedule(tenantId: number, schedule: NewSchedule, nowMs: number): Promise<Row | undefined> {
		return (await this.#last(schedules.changeScheduleStatements(tenantId, schedule, nowMs)))[0];
	}
	async deleteSchedule(tenantId: number, name: string): Promise<boolean> {
		return (await this.#last(schedules.deleteScheduleStatements(tenantId, name))).length > 0;
	}
	dueSchedules(limit: number, nowMs: number): Promise<Row[]> {
		return this.#driver.all(schedules.dueSchedulesStatement(limit, nowMs));
	}
	async moveSchedule(id: number, from: number, moved: ScheduleMove): Promise<void> {
		await this.#driver.batch([schedules.moveScheduleStatement(id, from, moved)]);
	}

	async webhookOf(tenantId: number): Promise<string | null> {
		return (await this.#one(webhooks.webhookStatement(tenantId)))?.webhook_url ?? null;
	}
	async setWebhook(tenantId: number, url: string | null): Promise<void> {
		await this.#driver.batch(webhooks.setWebhookStatements(tenantId, url));
	}
	untoldWebhooks(limit: number): Promise<Row[]> {
		return this.#driver.all(webhooks.untoldStatement(limit));
	}
	async tellWebhooks(jobs: readonly (readonly [number, number])[]): Promise<void> {
		await this.#driver.batch([webhooks.tellStatement(jobs)]);
	}

	async seeWorker(worker: NewWorker, nowMs: number): Promise<void> {
		await this.#driver.batch(operate.seeWorkerStatements(worker, nowMs));
	}
	workers(limit: number): Promise<Row[]> {
		return this.#driver.all(operate.workersStatement(limit));
	}
	taskStates(): Promise<Row[]> {
		return this.#driver.all(operate.taskStatesStatement);
	}
	async resetCircuit(taskId: number, tenantId: number | null): Promise<number> {
		return (await this.#driver.batch(operate.resetCircuitStatements(taskId, tenantId))).flat().length;
	}

	async setLimits(
		tenant: string,
		limits: EngineLimits,
		lanes: readonly (readonly [number, number | null])[],
		defaults: StorageDefaults,
	): Promise<void> {
		await this.#driver.batch([
			{
				sql: "INSERT INTO tenants (name, concurrency, backlog) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
				params: [tenant, defaults.concurrency, defaults.backlog],
			},
			{
				sql: `UPDATE tenants SET concurrency = coalesce(?2, concurrency), own_concurrency = own_concurrency OR ?2 IS NOT NULL,
  backlog = coalesce(?3, backlog), own_backlog = own_backlog OR ?3 IS NOT NULL, step = coalesce(?4, step), paused = coalesce(?5, paused) WHERE name = ?1`,
				params: [
					tenant,
					limits.concurrency ?? null,
					limits.backlog ?? null,
					limits.step ?? null,
					limits.paused === undefined ? null : Number(limits.paused),
				],
			},
			{ sql: "UPDATE queue SET version = version + 1", params: [] },
			...lanes.map(lane => ({ sql: "UPDATE lanes SET concurrency = ?2 WHERE lane_id = ?1", params: lane })),
		]);
	}
	async setTask(task: string, settings: { concurrency?: number | null; paused?: boolean }): Promise<void> {
		await this.#driver.batch([
			{ sql: "INSERT INTO tasks (name) VALUES (?1) ON CONFLICT DO NOTHING", params: [task] },
			{
				// It is counted while it has a limit: this is the recount.
				sql: `UPDATE tasks SET concurrency = CASE WHEN ?2 THEN ?3 ELSE concurrency END, paused = coalesce(?4, paused),
  running = CASE WHEN ?2 THEN (SELECT count(*) FROM jobs WHERE state = ${S.running} AND lane_id & 65535 = task_id) ELSE running END WHERE name = ?1`,
				params: [
					task,
					Number(settings.concurrency !== undefined),
					settings.concurrency ?? null,
					settings.paused === undefined ? null : Number(settings.paused),
				],
			},
			{ sql: "UPDATE queue SET version = version + 1", params: [] },
		]);
	}
	/** All tenants are looked through only when others were set before. */
	async setDefaults({ concurrency, backlog }: StorageDefaults): Promise<void> {
		const set = JSON.stringify([concurrency, backlog]);
		if ((await this.#one({ sql: "SELECT value FROM meta WHERE name = 'defaults'", params: [] }))?.value === set) return;
		await this.#driver.batch([
			{ sql: "UPDATE tenants SET concurrency = ?1 WHERE own_concurrency = 0 AND concurrency <> ?1", params: [concurrency] },
			{ sql: "UPDATE tenants SET backlog = ?1 WHERE own_backlog = 0 AND backlog <> ?1", params: [backlog] },
			{
				sql: "INSERT INTO meta (name, value) VALUES ('defaults', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
				params: [set],
			},
		]);
	}

	async verify(): Promise<string[]> {
		const found = await Promise.all(CHECKS.map(sql => this.#driver.all({ sql, params: [] })));
		return found.flat().map(row => row.what);
	}
	async ping(): Promise<void> {
		const row = await this.#one({ sql: "SELECT value FROM meta WHERE name = 'schema'", params: [] }).catch(error => {
			if (/no such table/.test((error as Error).message))
				throw new StorageUnavailable("the database has no tables yet: run the migrations", { cause: error });
			throw error;
		});
		if (Number(row?.value) !== SCHEMA)
			throw new StorageUnavailable(`the store has schema ${row?.value ?? "none"}, this code needs ${SCHEMA}: run the migrations`);
	}
	statements(): number {
		return this.#driver.count();
	}
	close(): Promise<void> {
		return this.#driver.close();
	}
}
