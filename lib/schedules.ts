/**
 * Schedules: what a tick does when slots of them have come, what a request may ask for, and how one looks from outside.
 *
 * A slot becomes a job under a key of its own, and only then is the schedule moved on. So a crash between the two is healed by whoever looks
 * next, and however many processes look at once, a slot is one job.
 */
import type { Deps } from "./context.ts";
import { type Answer, SCHEDULE_NAME } from "./contract.ts";
import { cronTrouble, isTimezone, latestSlot, nextSlot, nextSlots } from "./cron.ts";
import { toJobId } from "./jobId.ts";
import { messageOf } from "./log.ts";
import { Problem } from "./problem.ts";
import type { DueSchedule, NewJob, Schedule, WorkerStore } from "./storage/storage.ts";
import { instant, instantOrNull, LIST_CHARS_MAX } from "./wire.ts";

/** A slot is missed when nobody has looked for so long: a restart or a tick once a minute does not miss it. */
export const MISSED_AFTER_MS = 5 * 60_000;
/** A slot's key is of use until the next slot has come. It stays for a while longer, since clocks differ. */
const KEY_KEPT_MS = 60 * 60_000;
/** Wait before a schedule is looked at again whose slots this process cannot tell: its zone is not known here. */
const UNTOLD_MS = 60 * 60_000;
/** Wait before a slot is tried again whose job could not be stored. */
const PUT_OFF_MS = 60_000;
/** Slots to come that are told. */
const NEXT_MAX = 5;

export type FireDeps = Pick<Deps, "clock" | "random" | "log"> & {
	readonly store: Pick<WorkerStore, "dueSchedules" | "insertJobFor" | "moveSchedule">;
};

/**
 * Submits the jobs of schedules whose slot has come, of `limit` schedules at most; each makes one job, however many of its slots have passed.
 * One whose job cannot be stored is put off for a minute, and keeps no other from its own.
 * @throws the store's error where one could not even be put off
 */
export async function fireSchedules(deps: FireDeps, limit: number): Promise<void> {
	const nowMs = deps.clock.now();
	const due = await deps.store.dueSchedules(limit, nowMs);
	// Side by side, so that the jobs are stored together.
	const fired = await Promise.allSettled(
		due.map(schedule => fire(schedule, deps, nowMs).catch(error => putOff(schedule, error, deps, nowMs))),
	);
	const failed = fired.find(outcome => outcome.status === "rejected");
	if (failed !== undefined) throw failed.reason;
}

/** The slot is not forgotten: what counts next time is the latest that was due. */
function putOff(schedule: DueSchedule, error: unknown, { store, log }: FireDeps, nowMs: number): Promise<void> {
	const { name, tenant, lastAt, lastJob } = schedule;
	log.error("a slot's job could not be stored; it is tried again in a minute", {
		schedule: name,
		tenant_id: tenant,
		error: messageOf(error),
	});
	return store.moveSchedule(schedule, { lastAt, nextAt: nowMs + PUT_OFF_MS, lastJobId: lastJob?.id ?? null });
}

/** After this a slot may be due: the latest that was, or the last change; before the one that is due, unless it was put off. */
const dueAfter = ({ nextAt, lastAt, updatedAt }: DueSchedule, nowMs: number): number =>
	Math.min((nextAt ?? nowMs) - 1, Math.max(lastAt ?? 0, updatedAt));

async function fire(schedule: DueSchedule, deps: FireDeps, nowMs: number): Promise<void> {
	const { store, log } = deps;
	const fields = { schedule: schedule.name, tenant_id: schedule.tenant };
	const lastJobId = schedule.lastJob?.id ?? null;
	let slot: number | null;
	let nextAt: number | null;
	try {
		slot = latestSlot(schedule.cron, schedule.timezone, dueAfter(schedule, nowMs), nowMs);
		nextAt = nextSlot(schedule.cron, schedule.timezone, slot ?? nowMs);
	} catch (error) {
		log.error("the slots of a schedule cannot be told here", { ...fields, error: messageOf(error) });
		return store.moveSchedule(schedule, { lastAt: schedule.lastAt, nextAt: nowMs + UNTOLD_MS, lastJobId });
	}
	if (slot === null) return store.moveSchedule(schedule, { lastAt: schedule.lastAt, nextAt, lastJobId });
	const why = whyLeftOut(schedule, slot, nowMs);
	if (why !== null) {
		log[why === "missed" ? "warn" : "debug"]("a slot was left out", { ...fields, slot: instant(slot), why });
		return store.moveSchedule(schedule, { lastAt: slot, nextAt, lastJobId });
	}
	const job: NewJob = {
		...toNewJob(schedule, deps),
		idempotency: {
			kind: "slot",
			key: `${schedule.name} ${instant(slot)}`,
			fingerprint: "slot",
			expiresAt: Math.max(nextAt ?? slot, nowMs) + KEY_KEPT_MS,
		},
	};
	const answer = await store.insertJobFor(schedule.tenant, job, nowMs);
	return store.moveSchedule(schedule, { lastAt: slot, nextAt, lastJobId: "id" in answer ? answer.id : lastJobId });
}

function whyLeftOut({ missed, overlap, lastJobOpen }: DueSchedule, slot: number, nowMs: number): "missed" | "overlap" | null {
	if (missed === "skip" && nowMs - slot > MISSED_AFTER_MS) return "missed";
	return overlap === "skip" && lastJobOpen ? "overlap" : null;
}

/** A job of a schedule, as each slot makes one. */
export const toNewJob = ({ name, task, payload, maxRetries }: Schedule, { random }: Pick<Deps, "random">, traceId = random.traceId()) =>
	({ task, payload, maxRetries, tags: [`schedule:${name}`], tail: random.tail(), traceId }) satisfies NewJob;

/** The first slot after now, which is what makes a cron line and a time zone usable. @throws Problem cron_invalid, timezone_unknown */
export function firstSlot(cron: string, timezone: string, nowMs: number): number {
	const trouble = cronTrouble(cron);
	if (trouble !== undefined) throw cronInvalid(`The cron line ${JSON.stringify(cron)} ${trouble}`, trouble);
	if (!isTimezone(timezone))
		throw new Problem(
			"timezone_unknown",
			`${JSON.stringify(timezone)} is no time zone that is known here: name one such as Europe/Zurich.`,
			{
				errors: [{ pointer: "/timezone", code: "timezone_unknown", detail: "is no time zone that is known here" }],
			},
		);
	const slot = nextSlot(cron, timezone, nowMs);
	if (slot === null) throw cronInvalid(`The cron line ${JSON.stringify(cron)} never fires: no day is like that.`, "never fires");
	return slot;
}
const cronInvalid = (detail: string, trouble: string): Problem =>
	new Problem("cron_invalid", detail, { errors: [{ pointer: "/cron", code: "cron_invalid", detail: trouble }] });

/**
 * The name in the path of a request: what no schedule can be called is not looked for.
 * @throws Problem schedule_not_found
 */
export function namedSchedule({ name = "" }: Readonly<Record<string, string>>): string {
	if (!SCHEDULE_NAME.test(name)) throw noSchedule();
	return name;
}

export const noSchedule = (): Problem =>
	new Problem("schedule_not_found", "This tenant has no schedule of this name: GET /api/schedules has those it has.");

/** The schedule, or the problem that it is not there. */
export function foundSchedule(schedule: Schedule | null): Schedule {
	if (schedule === null) throw noSchedule();
	return schedule;
}

/** How a schedule looks from outside. */
export function toWireSchedule(schedule: Schedule, nowMs: number, { inList = false } = {}): Answer<"getSchedule"> {
	const { payload } = schedule;
	return {
		name: schedule.name,
		tenant_id: schedule.tenant,
		task: schedule.task,
		payload: inList && payload.length > LIST_CHARS_MAX ? `(${payload.length} characters, see the schedule itself)` : JSON.parse(payload),
		cron: schedule.cron,
		timezone: schedule.timezone,
		missed: schedule.missed,
		overlap: schedule.overlap,
		paused: schedule.paused,
		max_retries: schedule.maxRetries,
		created_at: instant(schedule.createdAt),
		updated_at: instant(schedule.updatedAt),
		last_at: instantOrNull(schedule.lastAt),
		last_job_id: schedule.lastJob === null ? null : toJobId({ createdAt: 0, ...schedule.lastJob }),
		next_at: instantOrNull(schedule.nextAt),
		next_five: schedule.paused ? [] : slotsToCome(schedule, nowMs).map(instant),
	};
}

/** None where this process does not know the zone. */
function slotsToCome({ cron, timezone }: Schedule, nowMs: number): number[] {
	return cronTrouble(cron) === undefined && isTimezone(timezone) ? nextSlots(cron, timezone, nowMs, NEXT_MAX) : [];
}
