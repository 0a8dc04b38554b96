/** How a job looks from outside. Instants leave as RFC 3339; payload and result are spliced in as the text they are stored as. */
import { attemptOf } from "./history.ts";
import type { Job, JobEvent } from "./job.ts";
import { isEnded, statusOf } from "./job.ts";
import { toJobId } from "./jobId.ts";

/** Most instants of an answer are the same millisecond. */
let lastMs = Number.NaN;
let lastText = "";
export function instant(ms: number): string {
	if (ms !== lastMs) {
		lastText = new Date(ms).toISOString();
		lastMs = ms;
	}
	return lastText;
}
export const instantOrNull = (ms: number | null): string | null => (ms === null ? null : instant(ms));

/** Payloads and results above this are left out of lists, as text saying so. */
export const LIST_CHARS_MAX = 4096;

export interface JobTextOptions {
	/** The public id, if it is known already. */
	readonly id?: string;
	readonly history?: readonly JobEvent[];
	readonly inList?: boolean;
	/** For whoever may not see it. */
	readonly noPayload?: boolean;
}

const text = (value: unknown): string => JSON.stringify(value) ?? "null";
const instantText = (ms: number | null): string => (ms === null ? "null" : `"${instant(ms)}"`);

/** One job as JSON text. Put together by hand: it is the answer to every submit, and payload and result are JSON already. */
export function jobText(job: Job, options: JobTextOptions = {}): string {
	const id = options.id ?? toJobId(job);
	const { startedAt, completedAt } = job;
	const waitedMs = startedAt === null ? "null" : Math.max(0, startedAt - job.runAt);
	const ranMs = startedAt === null || !isEnded(job.state) ? "null" : Math.max(0, (completedAt ?? startedAt) - startedAt);
	const message = job.error === null ? "null" : text(JSON.parse(job.error).message);
	const history = options.history === undefined ? "" : `,"history":${text(options.history.map(event => toWireEvent(event, job)))}`;
	return (
		`{"job_id":"${id}","id":"${id}","tenant_id":${text(job.tenant)},"task":${text(job.task)},"status":"${statusOf(job.state)}","reason":${text(job.reason)}` +
		`${options.noPayload ? "" : `,"payload":${shown(job.payload, options)}`},"result":${shown(job.result ?? "null", options)},"error_message":${message},"error":${job.error ?? "null"},"fingerprint":${text(job.fingerprint)}` +
		`,"attempt":${attemptOf(job)},"max_attempts":${job.maxRetries + 1},"retry_count":${job.failures},"max_retries":${job.maxRetries},"lost_count":${job.losses}` +
		`,"priority":${job.priority},"key":${text(job.key)},"tags":${text(job.tags)},"progress":${job.progress ?? "null"},"timeout_ms":${job.timeoutMs}` +
		`,"created_at":${instantText(job.createdAt)},"run_at":${instantText(job.runAt)},"start_by":${instantText(job.startBy)}` +
		`,"started_at":${instantText(startedAt)},"completed_at":${instantText(completedAt)},"cancel_requested_at":${instantText(job.cancelRequestedAt)}` +
		`,"timing":{"waited_ms":${waitedMs},"ran_ms":${ranMs}},"worker":${text(job.worker)},"copy_of":${text(job.copyOf)},"webhook_url":${text(job.webhookUrl)},"trace_id":"${job.traceId}"` +
		`,"links":{"self":"/api/jobs/${id}","dashboard":"/#/jobs/${id}"}${history}}`
	);
}

const shown = (json: string, { inList }: JobTextOptions): string =>
	inList && json.length > LIST_CHARS_MAX ? JSON.stringify(`(${json.length} characters, see the job itself)`) : json;

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

const OPENED = " So many failed alike that the tenant's jobs of this task wait now; one a minute probes.";

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
			return data.circuit === "probe"
				? `The attempt failed while the circuit was open: ${message ?? "no message"}. No attempt is used.`
				: `The attempt failed: ${message ?? "no message"}. It is tried again.${data.circuit === "opened" ? OPENED : ""}`;
		case "snoozed":
			return "The task asked to be run again later.";
		case "released":
			return `Given back without using an attempt${message === undefined ? "" : `: ${message}`}.`;
		case "lost":
			return "Its worker went away; it waits again, without using an attempt.";
		case "cancel_requested":
			return "A cancel was requested; the task was asked to stop.";
		case "retried":
			return "Put back in line.";
		case "refused":
			return `A late result${data.outcome === undefined ? "" : ` (${data.outcome})`} was refused: its lease was lost before.`;
	}
}
