/** How many jobs a claim could take, counted by the lanes that it would walk. */
import type { Row } from "./rows.ts";

/** Lanes that are looked at for so many jobs: more, since one may give nothing where its tenant or task is full. */
export const lanesFor = (most: number): number => Math.max(most, Math.min(4 * most, 2000));

/**
 * A lane gives no more than is available in it, a tenant's lanes together no more than it may start, and a task's no more than it has room
 * for. Tasks without a limit go first, so that the room of the others is for those who need it.
 *
 * @param lanes {tenant_id, task_id, available, free (what the tenant may start), room (of the task; null: no limit)}
 */
export function countRunnable(lanes: readonly Row[], most: number): number {
	const free = new Map<number, number>();
	const room = new Map<number, number>();
	let jobs = 0;
	for (const isLimited of [false, true])
		for (const lane of lanes) {
			if ((lane.room !== null) !== isLimited) continue;
			const ofTenant = free.get(lane.tenant_id) ?? lane.free;
			const ofTask = room.get(lane.task_id) ?? lane.room ?? Number.POSITIVE_INFINITY;
			const taken = Math.max(0, Math.min(lane.available, ofTenant, ofTask));
			free.set(lane.tenant_id, ofTenant - taken);
			if (isLimited) room.set(lane.task_id, ofTask - taken);
			jobs += taken;
		}
	return Math.min(jobs, most);
}
