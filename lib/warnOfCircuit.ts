/** Says in the log that a circuit has opened, wherever the attempt ran that opened it. */
import { CIRCUIT_PROBE_MS, type Job } from "./job.ts";
import type { Log } from "./log.ts";
import type { Ending } from "./storage/storage.ts";
import { instant } from "./wire.ts";

export function warnOfCircuit(log: Log, { tenant, task }: Pick<Job, "tenant" | "task">, ending: Ending, nowMs: number): void {
	log.warn("a task kept failing alike for a tenant: its jobs wait, and one a minute probes", {
		tenant_id: tenant,
		task,
		error: "error" in ending && ending.error !== undefined ? JSON.parse(ending.error).message : "",
		probes_at: instant(nowMs + CIRCUIT_PROBE_MS),
	});
}
