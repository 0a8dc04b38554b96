/** What users import from "tickq": portable, for browsers, Workers and Node. */

export type { FollowUpOptions, LogFields, RetryPolicy, Task, TaskContext, TaskLog, TaskRegistry } from "./task.ts";
export { defineTask, Failed, RetryAfter, Snooze } from "./task.ts";
