/** Bulk actions as they look from outside. */
import type { Answer } from "./contract.ts";
import { fromJobFilter } from "./jobFilter.ts";
import { toJobId } from "./jobId.ts";
import { Problem } from "./problem.ts";
import type { BulkAction, JobReader } from "./storage/storage.ts";
import { instant, instantOrNull } from "./wire.ts";

type BulkActionAnswer = Answer<"getBulkAction">;

const toBulkId = (id: number): string => `bulk_${id}`;

const notFound = (): Problem =>
	new Problem("bulk_action_not_found", "There is no such bulk action here. All of them: GET /api/bulk-actions.");

/** Reads a public id; what cannot be one is an action that is not there. */
export function fromBulkId(text: string | undefined): number {
	const digits = /^bulk_([1-9]\d{0,14})$/.exec(text ?? "")?.[1];
	if (digits === undefined) throw notFound();
	return Number(digits);
}

/** The action, or the problem that it is not there: also for another tenant's. */
export function foundBulkAction(action: BulkAction | null): BulkAction {
	if (action === null) throw notFound();
	return action;
}

export const toBulkAction = (action: BulkAction): BulkActionAnswer => ({
	id: toBulkId(action.id),
	action: action.action,
	name: action.name ?? null,
	tenant_id: action.tenant,
	filter: action.filter === undefined ? null : fromJobFilter(action.filter),
	ids_count: action.ids?.length ?? null,
	rate_per_s: action.ratePerS ?? null,
	canary: action.canary ?? null,
	status: action.status,
	reason: action.reason,
	seen: action.seen,
	changed: action.changed,
	skipped: action.skipped,
	created_at: instant(action.createdAt),
	updated_at: instant(action.updatedAt),
	ended_at: instantOrNull(action.endedAt),
});

/** The same with the jobs of its canary. */
export async function toWholeBulkAction(action: BulkAction, store: JobReader): Promise<BulkActionAnswer> {
	const jobs = action.canaryIds.length === 0 ? [] : await store.getJobsById(action.canaryIds);
	return { ...toBulkAction(action), canary_jobs: jobs.map(toJobId) };
}
