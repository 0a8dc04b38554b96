/** POST /api/bulk-actions: retries, cancels or deletes many jobs; ticks carry it out. With ?dry_run=true it says which they would be. */
import { toWholeBulkAction } from "../lib/bulkAction.ts";
import type { Answer, Body } from "../lib/contract.ts";
import { isJob, type Job, statusOf } from "../lib/job.ts";
import { toJobFilter } from "../lib/jobFilter.ts";
import { fromJobId, toJobId } from "../lib/jobId.ts";
import { operation, Reply } from "../lib/operation.ts";
import { Problem } from "../lib/problem.ts";
import { ACTS_ON, type JobFilter, type JobReader } from "../lib/storage/storage.ts";

type Matched = Extract<Answer<"startBulkAction">, { dry_run: true }>;
/** What of a job says whether it is the one that was named, and what would become of it. */
type Named = Pick<Job, "id" | "tail" | "createdAt" | "state" | "task" | "tenant">;

/** Jobs that a count looks at. */
const COUNT_MAX = 10_000;
/** Jobs that are read at once: their payloads come with them. */
const READ_MAX = 50;
const SAMPLE_MAX = 5;
/** Actions of one tenant, or of all tenants together, that are under way at once. */
const OPEN_MAX = 20;

export const startBulkAction = operation("startBulkAction", async ({ body, query, store, deps }) => {
	const filter = filterOf(body);
	const named = filter === null ? await findNamed(body.ids ?? [], store) : [];
	if (query.dry_run || typeof body.if_matched === "number") {
		const matched = filter === null ? countNamed(body, named) : await countMatching(body, filter, store);
		if (query.dry_run) return new Reply(JSON.stringify(matched), {}, 200);
		const { value, relation } = matched.matched;
		if (value !== body.if_matched)
			throw new Problem(
				"matched_changed",
				`${relation === "gte" ? "At least " : ""}${value} jobs match now, not ${body.if_matched}. Look again with ?dry_run=true.`,
				{ members: { matched: matched.matched } },
			);
	}
	const started = await store.startBulkAction(
		{
			action: body.action,
			...(filter === null ? { ids: named.map(({ id }) => id) } : { filter }),
			...(body.name ? { name: body.name } : {}),
			...(body.rate_per_s ? { ratePerS: body.rate_per_s } : {}),
			...(body.canary ? { canary: body.canary } : {}),
		},
		deps.clock.now(),
		OPEN_MAX,
	);
	if (started === null)
		throw new Problem("bulk_actions_full", `${OPEN_MAX} bulk actions are under way. Wait until one is done, or stop one.`, {
			headers: { "retry-after": "10" },
			members: { limit: "bulk_actions" },
		});
	deps.wake.ring();
	const answer = await toWholeBulkAction(started, store);
	return new Reply(JSON.stringify(answer), { location: `/api/bulk-actions/${answer.id}` });
});

/** The filter, held to what the action can act on; null where ids say which jobs. */
function filterOf({ action, filter, ids, canary }: Body<"startBulkAction">): JobFilter | null {
	const refuse = (code: "filter_or_ids" | "filter_empty" | "canary_unsupported" | "status_unsupported", pointer: string, detail: string) =>
		new Problem(code, detail, { errors: [{ pointer, code, detail }] });
	if (canary && action !== "retry")
		throw refuse("canary_unsupported", "/canary", `Whether a ${action} went well is known at once: leave canary out, and set rate_per_s.`);
	if (filter && ids) throw refuse("filter_or_ids", "/ids", "filter and ids both say which jobs: send one of them.");
	if (ids) return null;
	if (!filter) throw refuse("filter_or_ids", "/filter", "Say which jobs, by filter or by ids.");
	const wanted = toJobFilter(filter);
	if (Object.keys(wanted).length === 0)
		throw refuse("filter_empty", "/filter", "An empty filter would be every job. Name a status, a task, a tag or another member.");
	const strangers = wanted.statuses?.filter(status => !ACTS_ON[action].includes(status)) ?? [];
	if (strangers.length > 0)
		throw refuse(
			"status_unsupported",
			"/filter/status",
			`A ${action} does not act on jobs that are ${strangers.join(", ")}; it acts on ${ACTS_ON[action].join(", ")}.`,
		);
	return wanted;
}

/** The jobs of these ids. Those that are not there, or another tenant's, are as if they had not been named. */
async function findNamed(ids: readonly string[], store: JobReader): Promise<Named[]> {
	const refs = ids.flatMap(id => fromJobId(id) ?? []);
	const numbers = [...new Set(refs.map(({ id }) => id))];
	const named: Named[] = [];
	for (let i = 0; i < numbers.length; i += READ_MAX)
		for (const job of await store.getJobsById(numbers.slice(i, i + READ_MAX)))
			if (refs.some(ref => ref.id === job.id && isJob(job, ref))) {
				const { id, tail, createdAt, state, task, tenant } = job;
				named.push({ id, tail, createdAt, state, task, tenant });
			}
	return named;
}

function countNamed({ action }: Body<"startBulkAction">, named: readonly Named[]): Matched {
	const jobs = named.filter(({ state }) => ACTS_ON[action].includes(statusOf(state)));
	return {
		dry_run: true,
		matched: { value: jobs.length, relation: "eq" },
		by_task: tally(jobs.map(({ task }) => task)),
		by_tenant: tally(jobs.map(({ tenant }) => tenant)),
		sample: jobs.slice(0, SAMPLE_MAX).map(toJobId),
	};
}
const tally = (names: readonly string[]): Record<string, number> => {
	const counts = new Map<string, number>();
	for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
	return Object.fromEntries(counts);
};

async function countMatching({ action }: Body<"startBulkAction">, filter: JobFilter, store: JobReader): Promise<Matched> {
	const { value, relation, byTask, byTenant, sample } = await store.countMatching({ statuses: ACTS_ON[action], ...filter }, COUNT_MAX);
	return {
		dry_run: true,
		matched: { value, relation },
		by_task: Object.fromEntries(byTask.map(({ task, jobs }) => [task, jobs])),
		by_tenant: Object.fromEntries(byTenant.map(({ tenant, jobs }) => [tenant, jobs])),
		sample: sample.map(toJobId),
	};
}
