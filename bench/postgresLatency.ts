/** How soon an idle worker runs what another process has submitted. */
import { type Bench, quantile, type Row } from "./measure.ts";
import { Crew } from "./postgresProcess.ts";
import { dropSchema, freshName, openPostgresQueue } from "./postgresQueue.ts";
import type { MeasuredServer } from "./postgresServer.ts";
import { mustAddUp, noopTasks } from "./queue.ts";

const WARM = 10;
const BLOCKS = 5;

export async function latencyRows(bench: Bench, { url, admin }: MeasuredServer): Promise<Row[]> {
	const submits = WARM + (bench.quick ? 50 : 250);
	const schema = freshName("latency");
	const { storage } = await openPostgresQueue(url, schema, noopTasks(["noop"]));
	const crew = new Crew(bench);
	const committed = new Map<number, number>();
	const ran = new Map<number, number>();
	const all = Promise.withResolvers<void>();
	crew.listen(said => {
		if (said.committed !== undefined) committed.set(said.committed.n, said.committed.at);
		if (said.ran !== undefined) ran.set(said.ran.n, said.ran.at);
		if (committed.size === submits && ran.size === submits) all.resolve();
	});
	const order = { url, schema, jobs: submits, tenants: 1, slots: 10 };
	await crew.add({ ...order, role: "wait" });
	await crew.add({ ...order, role: "submit" });
	const waiting = setTimeout(() => all.reject(new Error(`${ran.size} of ${submits} jobs ran`)), submits * 250 + 10_000);
	crew.go();
	await all.promise;
	clearTimeout(waiting);
	const { count, first } = await crew.end();
	if (count > 0) throw new Error(first);
	await mustAddUp(storage);
	await storage.close();
	await dropSchema(admin, schema);

	const times = Array.from({ length: submits - WARM }, (_, i) => ran.get(i + WARM)! - committed.get(i + WARM)!);
	const blocks = Array.from({ length: BLOCKS }, (_, block) => times.filter((_, i) => i % BLOCKS === block));
	const row = (q: number) => ({ values: blocks.map(block => quantile(block, q)), value: quantile(times, q), unit: "ms" }) as const;
	return [
		{ what: `commit → run by NOTIFY, idle, p50 of ${times.length}`, ...row(0.5), must: { atMost: 4 }, goal: { atMost: 2 } },
		{ what: `  p99`, ...row(0.99), must: { atMost: 20 }, goal: { atMost: 8 } },
	];
}
