/** How a job looks from outside. Instants leave as RFC 3339; payload and result are spliced in as the text they are stored as. */
import { attemptOf } from "./history.ts";
import type { Job, JobEvent } from "./job.ts";
import { isEnded, statusOf } from "./job.ts";
import { toJobId } from "./jobId.ts";

export const instant = (ms: number): string => new Date(ms).toISOString();
export const instantOrNull = (ms: number | null): string | null => (ms === null ? null : instant(ms));

/** Payloads and results above this are left out of lists, as text saying so. */
const LIST_BYTES_MAX = 4096;

export interface JobTextOptions {
	readonly history?: readonly JobEvent[];
	/** Further members, first. */
	readonly members?: Readonly<Record<string, unknown>>;
	readonly inList?: boolean;
}

/** One job as JSON text. */
export function jobText(job: Job, options: JobTextOptions = {}): string {
	const id = toJobId(job);
	const error = job.error === null ? null : JSON.parse(job.error);
	const head = JSON.stringify({
		...options.members,
		job_id: id,
		id,
		tenant_id: job.tenant,
		task: job.task,
		status: statusOf(job.state),
		reason: job.reason,
	});
	const tail = JSON.stringify({
		error_message: error === null ? null : error.message,
		error,
		attempt: attemptOf(job),
		max_attempts: job.maxRetries + 1,
		retry_count: job.failures,
		max_retries: job.maxRetries,
		lost_count: job.losses,
		priority: job.priority,
		key: job.key,
		tags: job.tags,
		progress: job.progress === null ? null : JSON.parse(job.progress),
		timeout_ms: job.timeoutMs,
		created_at: instant(job.createdAt),
		run_at: instant(job.runAt),
		start_by: instantOrNull(job.startBy),
		started_at: instantOrNull(job.startedAt),
		completed_at: instantOrNull(job.completedAt),
		cancel_requested_at: instantOrNull(job.cancelRequestedAt),
		timing: {
			waited_ms: job.startedAt === null ? null : Math.max(0, job.startedAt - job.runAt),
			ran_ms: job.startedAt === null || !isEnded(job.state) ? null : Math.max(0, (job.completedAt ?? job.startedAt) - job.startedAt),
		},
		worker: job.worker,
		trace_id: job.traceId,
		links: { self: `/api/jobs/${id}`, dashboard: `/#/jobs/${id}` },
		...(options.history === undefined ? {} : { history: options.history.map(event => toWireEvent(event, job)) }),
	});
	return `${head.slice(0, -1)},"payload":${shown(job.payload, options)},"result":${shown(job.result ?? "null", options)},${tail.slice(1)}`;
}

const shown = (json: string, { inList }: JobTextOptions): string =>
	inList && json.length > LIST_BYTES_MAX ? JSON.stringify(`(${json.length} characters, see the job itself)`) : json;

function toWireEvent({ seq, at, kind, data }: JobEvent, job: Job) {
	const { run_at, ...rest } = data;
	return {
		seq,
		at: instant(at),
		kind,
		text: sentence(kind, data, job),
		...rest,
		...(typeof run_at === "number" ? { run_at: instant(run_at) } : {}),
	};
}

function sentence(kind: JobEvent["kind"], data: JobEvent["data"], job: Job): string {
	const message = (data.error as { message?: string } | null | undefined)?.message;
	const attempt = data.attempt;
	switch (kind) {
		case "submitted":
			return `Submitted by ${job.tenant}.`;
		case "claimed":
			return `Attempt ${attempt} started${data.worker ? ` on ${data.worker}` : ""}.`;
		case "done":
			return "Done.";
		case "failed":
			return `Failed for good: ${message ?? "no message"}.`;
		case "dead_letter":
			return data.reason === "lease_lost"
				? "Given up: its worker went away three times in a row."
				: `Given up, the retries are spent: ${message ?? "no message"}.`;
		case "cancelled":
			return data.reason === "expired" ? "Cancelled: it could not start before its deadline." : "Cancelled on request.";
		case "retry":
			return `The attempt failed: ${message ?? "no message"}. It is tried again.`;
		case "snoozed":
			return "The task asked to be run again later.";
		case "released":
			return "Given back without using an attempt.";
		case "lost":
			return "Its worker went away; it waits again, without using an attempt.";
		case "cancel_requested":
			return "A cancel was requested; the task was asked to stop.";
		case "retried":
			return "Put back in line.";
	}
}
