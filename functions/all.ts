/** Every function under its operation's name: what a root composes. The compiler holds this to the contract, one for one. */
import type { Functions } from "../lib/compose.ts";
import { cancelJob } from "./cancelJob.ts";
import { copyJob } from "./copyJob.ts";
import { createSchedule } from "./createSchedule.ts";
import { deleteJob } from "./deleteJob.ts";
import { deleteSchedule } from "./deleteSchedule.ts";
import { describeProblem } from "./describeProblem.ts";
import { getBulkAction } from "./getBulkAction.ts";
import { getJob } from "./getJob.ts";
import { getSchedule } from "./getSchedule.ts";
import { getWebhook } from "./getWebhook.ts";
import { health } from "./health.ts";
import { heartbeatLeases } from "./heartbeatLeases.ts";
import { leaseJobs } from "./leaseJobs.ts";
import { listBulkActions } from "./listBulkActions.ts";
import { listDeadLetterGroups } from "./listDeadLetterGroups.ts";
import { listJobs } from "./listJobs.ts";
import { listSchedules } from "./listSchedules.ts";
import { listTasks } from "./listTasks.ts";
import { listWorkers } from "./listWorkers.ts";
import { metrics } from "./metrics.ts";
import { openapi } from "./openapi.ts";
import { processTick } from "./processTick.ts";
import { ready } from "./ready.ts";
import { resetCircuit } from "./resetCircuit.ts";
import { retryJob } from "./retryJob.ts";
import { runSchedule } from "./runSchedule.ts";
import { settleLeases } from "./settleLeases.ts";
import { setWebhook } from "./setWebhook.ts";
import { startBulkAction } from "./startBulkAction.ts";
import { stopBulkAction } from "./stopBulkAction.ts";
import { submitJob } from "./submitJob.ts";
import { updateSchedule } from "./updateSchedule.ts";

export const functions: Functions = {
	submitJob,
	listJobs,
	getJob,
	cancelJob,
	retryJob,
	copyJob,
	deleteJob,
	listDeadLetterGroups,
	startBulkAction,
	listBulkActions,
	getBulkAction,
	stopBulkAction,
	createSchedule,
	listSchedules,
	getSchedule,
	updateSchedule,
	deleteSchedule,
	runSchedule,
	getWebhook,
	setWebhook,
	leaseJobs,
	heartbeatLeases,
	settleLeases,
	listWorkers,
	listTasks,
	resetCircuit,
	metrics,
	processTick,
	health,
	ready,
	openapi,
	describeProblem,
};
