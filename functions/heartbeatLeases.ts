/** POST /api/leases/heartbeat: extends the leases of a remote worker, and says which of its jobs are to stop. */
import { inRounds, leaseKey, leaseOf, seeRemoteWorker } from "../lib/leases.ts";
import { operation } from "../lib/operation.ts";
import { remoteAttemptMsMax } from "../lib/runJob.ts";
import type { LeaseExtension } from "../lib/storage/storage.ts";
import { instant } from "../lib/wire.ts";

export const heartbeatLeases = operation("heartbeatLeases", async ({ body, store, deps }) => {
	const { clock, config } = deps;
	await seeRemoteWorker(body.worker, store, deps);
	const extensions = body.leases.flatMap((named): LeaseExtension[] => {
		const lease = leaseOf(named);
		if (lease === null) return [];
		const { percent, message } = named.progress ?? {};
		return [{ ...lease, ...(percent === undefined ? {} : { progress: JSON.stringify({ percent, message: message ?? undefined }) }) }];
	});
	const leaseMs = body.lease_ms ?? config.leaseMs;
	// A worker hears of a cancel with its next heartbeat, and has its grace from then on.
	const bounds = { heldMsMax: remoteAttemptMsMax(deps), graceMs: config.graceMs + Math.ceil(leaseMs / 3) };
	const held = new Map<string, { cancelRequested: boolean; leaseUntil: number }>();
	for (const round of inRounds(extensions)) {
		const tokens = new Map(round.map(({ id, token }) => [id, token]));
		for (const { id, ...lease } of await store.extendLeases(round, leaseMs, clock.now(), bounds))
			held.set(leaseKey({ id, token: tokens.get(id)! }), lease);
	}
	return {
		leases: body.leases.map(named => {
			const lease = leaseOf(named);
			const found = lease === null ? undefined : held.get(leaseKey(lease));
			if (found === undefined) return { id: named.id, status: "lost" as const, lease_expires_at: null };
			const status = found.cancelRequested ? ("cancel_requested" as const) : ("held" as const);
			return { id: named.id, status, lease_expires_at: instant(found.leaseUntil) };
		}),
	};
});
