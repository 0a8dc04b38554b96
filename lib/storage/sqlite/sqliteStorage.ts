/** The storage verbs over a SQL driver: the same texts on better-sqlite3 and on D1. */
import { historyOf } from "../../history.ts";
import { isJob, type Job, type JobEvent, type JobRef, STATES, type State } from "../../job.ts";
import {
	type Changed,
	type Claimed,
	type ClaimRequest,
	type Ending,
	type JobPage,
	type LeaseExtension,
	type Limits,
	type ListQuery,
	type Moved,
	type NewJob,
	type OperatorStore,
	type QueueCounts,
	type Rehearsal,
	type Storage,
	type StorageDefaults,
	StorageUnavailable,
	type SubmitAnswer,
	type TenantStore,
	type WorkerStore,
} from "../storage.ts";
import { cancelStatements, retryStatements } from "./change.ts";
import { claimStatements } from "./claim.ts";
import type { Row, SqlDriver, Statement } from "./driver.ts";
import { extendStatement, finishStatements } from "./finish.ts";
import * as read from "./read.ts";
import { type SubmitRow, submitStatements } from "./submit.ts";
import { cancelLateStatements, expireLeasesStatements, forfeitStatement, pruneStatements } from "./sweep.ts";
import { CHECKS } from "./verify.ts";

/** The schema this code speaks; the migrations write it into `meta`. */
export const SCHEMA = 1;

/** Rows that share one submit at most, so that a statement stays short. */
const SUBMIT_ROWS_MAX = 500;
/** Lanes remembered at most; beyond, they are looked up anew. */
const LANES_MAX = 100_000;

/** Tenants and tasks of `?1`, a JSON list of [tenant, task]. */
const NAMED = "FROM json_each(?1) e CROSS JOIN tenants t ON t.name = e.value->>0 CROSS JOIN tasks k ON k.name = e.value->>1";

const toMoved = (row: Row): Moved => ({
	id: row.id,
	tail: row.tail,
	state: STATES[row.state as number] as State,
	reason: row.reason,
});

interface Submitting {
	readonly row: SubmitRow;
	readonly nowMs: number;
	readonly resolve: (answer: SubmitAnswer) => void;
	readonly reject: (error: unknown) => void;
}

class SqliteStorage implements Storage {
	readonly driver: SqlDriver;
	readonly defaults: StorageDefaults;
	/** Names never change their number, so they are remembered for the life of the process. */
	readonly tenantIds = new Map<string, number>();
	readonly tenantNames = new Map<number, string>();
	readonly taskIds = new Map<string, number>();
	readonly taskNames = new Map<number, string>();
	readonly lanes = new Set<number>();
	#submitting: Submitting[] = [];
	#newLanes: [tenant: string, task: string][] = [];
	#lanesMade: Promise<Map<string, number>> | null = null;
	readonly worker: WorkerStore;
	readonly operator: OperatorStore;

	constructor(driver: SqlDriver, defaults: StorageDefaults) {
		this.driver = driver;
		this.defaults = defaults;
		this.worker = new SqliteWorkerStore(this);
		this.operator = new SqliteOperatorStore(this);
	}

	tenant(name: string): TenantStore {
		return new SqliteTenantStore(this, name);
	}
	close(): Promise<void> {
		return this.driver.close();
	}

	async one(statement: Statement): Promise<Row | undefined> {
		return (await this.driver.all(statement))[0];
	}

	/** The number of a tenant, or undefined when it has never submitted anything. */
	async tenantId(name: string): Promise<number | undefined> {
		return (
			this.tenantIds.get(name) ??
			this.#learnTenant(await this.one({ sql: "SELECT tenant_id, name FROM tenants WHERE name = ?1", params: [name] }))
		);
	}
	async tenantName(id: number): Promise<string> {
		if (!this.tenantNames.has(id))
			this.#learnTenant(await this.one({ sql: "SELECT tenant_id, name FROM tenants WHERE tenant_id = ?1", params: [id] }));
		return this.tenantNames.get(id) ?? "";
	}
	#learnTenant(row: Row | undefined): number | undefined {
		if (row === undefined) return undefined;
		if (this.tenantIds.size >= LANES_MAX) {
			this.tenantIds.clear();
			this.tenantNames.clear();
		}
		this.tenantIds.set(row.name, row.tenant_id);
		this.tenantNames.set(row.tenant_id, row.name);
		return row.tenant_id;
	}

	async taskId(name: string): Promise<number | undefined> {
		if (!this.taskIds.has(name)) await this.learnTasks();
		return this.taskIds.get(name);
	}
	async taskName(id: number): Promise<string> {
		if (!this.taskNames.has(id)) await this.learnTasks();
		return this.taskNames.get(id) ?? "";
	}
	async writeTasks(tasks: readonly string[]): Promise<void> {
		const params = [JSON.stringify(tasks)];
		const missing = "FROM json_each(?1) WHERE value NOT IN (SELECT name FROM tasks)";
		await this.driver.batch([
			{ sql: `INSERT INTO tasks (name) SELECT value ${missing}`, params, onlyIf: { sql: `SELECT 1 ${missing} LIMIT 1`, params } },
		]);
		await this.learnTasks();
	}
	async learnTasks(): Promise<void> {
		for (const row of await this.driver.all({ sql: "SELECT task_id, name FROM tasks", params: [] })) {
			this.taskIds.set(row.name, row.task_id);
			this.taskNames.set(row.task_id, row.name);
		}
	}

	/**
	 * The lane of a tenant and task. New ones are written down in one batch for all who ask in a turn, so that whoever came first is still
	 * first afterwards.
	 */
	laneId(tenant: string, task: string): number | Promise<number> {
		const known = this.knownLane(tenant, task);
		if (known !== undefined) return known;
		this.#newLanes.push([tenant, task]);
		this.#lanesMade ??= this.#makeLanes();
		return this.#lanesMade.then(made => {
			const lane = made.get(`${task} ${tenant}`);
			if (lane === undefined) throw new Error(`the lane of ${tenant} and ${task} was not stored`);
			return lane;
		});
	}
	/** Answers the lanes by `task tenant`: what is remembered may be forgotten again before everybody has read it. */
	async #makeLanes(): Promise<Map<string, number>> {
		const rows = await this.driver.batch(() => {
			const params = [JSON.stringify(this.#newLanes)];
			this.#newLanes = [];
			this.#lanesMade = null;
			return [
				{
					sql: "INSERT INTO tenants (name, concurrency, backlog) SELECT DISTINCT value->>0, ?2, ?3 FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING",
					params: [...params, this.defaults.concurrency, this.defaults.backlog],
				},
				{ sql: "INSERT INTO tasks (name) SELECT DISTINCT value->>1 FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING", params },
				{
					sql: `INSERT INTO lanes (lane_id, task_id) SELECT DISTINCT t.tenant_id << 16 | k.task_id, k.task_id ${NAMED} WHERE true ON CONFLICT DO NOTHING`,
					params,
				},
				{ sql: `SELECT DISTINCT t.tenant_id, t.name, k.task_id, k.name AS task ${NAMED}`, params },
			];
		});
		if (this.lanes.size >= LANES_MAX) this.lanes.clear();
		const made = new Map<string, number>();
		for (const row of rows.at(-1)!) {
			this.#learnTenant(row);
			this.taskIds.set(row.task, row.task_id);
			this.taskNames.set(row.task_id, row.task);
			const lane = row.tenant_id * 65536 + row.task_id;
			this.lanes.add(lane);
			made.set(`${row.task} ${row.name}`, lane);
		}
		return made;
	}
	/** The lane when it is known to exist: the common case costs no turn of the event loop. */
	knownLane(tenant: string, task: string): number | undefined {
		const tenantId = this.tenantIds.get(tenant);
		const taskId = this.taskIds.get(task);
		if (tenantId === undefined || taskId === undefined) return undefined;
		const lane = tenantId * 65536 + taskId;
		return this.lanes.has(lane) ? lane : undefined;
	}

	async toJobs(rows: readonly Row[]): Promise<Job[]> {
		const jobs: Job[] = [];
		for (const row of rows) {
			const tenant = this.tenantNames.get(row.tenant_id) ?? (await this.tenantName(row.tenant_id));
			const task = this.taskNames.get(row.lane_id % 65536) ?? (await this.taskName(row.lane_id % 65536));
			jobs.push(read.toJob(row, tenant, task));
		}
		return jobs;
	}

	async getJob(id: number): Promise<Job | null> {
		return (await this.toJobs(await this.driver.all(read.jobStatement(id))))[0] ?? null;
	}
	async history(job: Job): Promise<JobEvent[]> {
		return historyOf(job, (await this.driver.all(read.eventsStatement(job.id))).map(read.toEvent));
	}

	/** Submits that arrive in one turn share one batch. */
	submit(row: SubmitRow, nowMs: number): Promise<SubmitAnswer> {
		return new Promise((resolve, reject) => {
			this.#submitting.push({ row, nowMs, resolve, reject });
			if (this.#submitting.length === 1) void this.#submitAll();
		});
	}
	async #submitAll(): Promise<void> {
		let taken: Submitting[] = [];
		let shape = { inserted: 0, keys: null as number | null };
		let createdAt = 0;
		try {
			const rows = await this.driver.batch(() => {
				taken = this.#submitting.splice(0, SUBMIT_ROWS_MAX);
				if (this.#submitting.length > 0) void this.#submitAll();
				createdAt = Math.max(...taken.map(item => item.nowMs));
				const rows = taken.map(item => item.row);
				const built = submitStatements(rows, createdAt);
				shape = built;
				return built.statements;
			});
			const answers: SubmitAnswer[] = taken.map(() => ({ status: "backlog_full" }));
			for (const key of shape.keys === null ? [] : rows[shape.keys]!)
				answers[key.i] = { status: key.same === 1 ? "replayed" : "key_conflict", id: key.id };
			for (const { i, id } of rows[shape.inserted]!) answers[i] = { status: "created", id, createdAt };
			taken.forEach((item, i) => {
				item.resolve(answers[i]!);
			});
		} catch (error) {
			for (const item of taken) item.reject(error);
		}
	}

	/**
	 * A page from a statement that asks for one row more than the page holds. Where the statement looks at a bounded number of rows,
	 * `scanEnd` answers how far down it saw everything: what it found below is left to the next page.
	 */
	async page(statement: Statement, query: ListQuery, scanEnd: ((above: number) => Statement | null) | null): Promise<JobPage> {
		const found = await this.driver.all(statement);
		const full = found.length > query.limit;
		const last: number = full ? found[query.limit - 1]!.id : 0;
		const look = scanEnd?.(last) ?? null;
		const end: number | null = look === null ? null : ((await this.one(look))?.id ?? null);
		const jobs = await this.toJobs(found.slice(0, query.limit).filter(row => end === null || row.id >= end));
		return { jobs, next: end ?? (full ? last : null) };
	}
}

class SqliteTenantStore implements TenantStore {
	readonly tenant: string;
	readonly #store: SqliteStorage;
	constructor(store: SqliteStorage, tenant: string) {
		this.#store = store;
		this.tenant = tenant;
	}

	async insertJob(job: NewJob, nowMs: number): Promise<SubmitAnswer> {
		const laneId = this.#store.laneId(this.tenant, job.task);
		return this.#store.submit({ laneId: typeof laneId === "number" ? laneId : await laneId, job }, nowMs);
	}

	async getJobById(id: number): Promise<Job | null> {
		const job = await this.#store.getJob(id);
		return job !== null && job.tenant === this.tenant ? job : null;
	}
	async getJob(ref: JobRef): Promise<Job | null> {
		const job = await this.getJobById(ref.id);
		return isJob(job, ref) ? job : null;
	}

	async listJobs(query: ListQuery): Promise<JobPage> {
		const tenantId = await this.#store.tenantId(this.tenant);
		const taskId = query.task === undefined ? null : await this.#store.taskId(query.task);
		if (tenantId === undefined || taskId === undefined || query.statuses?.length === 0) return { jobs: [], next: null };
		const states = read.statesOfQuery(query);
		if (query.tag !== undefined)
			return this.#store.page(read.tagListStatement(tenantId, taskId, states, query), query, above =>
				read.tagScanEndStatement(tenantId, query, above),
			);
		const waits = states?.includes("ready") ?? false;
		const fewWait = !waits || (await this.#waiting(tenantId)) <= read.LIST_ROWS_MAX;
		const looks = !fewWait || (states?.includes("done") ?? false);
		const scanEnd = looks ? (above: number) => read.laneScanEndStatement(tenantId, taskId, query, above) : null;
		return this.#store.page(read.tenantListStatement(tenantId, taskId, states, fewWait, query), query, scanEnd);
	}
	async #waiting(tenantId: number): Promise<number> {
		return (await this.#store.one(read.tenantCountsStatement(tenantId)))?.waiting ?? 0;
	}

	historyOf(job: Job): Promise<JobEvent[]> {
		return this.#store.history(job);
	}

	async #change(ref: JobRef, statements: Statement[]): Promise<Changed | null> {
		if ((await this.getJob(ref)) === null) return null;
		const rows = await this.#store.driver.batch(statements);
		const job = await this.getJob(ref);
		return job === null ? null : { job, changed: rows.flat().some(row => row.id === ref.id) };
	}
	cancelJob(ref: JobRef, nowMs: number): Promise<Changed | null> {
		return this.#change(ref, cancelStatements([ref.id], this.#store.defaults, nowMs));
	}
	retryJob(ref: JobRef, nowMs: number): Promise<Changed | null> {
		return this.#change(ref, retryStatements([ref.id], nowMs));
	}

	async counts(): Promise<QueueCounts> {
		const tenantId = await this.#store.tenantId(this.tenant);
		const row = tenantId === undefined ? undefined : await this.#store.one(read.tenantCountsStatement(tenantId));
		if (row !== undefined) return read.toCounts(row);
		const none = {
			submitted: 0,
			finished: 0,
			activeTenants: 0,
			ready: 0,
			delayed: 0,
			blocked: 0,
			running: 0,
			done: 0,
			failed: 0,
			dead: 0,
			cancelled: 0,
		};
		return { version: (await this.#store.operator.counts()).version, ...none };
	}
}

/** Without the endings that stand behind another for the same lease. Nearly always there are none. */
function firstOfEach(endings: readonly Ending[]): readonly Ending[] {
	if (new Set(endings.map(({ id }) => id)).size === endings.length) return endings;
	return [...new Map(endings.toReversed().map(ending => [`${ending.id} ${ending.token}`, ending])).values()];
}

class SqliteWorkerStore implements WorkerStore {
	readonly #store: SqliteStorage;
	constructor(store: SqliteStorage) {
		this.#store = store;
	}

	/** The numbers of tasks; one that nobody has submitted to yet gets its own now, so that it need not be looked for again. */
	async #taskIds(tasks: readonly string[]): Promise<number[]> {
		if (tasks.some(task => !this.#store.taskIds.has(task))) await this.#store.writeTasks(tasks);
		return [...new Set(tasks.flatMap(task => this.#store.taskIds.get(task) ?? []))];
	}
	async #claim(request: ClaimRequest, nowMs: number) {
		return claimStatements(request, await this.#taskIds(request.tasks), nowMs);
	}
	async #toClaimed(rows: readonly Row[], request: ClaimRequest): Promise<Claimed[]> {
		return (await this.#store.toJobs(rows)).map(job => Object.assign(job, { token: request.token }));
	}

	async claimDueJobs(request: ClaimRequest, nowMs: number): Promise<Claimed[]> {
		if (request.limit <= 0) return [];
		const { statements, claimed } = await this.#claim(request, nowMs);
		return this.#toClaimed((await this.#store.driver.batch(statements))[claimed]!, request);
	}
	async rehearse(request: ClaimRequest, sweepLimit: number, nowMs: number): Promise<Rehearsal> {
		const { statements, claimed } = await this.#claim(request, nowMs);
		const { defaults } = this.#store;
		const lost = expireLeasesStatements(sweepLimit, defaults, nowMs);
		const late = cancelLateStatements(sweepLimit, defaults, nowMs);
		const old = pruneStatements(sweepLimit, nowMs);
		const rows = await this.#store.driver.rehearse([...lost, ...late, ...old, ...statements, read.heldStatement]);
		const rowsOf = (from: number, part: readonly Statement[]): Row[] => rows.slice(from, from + part.length).flat();
		return {
			lost: rowsOf(0, lost).map(toMoved),
			late: rowsOf(lost.length, late).map(toMoved),
			pruned: rowsOf(lost.length + late.length, old).length,
			claimed: await this.#toClaimed(rows[lost.length + late.length + old.length + claimed]!, request),
			held: read.toHeld(rows.at(-1)!),
		};
	}

	async extendLeases(
		leases: readonly LeaseExtension[],
		leaseMs: number,
		nowMs: number,
	): Promise<{ id: number; cancelRequested: boolean }[]> {
		const [rows] = await this.#store.driver.batch([extendStatement(leases, nowMs + leaseMs)]);
		return rows!.map(row => ({ id: row.id, cancelRequested: row.cancel_requested_at !== null }));
	}

	async finishIfLeased(given: readonly Ending[], nowMs: number): Promise<Moved[]> {
		const endings = firstOfEach(given);
		const followUps: SubmitRow[] = [];
		for (const ending of endings)
			if (ending.outcome === "done")
				for (const job of ending.followUps ?? [])
					followUps.push({ laneId: await this.#store.laneId(job.tenant, job.task), job, parent: ending });
		const statements = followUps.length === 0 ? [] : submitStatements(followUps, nowMs).statements;
		const rows = await this.#store.driver.batch([...statements, ...finishStatements(endings, this.#store.defaults, nowMs)]);
		return rows.at(-1)!.map(toMoved);
	}

	async #sweep(statements: Statement[]): Promise<Moved[]> {
		return (await this.#store.driver.batch(statements)).flat().map(toMoved);
	}
	expireLeases(limit: number, nowMs: number): Promise<Moved[]> {
		return this.#sweep(expireLeasesStatements(limit, this.#store.defaults, nowMs));
	}
	cancelLate(limit: number, nowMs: number): Promise<Moved[]> {
		return this.#sweep(cancelLateStatements(limit, this.#store.defaults, nowMs));
	}
	async prune(limit: number, nowMs: number): Promise<number> {
		return (await this.#store.driver.batch(pruneStatements(limit, nowMs))).at(-1)!.length;
	}

	async nextDue(tasks: readonly string[], nowMs: number) {
		const row = (await this.#store.one(read.nextDueStatement(await this.#taskIds(tasks))))!;
		return read.toNextDue(row, nowMs);
	}
	statements(): number {
		return this.#store.driver.count();
	}
	async leaseHolders(): Promise<string[]> {
		return (await this.#store.driver.all(read.leaseHoldersStatement)).map(row => row.worker);
	}
	async forfeitLeases(worker: string, nowMs: number): Promise<number> {
		return (await this.#store.driver.batch([forfeitStatement(worker, nowMs)]))[0]!.length;
	}
}

class SqliteOperatorStore implements OperatorStore {
	readonly #store: SqliteStorage;
	constructor(store: SqliteStorage) {
		this.#store = store;
	}

	async getJob(ref: JobRef): Promise<Job | null> {
		const job = await this.#store.getJob(ref.id);
		return isJob(job, ref) ? job : null;
	}
	async listJobs(query: ListQuery): Promise<JobPage> {
		const taskId = query.task === undefined ? null : await this.#store.taskId(query.task);
		if (taskId === undefined || query.statuses?.length === 0) return { jobs: [], next: null };
		const states = read.statesOfQuery(query);
		return this.#store.page(read.queueListStatement(taskId, states, query), query, above =>
			read.queueScanEndStatement(states, query, above),
		);
	}
	historyOf(job: Job): Promise<JobEvent[]> {
		return this.#store.history(job);
	}
	async counts(): Promise<QueueCounts> {
		return read.toCounts((await this.#store.one(read.queueCountsStatement))!);
	}

	async setLimits(tenant: string, limits: Limits): Promise<void> {
		const statements: Statement[] = [
			{
				sql: "INSERT INTO tenants (name, concurrency, backlog) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
				params: [tenant, this.#store.defaults.concurrency, this.#store.defaults.backlog],
			},
			{
				sql: `UPDATE tenants SET concurrency = coalesce(?2, concurrency), own_concurrency = own_concurrency OR ?2 IS NOT NULL,
  backlog = coalesce(?3, backlog), own_backlog = own_backlog OR ?3 IS NOT NULL, step = coalesce(?4, step), paused = coalesce(?5, paused) WHERE name = ?1`,
				params: [
					tenant,
					limits.concurrency ?? null,
					limits.backlog ?? null,
					limits.weight === undefined ? null : Math.max(1, Math.round(1_000_000 / limits.weight)),
					limits.paused === undefined ? null : Number(limits.paused),
				],
			},
			{ sql: "UPDATE queue SET version = version + 1", params: [] },
		];
		for (const [task, concurrency] of Object.entries(limits.tasks ?? {})) {
			const laneId = await this.#store.laneId(tenant, task);
			statements.push({
				sql: "UPDATE lanes SET concurrency = ?2 WHERE lane_id = ?1",
				params: [laneId, concurrency],
			});
		}
		await this.#store.driver.batch(statements);
	}

	async setTask(task: string, settings: { concurrency?: number | null; paused?: boolean }): Promise<void> {
		await this.#store.driver.batch([
			{ sql: "INSERT INTO tasks (name) VALUES (?1) ON CONFLICT DO NOTHING", params: [task] },
			{
				sql: "UPDATE tasks SET concurrency = CASE WHEN ?2 THEN ?3 ELSE concurrency END, paused = coalesce(?4, paused) WHERE name = ?1",
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

	async verify(): Promise<string[]> {
		const found: string[] = [];
		for (const sql of CHECKS) for (const row of await this.#store.driver.all({ sql, params: [] })) found.push(row.what);
		return found;
	}

	async ping(): Promise<void> {
		const row = await this.#store.one({ sql: "SELECT value FROM meta WHERE name = 'schema'", params: [] });
		if (Number(row?.value) !== SCHEMA)
			throw new StorageUnavailable(`the store has schema ${row?.value ?? "none"}, this code needs ${SCHEMA}: run the migrations`);
	}
}

/** Opens the storage over a migrated database. Tenants without limits of their own get the given ones. */
export async function openSqliteStorage(driver: SqlDriver, defaults: StorageDefaults, tasks: readonly string[]): Promise<Storage> {
	const storage = new SqliteStorage(driver, defaults);
	await storage.operator.ping();
	await driver.batch([
		{
			sql: "UPDATE tenants SET concurrency = ?1 WHERE own_concurrency = 0 AND concurrency <> ?1",
			params: [defaults.concurrency],
		},
		{ sql: "UPDATE tenants SET backlog = ?1 WHERE own_backlog = 0 AND backlog <> ?1", params: [defaults.backlog] },
	]);
	await storage.writeTasks(tasks);
	return storage;
}
