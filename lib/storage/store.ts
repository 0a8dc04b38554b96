/** The three facets of storage.ts over an engine: what is the same for every dialect. */
import { historyOf } from "../history.ts";
import type { Job, JobEvent, JobRef } from "../job.ts";
import { advanceBulkAction } from "./bulk.ts";
import type { Engine, JobList, SubmitRow } from "./engine.ts";
import { Names } from "./names.ts";
import { EngineReader } from "./reader.ts";
import {
	LIST_ROWS_MAX,
	type Row,
	statesOfFilter,
	taskOfLane,
	toCounts,
	toEvent,
	toHeld,
	toJob,
	toLeaseHeld,
	toMoved,
	toNextDue,
	toSchedule,
	toTaskState,
	toWorkerSeen,
} from "./rows.ts";
import {
	type BulkMoved,
	type Changed,
	type Claimed,
	type ClaimRequest,
	type DueSchedule,
	type Ending,
	type LeaseBounds,
	type LeaseExtension,
	type LeaseHeld,
	type Limits,
	type ListQuery,
	type Moved,
	type NewJob,
	type NewSchedule,
	type NewWorker,
	type NextDue,
	type OperatorStore,
	type QueueCounts,
	REMOTE_TASKS_MAX,
	type Rehearsal,
	type Schedule,
	type ScheduleMove,
	type Storage,
	type StorageDefaults,
	type SubmitAnswer,
	type TaskState,
	type TenantStore,
	TooManyTasks,
	type WorkerSeen,
	type WorkerStore,
} from "./storage.ts";

/** What a turn costs a tenant of weight 1. */
const STEP = 1_000_000;
/** Beyond, what a turn costs would outgrow the tags that are compared. */
const WEIGHT_MIN = 0.001;
const WEIGHT_MAX = 1000;

/** Payload that shares one submit at most. */
const SUBMIT_BYTES_MAX = 8 * 1024 * 1024;

interface Submitting {
	readonly row: SubmitRow;
	readonly nowMs: number;
	readonly resolve: (answer: SubmitAnswer) => void;
	readonly reject: (error: unknown) => void;
}

/** Clocks of processes differ by less: below a job that was created so long before an instant, none was created after it. */
const CLOCKS_APART_MS = 60 * 60_000;

export class Store implements Storage {
	readonly engine: Engine;
	readonly defaults: StorageDefaults;
	readonly names: Names;
	readonly worker: WorkerStore;
	readonly operator: OperatorStore;
	#submitting: Submitting[] = [];
	#newLanes: [tenant: string, task: string][] = [];
	#lanesMade: Promise<Map<string, number>> | null = null;

	constructor(engine: Engine, defaults: StorageDefaults, names: Names) {
		this.engine = engine;
		this.defaults = defaults;
		this.names = names;
		this.worker = new EngineWorkerStore(this);
		this.operator = new EngineOperatorStore(this);
	}

	tenant(name: string): TenantStore {
		return new EngineTenantStore(this, name);
	}
	close(): Promise<void> {
		return this.engine.close();
	}

	/** The number of a tenant, or undefined when it has never submitted anything. */
	async tenantId(name: string): Promise<number | undefined> {
		const known = this.names.tenantId(name);
		if (known !== undefined) return known;
		const row = await this.engine.tenantNamed(name);
		return row === undefined ? undefined : this.names.learnTenant(row);
	}
	async learnTasks(): Promise<void> {
		for (const row of await this.engine.tasks()) this.names.learnTask(row);
	}
	async taskId(name: string): Promise<number | undefined> {
		if (this.names.taskId(name) === undefined) await this.learnTasks();
		return this.names.taskId(name);
	}
	async #taskName(id: number): Promise<string> {
		await this.learnTasks();
		return this.names.taskName(id) ?? "";
	}
	/**
	 * The numbers of tasks; one that nobody has submitted to yet gets its own now, so that it need not be looked for again.
	 * @param most tasks that may be known then; else the missing ones get none
	 */
	async taskIds(tasks: readonly string[], most?: number): Promise<number[]> {
		const missing = tasks.filter(task => this.names.taskId(task) === undefined);
		if (missing.length > 0) await this.learnTasks();
		if (missing.some(task => this.names.taskId(task) === undefined)) {
			await this.engine.writeTasks(missing, most);
			await this.learnTasks();
		}
		return [...new Set(tasks.flatMap(task => this.names.taskId(task) ?? []))];
	}

	/**
	 * The lane of a tenant and task. New ones are written down in one batch for all who ask in a turn, so that whoever came first is still
	 * first afterwards.
	 */
	laneId(tenant: string, task: string): number | Promise<number> {
		const known = this.names.lane(tenant, task);
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
		const rows = await this.engine.makeLanes(() => {
			const asked = this.#newLanes;
			this.#newLanes = [];
			this.#lanesMade = null;
			return asked;
		}, this.defaults);
		const made = new Map<string, number>();
		for (const row of rows) {
			this.names.learnTenant(row);
			this.names.learnTask({ task_id: row.task_id, name: row.task });
			made.set(`${row.task} ${row.name}`, this.names.learnLane(row.tenant_id, row.task_id));
		}
		return made;
	}

	async tenantNames(ids: readonly number[]): Promise<Map<number, string | undefined>> {
		const names = new Map<number, string | undefined>(ids.map(id => [id, this.names.tenantName(id)]));
		const strangers = [...names.keys()].filter(id => names.get(id) === undefined);
		for (const row of strangers.length === 0 ? [] : await this.engine.tenantsNumbered(strangers))
			names.set(this.names.learnTenant(row), row.name);
		return names;
	}
	/** Tenant and task of rows of jobs. */
	async namesOf(rows: readonly Row[]): Promise<{ tenant: string; task: string }[]> {
		const tenants = await this.tenantNames(rows.map(row => row.tenant_id));
		const names: { tenant: string; task: string }[] = [];
		for (const row of rows) {
			const taskId = taskOfLane(row.lane_id);
			const task = this.names.taskName(taskId) ?? (await this.#taskName(taskId));
			names.push({ tenant: tenants.get(row.tenant_id) ?? "", task });
		}
		return names;
	}
	async toJobs(rows: readonly Row[]): Promise<Job[]> {
		return (await this.namesOf(rows)).map(({ tenant, task }, i) => toJob(rows[i]!, tenant, task));
	}
	async toSchedules(rows: readonly Row[]): Promise<Schedule[]> {
		const tenants = await this.tenantNames(rows.map(row => row.tenant_id));
		return rows.map(row => toSchedule(row, tenants.get(row.tenant_id) ?? ""));
	}
	async history(job: Job): Promise<JobEvent[]> {
		return historyOf(job, (await this.engine.events(job.id)).map(toEvent));
	}

	/** Submits that arrive in one turn share one batch. */
	submit(row: SubmitRow, nowMs: number): Promise<SubmitAnswer> {
		return new Promise((resolve, reject) => {
			this.#submitting.push({ row, nowMs, resolve, reject });
			if (this.#submitting.length === 1) void this.#submitAll();
		});
	}
	async #submitAll(): Promise<void> {
		const open = new Set<Submitting>();
		try {
			await this.engine.submit(() => {
				const taken = this.#take();
				for (const item of taken) open.add(item);
				return {
					rows: taken.map(({ row }) => row),
					nowMs: Math.max(...taken.map(({ nowMs }) => nowMs)),
					answered(i, answer) {
						open.delete(taken[i]!);
						taken[i]!.resolve(answer);
					},
				};
			});
		} catch (error) {
			for (const item of open) item.reject(error);
		}
	}
	/** Those that share the next batch: a bounded number of rows and of bytes. */
	#take(): Submitting[] {
		let bytes = 0;
		let count = 0;
		for (const { row } of this.#submitting) {
			bytes += row.job.payload.length;
			if (count > 0 && (count === this.engine.submitRowsMax || bytes > SUBMIT_BYTES_MAX)) break;
			count++;
		}
		const taken = this.#submitting.splice(0, count);
		if (this.#submitting.length > 0) void this.#submitAll();
		return taken;
	}

	/** How a page is looked for; null: nothing can be on it. */
	async #listOf(tenantId: number | null, query: ListQuery): Promise<JobList | null> {
		const taskId = query.task === undefined ? null : await this.taskId(query.task);
		const states = statesOfFilter(query);
		if (taskId === undefined || states?.length === 0) return null;
		if (tenantId === null) return { of: "queue", taskId, states, query };
		if (query.tag !== undefined) return { of: "tag", tenantId, tag: query.tag, taskId, states, query };
		const waits = states?.includes("ready") ?? false;
		const fewWait = !waits || ((await this.engine.tenantCounts(tenantId))?.waiting ?? 0) <= LIST_ROWS_MAX;
		return { of: "tenant", tenantId, fewWait, taskId, states, query };
	}
	/**
	 * A page as rows; tenantId null: of all. Where it looks at a bounded number of rows, what it found below the end of its look is left to
	 * the next page.
	 */
	async page(tenantId: number | null, query: ListQuery, columns: "all" | "brief"): Promise<{ rows: Row[]; next: number | null }> {
		const list = await this.#listOf(tenantId, query);
		if (list === null) return { rows: [], next: null };
		const found = await this.engine.list(list, columns);
		const full = found.length > query.limit;
		const last: number = full ? found[query.limit - 1]!.id : 0;
		const end = await this.engine.scanEnd(list, last);
		const rows = found.slice(0, query.limit).filter(row => end === null || row.id >= end);
		if (end !== null && query.createdAfter !== undefined) {
			const [oldest] = await this.engine.jobs([end], "brief");
			if (oldest !== undefined && oldest.created_at < query.createdAfter - CLOCKS_APART_MS) return { rows, next: null };
		}
		return { rows, next: end ?? (full ? last : null) };
	}
	/** Makes a tenant known that may not be yet. */
	async tenantIdFor(name: string): Promise<number> {
		const known = await this.tenantId(name);
		if (known !== undefined) return known;
		await this.engine.setLimits(name, {}, [], this.defaults);
		return (await this.tenantId(name))!;
	}
	async knowsTask(task: string): Promise<boolean> {
		return (await this.taskId(task)) !== undefined;
	}
}

const NO_COUNTS = {
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

class EngineTenantStore extends EngineReader implements TenantStore {
	readonly tenant: string;
	constructor(store: Store, tenant: string) {
		super(store);
		this.tenant = tenant;
	}
	protected whose(): Promise<number | undefined> {
		return this.store.tenantId(this.tenant);
	}
	protected known(): Promise<number> {
		return this.store.tenantIdFor(this.tenant);
	}

	async insertJob(job: NewJob, nowMs: number): Promise<SubmitAnswer> {
		const laneId = this.store.laneId(this.tenant, job.task);
		return this.store.submit({ laneId: typeof laneId === "number" ? laneId : await laneId, job }, nowMs);
	}

	async #change(ref: JobRef, change: () => Promise<number[]>): Promise<Changed | null> {
		if ((await this.getJob(ref)) === null) return null;
		const changed = await change();
		const job = await this.getJob(ref);
		return job === null ? null : { job, changed: changed.includes(ref.id) };
	}
	cancelJob(ref: JobRef, nowMs: number): Promise<Changed | null> {
		return this.#change(ref, () => this.store.engine.cancel([ref.id], this.store.defaults, nowMs));
	}
	retryJob(ref: JobRef, nowMs: number): Promise<Changed | null> {
		return this.#change(ref, () => this.store.engine.retry([ref.id], nowMs));
	}
	async deleteJob(ref: JobRef): Promise<Changed | null> {
		const job = await this.getJob(ref);
		return job === null ? null : { job, changed: (await this.store.engine.deleteJobs([ref.id])).includes(ref.id) };
	}

	async getSchedule(name: string): Promise<Schedule | null> {
		const tenantId = await this.whose();
		const row = tenantId === undefined ? undefined : await this.store.engine.schedule(tenantId, name);
		return row === undefined ? null : toSchedule(row, this.tenant);
	}
	async putSchedule(schedule: NewSchedule, nowMs: number, most: number): Promise<Schedule | null> {
		const row = await this.store.engine.putSchedule(await this.known(), schedule, nowMs, most);
		return row === undefined ? null : toSchedule(row, this.tenant);
	}
	async changeSchedule(schedule: NewSchedule, nowMs: number): Promise<Schedule | null> {
		const tenantId = await this.whose();
		const row = tenantId === undefined ? undefined : await this.store.engine.changeSchedule(tenantId, schedule, nowMs);
		return row === undefined ? null : toSchedule(row, this.tenant);
	}
	async deleteSchedule(name: string): Promise<boolean> {
		const tenantId = await this.whose();
		return tenantId !== undefined && this.store.engine.deleteSchedule(tenantId, name);
	}
	async getWebhook(): Promise<string | null> {
		const tenantId = await this.whose();
		return tenantId === undefined ? null : this.store.engine.webhookOf(tenantId);
	}
	async setWebhook(url: string | null): Promise<void> {
		await this.store.engine.setWebhook(await this.known(), url);
	}
	knowsTask(task: string): Promise<boolean> {
		return this.store.knowsTask(task);
	}

	async counts(): Promise<QueueCounts> {
		const tenantId = await this.whose();
		const row = tenantId === undefined ? undefined : await this.store.engine.tenantCounts(tenantId);
		return row === undefined ? { version: (await this.store.operator.counts()).version, ...NO_COUNTS } : toCounts(row);
	}
}

/** Without the endings that stand behind another for the same lease. Nearly always there are none. */
function firstOfEach(endings: readonly Ending[]): readonly Ending[] {
	if (new Set(endings.map(({ id }) => id)).size === endings.length) return endings;
	const first = new Map<string, Ending>();
	for (const ending of endings) {
		const lease = `${ending.id} ${ending.token}`;
		if (!first.has(lease)) first.set(lease, ending);
	}
	return [...first.values()];
}

class EngineWorkerStore implements WorkerStore {
	readonly #store: Store;
	constructor(store: Store) {
		this.#store = store;
	}
	get #engine(): Engine {
		return this.#store.engine;
	}

	async claimDueJobs(request: ClaimRequest, nowMs: number): Promise<Claimed[]> {
		if (request.limit <= 0) return [];
		const rows = await this.#engine.claim(request, await this.#store.taskIds(request.tasks), nowMs);
		return (await this.#store.toJobs(rows)).map(job => Object.assign(job, { token: request.token }));
	}
	async rehearse(request: ClaimRequest, sweepLimit: number, nowMs: number): Promise<Rehearsal> {
		const taskIds = await this.#store.taskIds(request.tasks);
		const rows = await this.#engine.rehearse(request, taskIds, sweepLimit, this.#store.defaults, nowMs);
		const before = await this.#engine.jobs(rows.claimed.map(row => row.id));
		const jobs = new Map((await this.#store.toJobs(before)).map(job => [job.id, job]));
		const claimed = rows.claimed.map(row => ({
			...jobs.get(row.id)!,
			state: "running" as const,
			seq: row.seq,
			claims: row.claims,
			losses: row.losses,
			startedAt: nowMs,
			leaseUntil: nowMs + request.leaseMs,
			worker: request.worker,
			token: request.token,
		}));
		return { claimed, lost: rows.lost.map(toMoved), late: rows.late.map(toMoved), pruned: rows.pruned, held: toHeld(rows.held) };
	}

	async extendLeases(leases: readonly LeaseExtension[], leaseMs: number, nowMs: number, bounds?: LeaseBounds): Promise<LeaseHeld[]> {
		return (await this.#engine.extend(leases, nowMs + leaseMs, nowMs, bounds)).map(toLeaseHeld);
	}

	async finishIfLeased(given: readonly Ending[], nowMs: number, notes = true): Promise<Moved[]> {
		const endings = firstOfEach(given);
		// Asked for together, so that lanes that are new are made together.
		const followUps: readonly SubmitRow[] = await Promise.all(
			endings
				.flatMap(ending => (ending.outcome === "done" ? (ending.followUps ?? []).map(job => ({ job, parent: ending })) : []))
				.map(async ({ job, parent }) => ({ laneId: await this.#store.laneId(job.tenant, job.task), job, parent })),
		);
		const moved = (await this.#engine.finish(endings, followUps, this.#store.defaults, nowMs)).map(toMoved);
		if (notes && moved.length < endings.length) {
			const ended = new Set(moved.map(({ id }) => id));
			await this.#engine.refuse(
				endings.filter(({ id }) => !ended.has(id)),
				nowMs,
			);
		}
		return moved;
	}

	async expireLeases(limit: number, nowMs: number): Promise<Moved[]> {
		return (await this.#engine.expire(limit, this.#store.defaults, nowMs)).map(toMoved);
	}
	async cancelLate(limit: number, nowMs: number): Promise<Moved[]> {
		return (await this.#engine.cancelLate(limit, this.#store.defaults, nowMs)).map(toMoved);
	}
	prune(limit: number, nowMs: number): Promise<number> {
		return this.#engine.prune(limit, nowMs);
	}

	async nextDue(tasks: readonly string[], nowMs: number): Promise<NextDue> {
		return toNextDue(await this.#engine.nextDue(await this.#store.taskIds(tasks), nowMs), nowMs);
	}
	advanceBulkActions(jobsMax: number, nowMs: number): Promise<BulkMoved[]> {
		const { engine, defaults } = this.#store;
		const briefPage = (tenantId: number | null, query: ListQuery) => this.#store.page(tenantId, query, "brief");
		return advanceBulkAction({ engine, defaults, briefPage }, jobsMax, nowMs);
	}
	async dueSchedules(limit: number, nowMs: number): Promise<DueSchedule[]> {
		const rows = await this.#engine.dueSchedules(limit, nowMs);
		return (await this.#store.toSchedules(rows)).map((schedule, i) => ({ ...schedule, lastJobOpen: rows[i]!.last_job_open === 1 }));
	}
	async moveSchedule({ id, nextAt }: Schedule, moved: ScheduleMove): Promise<void> {
		if (nextAt !== null) await this.#engine.moveSchedule(id, nextAt, moved);
	}
	async untoldWebhooks(limit: number): Promise<Job[]> {
		return this.#store.toJobs(await this.#engine.untoldWebhooks(limit));
	}
	tellWebhooks(jobs: readonly Job[]): Promise<void> {
		return this.#engine.tellWebhooks(jobs.map(({ id, seq }) => [id, seq] as const));
	}
	async seeWorker(worker: NewWorker, nowMs: number): Promise<void> {
		const known = await this.#store.taskIds(worker.tasks, worker.kind === "remote" ? REMOTE_TASKS_MAX : undefined);
		if (known.length < new Set(worker.tasks).size) throw new TooManyTasks();
		await this.#engine.seeWorker(worker, nowMs);
	}
	async insertJobFor(tenant: string, job: NewJob, nowMs: number): Promise<SubmitAnswer> {
		return this.#store.submit({ laneId: await this.#store.laneId(tenant, job.task), job, unbounded: true }, nowMs);
	}
	getJobsById(ids: readonly number[]): Promise<Job[]> {
		return this.#store.operator.getJobsById(ids);
	}
	knowsTask(task: string): Promise<boolean> {
		return this.#store.knowsTask(task);
	}
	statements(): number {
		return this.#engine.statements();
	}
	leaseHolders(): Promise<string[]> {
		return this.#engine.leaseHolders();
	}
	forfeitLeases(worker: string, nowMs: number): Promise<number> {
		return this.#engine.forfeit(worker, nowMs);
	}
}

class EngineOperatorStore extends EngineReader implements OperatorStore {
	protected async whose(): Promise<null> {
		return null;
	}
	protected async known(): Promise<null> {
		return null;
	}
	async counts(): Promise<QueueCounts> {
		return toCounts(await this.store.engine.counts());
	}

	async listWorkers(limit: number): Promise<WorkerSeen[]> {
		return (await this.store.engine.workers(limit)).map(toWorkerSeen);
	}
	async listTasks(): Promise<TaskState[]> {
		return (await this.store.engine.taskStates()).map(toTaskState);
	}
	async resetCircuit(task: string, tenant: string | null): Promise<number> {
		const taskId = await this.store.taskId(task);
		const tenantId = tenant === null ? null : await this.store.tenantId(tenant);
		return taskId === undefined || tenantId === undefined ? 0 : this.store.engine.resetCircuit(taskId, tenantId);
	}

	async setLimits(tenant: string, { tasks = {}, weight, ...limits }: Limits): Promise<void> {
		if (weight !== undefined && !(weight >= WEIGHT_MIN && weight <= WEIGHT_MAX))
			throw new RangeError(`a weight is between ${WEIGHT_MIN} and ${WEIGHT_MAX}, not ${weight}`);
		const lanes: [number, number | null][] = [];
		for (const [task, concurrency] of Object.entries(tasks)) lanes.push([await this.store.laneId(tenant, task), concurrency]);
		const step = weight === undefined ? {} : { step: Math.round(STEP / weight) };
		await this.store.engine.setLimits(tenant, { ...limits, ...step }, lanes, this.store.defaults);
	}
	setTask(task: string, settings: { concurrency?: number | null; paused?: boolean }): Promise<void> {
		return this.store.engine.setTask(task, settings);
	}
	verify(): Promise<string[]> {
		return this.store.engine.verify();
	}
	ping(): Promise<void> {
		return this.store.engine.ping();
	}
}

/** A storage over an engine whose database has the right schema. `names` may be shared by storages over one database. */
export const storeOver = (engine: Engine, defaults: StorageDefaults, names = new Names()): Storage => new Store(engine, defaults, names);

/** The same, looked at first: the schema is this code's, tenants without limits of their own get `defaults`, and `tasks` have numbers. */
export async function openStore(engine: Engine, defaults: StorageDefaults, tasks: readonly string[]): Promise<Storage> {
	const store = new Store(engine, defaults, new Names());
	await engine.ping();
	await engine.setDefaults(defaults);
	await store.taskIds(tasks);
	return store;
}
