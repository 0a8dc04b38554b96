/** Every function under its operation's name: what a root composes. The compiler holds this to the contract, one for one. */
import type { Functions } from "../lib/compose.ts";
import { cancelJob } from "./cancelJob.ts";
import { describeProblem } from "./describeProblem.ts";
import { getJob } from "./getJob.ts";
import { health } from "./health.ts";
import { listJobs } from "./listJobs.ts";
import { listTasks } from "./listTasks.ts";
import { metrics } from "./metrics.ts";
import { openapi } from "./openapi.ts";
import { processTick } from "./processTick.ts";
import { ready } from "./ready.ts";
import { retryJob } from "./retryJob.ts";
import { submitJob } from "./submitJob.ts";

export const functions: Functions = {
	submitJob,
	listJobs,
	getJob,
	cancelJob,
	retryJob,
	listTasks,
	metrics,
	processTick,
	health,
	ready,
	openapi,
	describeProblem,
};
