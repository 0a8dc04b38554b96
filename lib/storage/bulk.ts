/**
 * Bulk actions: one portion at a time, by whoever ticks. An action walks its jobs from the newest down and remembers below which number it has
 * still to look; what its filter matches is decided when a job's turn comes. A portion that was acted on and not recorded, since its process
 * died, is looked at again: what it has changed then no longer matches.
 */
import { isEnded, STATES, type State } from "../job.ts";
import type { BulkProgress, Engine } from "./engine.ts";
import { type Row, toBulkAction, toMoved } from "./rows.ts";
import {
	ACTS_ON,
	type BulkAction,
	type BulkActionKind,
	type BulkMoved,
	type ListQuery,
	type Moved,
	type StorageDefaults,
} from "./storage.ts";

/** Jobs of one portion, where no rate says less. */
const PORTION = 200;
/** Nobody else carries an action on for so long, unless what was done is recorded. */
const BUSY_MS = 30_000;
/** Wait between two looks at a canary. */
const CANARY_MS = 1000;
/** Wait for webhooks that are to be told first. */
const UNTOLD_MS = 1000;

export interface BulkStore {
	readonly engine: Engine;
	readonly defaults: StorageDefaults;
	/** A page of brief rows; tenantId null: of all. */
	briefPage(tenantId: number | null, query: ListQuery): Promise<{ readonly rows: readonly Row[]; readonly next: number | null }>;
}

/** Carries the action on that is due first, if any is. Answers the jobs that it changed. */
export async function advanceBulkAction(store: BulkStore, jobsMax: number, nowMs: number): Promise<BulkMoved[]> {
	const row = await store.engine.takeBulkAction(nowMs, nowMs + BUSY_MS);
	if (row === undefined) return [];
	const action = toBulkAction(row, null);
	const { moved, ...progress } =
		action.status === "canary" ? await watchCanary(store, action, nowMs) : await act(store, action, row, jobsMax, nowMs);
	const { id, seen, changed, skipped, canaryIds } = action;
	const unchanged = { id, from: row.cursor, cursor: row.cursor, reason: null, seen, changed, skipped, canaryIds };
	await store.engine.recordBulkAction({ ...unchanged, ...progress }, nowMs);
	return moved.map(job => ({ ...job, action: action.action }));
}

const stateOf = (row: Row): State => STATES[row.state as number] as State;
type Step = Pick<BulkProgress, "status" | "nextAt"> & Partial<BulkProgress> & { readonly moved: Moved[] };

async function watchCanary({ engine }: BulkStore, { canaryIds }: BulkAction, nowMs: number): Promise<Step> {
	const states = (await engine.jobs(canaryIds, "brief")).map(stateOf);
	const stop = (jobs: number, what: string): Step => ({
		moved: [],
		status: "stopped",
		nextAt: null,
		reason: `canary_failed: ${jobs} of its first ${canaryIds.length} jobs ${what}`,
	});
	const failed = states.filter(state => isEnded(state) && state !== "done").length;
	if (failed > 0) return stop(failed, "failed again");
	const gone = canaryIds.length - states.length;
	if (gone > 0) return stop(gone, "were deleted before this action saw how they ended");
	const waits = states.some(state => !isEnded(state));
	return waits ? { moved: [], status: "canary", nextAt: nowMs + CANARY_MS } : { moved: [], status: "running", nextAt: nowMs };
}

async function act(store: BulkStore, action: BulkAction, row: Row, jobsMax: number, nowMs: number): Promise<Step> {
	const { ratePerS, canary = 0, canaryIds } = action;
	const canaryLeft = Math.max(0, canary - canaryIds.length);
	const limit = Math.max(1, Math.min(jobsMax, ratePerS ?? PORTION, canaryLeft || Infinity));
	const { rows, looked, next, waits } = await nextJobs(store, action, row, limit);
	if (waits) return { moved: [], status: "running", nextAt: nowMs + UNTOLD_MS };
	const changed = rows.length === 0 ? [] : await change(store, action.action, rows, nowMs);
	const done = {
		cursor: next,
		seen: action.seen + looked,
		changed: action.changed + changed.length,
		skipped: action.skipped + looked - changed.length,
		canaryIds: canaryLeft > 0 ? [...canaryIds, ...changed.map(({ id }) => id)] : canaryIds,
		moved: changed,
	};
	if (next === null) return { ...done, status: "done", nextAt: null };
	if (canaryLeft > 0 && done.canaryIds.length === canary) return { ...done, status: "canary", nextAt: nowMs + CANARY_MS };
	return { ...done, status: "running", nextAt: nowMs + (ratePerS === undefined ? 0 : Math.ceil((looked * 1000) / ratePerS)) };
}

/**
 * The next jobs below the cursor, how many of them were looked at, and the cursor behind them: null with the last. A job whose webhook is
 * still to be told of its end can be neither retried nor deleted: there they end, and with none before it the action waits.
 */
async function nextJobs(
	{ engine, briefPage }: BulkStore,
	{ action, filter = {}, ids }: BulkAction,
	{ cursor, tenant_id: tenantId }: Row,
	limit: number,
): Promise<{ rows: readonly Row[]; looked: number; next: number | null; waits: boolean }> {
	const portion = (rows: readonly Row[], asked: readonly number[], next: number | null) => {
		const untold = action === "cancel" ? undefined : rows.filter(isUntold).map(({ id }) => id as number);
		if (untold === undefined || untold.length === 0) return { rows, looked: asked.length, next, waits: false };
		const end = Math.max(...untold);
		const looked = asked.filter(id => id > end).length;
		return { rows: rows.filter(({ id }) => id > end), looked, next: end + 1, waits: looked === 0 };
	};
	if (ids === undefined) {
		const statuses = ACTS_ON[action].filter(status => filter.statuses?.includes(status) ?? true);
		const { rows, next } = await briefPage(tenantId, { ...filter, statuses, before: cursor, limit });
		return portion(
			rows,
			rows.map(({ id }) => id),
			next,
		);
	}
	const left = [...new Set(ids)].filter(id => id < cursor).sort((a, b) => b - a);
	const asked = left.slice(0, limit);
	const rows = asked.length === 0 ? [] : await engine.jobs(asked, "brief");
	const own = rows.filter(row => tenantId === null || row.tenant_id === tenantId);
	return portion(own, asked, left.length > limit ? asked.at(-1)! : null);
}
const isUntold = (row: Row): boolean => isEnded(stateOf(row)) && row.webhook_url !== null && row.webhook_told === 0;

/** The jobs that the action changed, as they are now; deleted ones as they were. */
async function change({ engine, defaults }: BulkStore, action: BulkActionKind, rows: readonly Row[], nowMs: number): Promise<Moved[]> {
	const ids: number[] = rows.map(row => row.id);
	if (action === "delete") {
		const gone = new Set(await engine.deleteJobs(ids));
		return rows.filter(row => gone.has(row.id)).map(toMoved);
	}
	const changed = action === "retry" ? await engine.retry(ids, nowMs) : await engine.cancel(ids, defaults, nowMs);
	return changed.length === 0 ? [] : (await engine.jobs(changed, "brief")).map(toMoved);
}
