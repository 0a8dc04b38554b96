/** What a tenant and an operator read alike, over an engine: each their own part of it. */
import { isJob, type Job, type JobEvent, type JobRef } from "../job.ts";
import { type Row, toBulkAction } from "./rows.ts";
import { countRunnable, lanesFor } from "./runnable.ts";
import type {
	BulkAction,
	DeadLetterGroup,
	JobFilter,
	JobPage,
	JobReader,
	ListQuery,
	Matched,
	NewBulkAction,
	QueueCounts,
	Schedule,
} from "./storage.ts";
import type { Store } from "./store.ts";

/** Jobs that one look of a count brings, and looks at most: a filter that hardly matches anything is not followed to the end. */
const COUNT_PAGE = 1000;
const COUNT_PAGES_MAX = 50;
const SAMPLE_MAX = 5;

export abstract class EngineReader implements JobReader {
	protected readonly store: Store;
	constructor(store: Store) {
		this.store = store;
	}
	/** Whose jobs these are; null: of all tenants; undefined: of one that nobody has heard of. */
	protected abstract whose(): Promise<number | null | undefined>;
	/** The same, where something is written: a tenant is made known. */
	protected abstract known(): Promise<number | null>;
	abstract counts(): Promise<QueueCounts>;
	async runnable(tasks: readonly string[] | null, most: number, nowMs: number): Promise<number> {
		const tenantId = await this.whose();
		if (tenantId === undefined) return 0;
		const taskIds = tasks === null ? null : await this.store.taskIds(tasks);
		return countRunnable(await this.store.engine.runnableLanes(taskIds, tenantId, lanesFor(most), nowMs), most);
	}

	async getJobsById(ids: readonly number[]): Promise<Job[]> {
		const tenantId = await this.whose();
		if (ids.length === 0 || tenantId === undefined) return [];
		return this.store.toJobs((await this.store.engine.jobs(ids)).filter(row => tenantId === null || row.tenant_id === tenantId));
	}
	async getJobById(id: number): Promise<Job | null> {
		return (await this.getJobsById([id]))[0] ?? null;
	}
	async getJob(ref: JobRef): Promise<Job | null> {
		const job = await this.getJobById(ref.id);
		return isJob(job, ref) ? job : null;
	}

	async listJobs(query: ListQuery): Promise<JobPage> {
		const tenantId = await this.whose();
		if (tenantId === undefined) return { jobs: [], next: null };
		const { rows, next } = await this.store.page(tenantId, query, "all");
		return { jobs: await this.store.toJobs(rows), next };
	}
	async historyOf(job: Job): Promise<JobEvent[]> {
		return this.store.history(job);
	}

	async deadLetterGroups(
		{ task, reason, fingerprint }: Pick<JobFilter, "task" | "reason" | "fingerprint">,
		limit: number,
	): Promise<DeadLetterGroup[]> {
		const tenantId = await this.whose();
		const taskId = task === undefined ? null : await this.store.taskId(task);
		if (tenantId === undefined || taskId === undefined) return [];
		const query = { tenantId, taskId, reason: reason ?? null, fingerprint: fingerprint ?? null, limit };
		const rows = await this.store.engine.groups(query);
		const examples = new Map((await this.getJobsById(rows.map(row => row.example))).map(job => [job.id, job]));
		return rows.flatMap(row => {
			const example = examples.get(row.example);
			// It was retried or deleted since.
			if (example === undefined) return [];
			const { fingerprint, reason, jobs: count, tenants, first_at: firstSeenAt, last_at: lastSeenAt } = row;
			return [{ task: example.task, fingerprint, reason, count, tenants, firstSeenAt, lastSeenAt, example }];
		});
	}

	async countMatching(filter: JobFilter | readonly number[], most: number): Promise<Matched> {
		const tenantId = await this.whose();
		const { rows, complete } = tenantId === undefined ? { rows: [], complete: true } : await this.#matching(tenantId, filter, most);
		const byTask = new Map<string, number>();
		const byTenant = new Map<string, number>();
		for (const { tenant, task } of await this.store.namesOf(rows)) {
			byTask.set(task, (byTask.get(task) ?? 0) + 1);
			byTenant.set(tenant, (byTenant.get(tenant) ?? 0) + 1);
		}
		const ordered = (counts: Map<string, number>) => [...counts].sort(([, a], [, b]) => b - a);
		return {
			value: rows.length,
			relation: complete ? "eq" : "gte",
			byTask: ordered(byTask).map(([task, jobs]) => ({ task, jobs })),
			byTenant: ordered(byTenant).map(([tenant, jobs]) => ({ tenant, jobs })),
			sample: rows.slice(0, SAMPLE_MAX).map(row => ({ id: row.id, tail: row.tail, createdAt: row.created_at })),
		};
	}
	async #matching(
		tenantId: number | null,
		filter: JobFilter | readonly number[],
		most: number,
	): Promise<{ rows: Row[]; complete: boolean }> {
		if (isList(filter)) {
			const found = filter.length === 0 ? [] : await this.store.engine.jobs(filter, "brief");
			const rows = found.filter(row => tenantId === null || row.tenant_id === tenantId).sort((a, b) => b.id - a.id);
			return { rows: rows.slice(0, most), complete: rows.length <= most };
		}
		const rows: Row[] = [];
		let before: number | null | undefined;
		for (let pages = 0; pages < COUNT_PAGES_MAX && rows.length < most && before !== null; pages++) {
			const query = { ...filter, limit: Math.min(COUNT_PAGE, most - rows.length), ...(before === undefined ? {} : { before }) };
			const page = await this.store.page(tenantId, query, "brief");
			rows.push(...page.rows);
			before = page.next;
		}
		return { rows, complete: before === null };
	}

	startBulkAction(action: NewBulkAction, nowMs: number): Promise<BulkAction>;
	startBulkAction(action: NewBulkAction, nowMs: number, most: number): Promise<BulkAction | null>;
	async startBulkAction(action: NewBulkAction, nowMs: number, most = Number.MAX_SAFE_INTEGER): Promise<BulkAction | null> {
		const row = await this.store.engine.insertBulkAction(action, await this.known(), most, nowMs);
		return row === undefined ? null : (await this.#toBulkActions([row]))[0]!;
	}
	async #bulkAction(id: number): Promise<Row | null> {
		const [tenantId, row] = [await this.whose(), await this.store.engine.bulkAction(id)];
		return row !== undefined && (tenantId === null || row.tenant_id === tenantId) ? row : null;
	}
	async getBulkAction(id: number): Promise<BulkAction | null> {
		const row = await this.#bulkAction(id);
		return row === null ? null : (await this.#toBulkActions([row]))[0]!;
	}
	async listBulkActions(limit: number): Promise<BulkAction[]> {
		const tenantId = await this.whose();
		return tenantId === undefined ? [] : this.#toBulkActions(await this.store.engine.bulkActions(tenantId, limit));
	}
	async stopBulkAction(id: number, nowMs: number): Promise<BulkAction | null> {
		if ((await this.#bulkAction(id)) === null) return null;
		await this.store.engine.stopBulkAction(id, nowMs);
		return this.getBulkAction(id);
	}
	async #toBulkActions(rows: readonly Row[]): Promise<BulkAction[]> {
		const names = await this.store.tenantNames(rows.map(row => row.tenant_id as number | null).filter(id => id !== null));
		return rows.map(row => toBulkAction(row, row.tenant_id === null ? null : (names.get(row.tenant_id) ?? "")));
	}

	async listSchedules(limit: number, after?: { readonly tenant: string; readonly name: string }): Promise<Schedule[]> {
		const tenantId = await this.whose();
		return tenantId === undefined ? [] : this.store.toSchedules(await this.store.engine.schedules(tenantId, limit, after));
	}
}

const isList = (filter: JobFilter | readonly number[]): filter is readonly number[] => Array.isArray(filter);
