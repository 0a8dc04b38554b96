/** What users import from "tickq": portable, for browsers, Workers and Node. */

export { OutsideForbidden } from "./outside.ts";
export type {
	FetchOutside,
	FollowUpOptions,
	LogFields,
	OutsideInit,
	RetryPolicy,
	RetryScope,
	Task,
	TaskContext,
	TaskLog,
	TaskRegistry,
} from "./task.ts";
export { defineTask, Failed, RetryAfter, Snooze } from "./task.ts";
