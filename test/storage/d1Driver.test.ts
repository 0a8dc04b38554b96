/** What only D1 asks of its driver: a rehearsal without a rollback, parameters of bounded size, and errors that pass. */
import { describe, expect, it } from "vitest";
import { type D1Like, d1Driver } from "../../lib/storage/sqlite/d1.ts";
import { SqliteEngine } from "../../lib/storage/sqlite/sqliteEngine.ts";
import { StorageUnavailable } from "../../lib/storage/storage.ts";
import { openStore } from "../../lib/storage/store.ts";
import { d1, emptyD1 } from "../support/d1.ts";
import { DEFAULTS, Desk, DONE, TASKS } from "./desk.ts";

const openDesk = async () => {
	await emptyD1();
	return new Desk(await openStore(new SqliteEngine(d1Driver(d1)), DEFAULTS, TASKS));
};
const select = (text: string) => ({ sql: "SELECT ?1 AS answer", params: [text] });

describe("a rehearsal on D1", () => {
	const QUOTES = `it's "quoted" ''twice'' <!tickq> \n\t ☃ 😀 {"a": [1, null]}`;

	it.each([
		["nothing", ""],
		["a quote", "'"],
		["quotes, its own marks, and text of all the world", QUOTES],
		["what looks like an error that passes", "D1 DB is overloaded"],
		["100 KB", QUOTES.repeat(2000)],
	])("answers %s as it is", async (_, text) => {
		expect(await d1Driver(d1).rehearse([], select(text))).toBe(text);
	});

	it("sees what its statements have done, and takes it back", async () => {
		const desk = await openDesk();
		const driver = d1Driver(d1);
		const insert = { sql: "INSERT INTO meta (name, value) VALUES (?1, 'x')", params: ["rehearsed"] };
		const question = { sql: "SELECT count(*) AS answer FROM meta WHERE name = 'rehearsed'", params: [] };
		expect(await driver.rehearse([insert], question)).toBe("1");
		expect((await driver.all(question))[0]).toEqual({ answer: 0 });
		await desk.audit();
	});

	it("takes all back where there is no answer", async () => {
		const driver = d1Driver(d1);
		expect(await driver.rehearse([], { sql: "SELECT NULL AS answer", params: [] })).toBe("");
		await expect(driver.rehearse([{ sql: "SELECT nonsense", params: [] }], select("x"))).rejects.toThrow("nonsense");
	});
});

describe("large jobs on D1", () => {
	/** JSON text of about `kilobytes`, of characters that take two bytes each in a parameter. */
	const text = (kilobytes: number): string => JSON.stringify('"'.repeat(kilobytes * 256));

	it("share a batch of endings, whatever they come to", async () => {
		const desk = await openDesk();
		await desk.fill(10);
		const jobs = await desk.claim({ limit: 10 });
		const result = text(500);
		expect(result.length).toBe(256_002);
		expect(await desk.finish(jobs, { outcome: "done", result })).toHaveLength(10);
		for (const { id } of jobs) expect((await desk.get(id)).result).toBe(result);
		await desk.audit();
	});

	it("share a batch of endings with what opens a circuit, and what is held", async () => {
		const desk = await openDesk();
		await desk.fill(9, i => ({ tenant: i % 3 === 0 ? "beta" : "acme" }));
		const jobs = await desk.claim({ limit: 9 });
		const result = text(500);
		const failure = { outcome: "retry", delayMs: 5000, error: '{"message":"away"}', fingerprint: "f_away", circuitFailures: 3 } as const;
		const moved = await desk.worker.finishIfLeased(
			jobs.map(({ id, token, tenant }) => ({ id, token, ...(tenant === "beta" ? failure : ({ outcome: "done", result } as const)) })),
			desk.now,
		);
		expect(moved).toHaveLength(9);
		expect(moved.filter(({ circuit }) => circuit === "opened")).toHaveLength(1);
		for (const { id, tenant } of jobs) {
			const { state, result: kept, fingerprint } = await desk.get(id);
			expect([state, kept, fingerprint]).toEqual(tenant === "beta" ? ["delayed", null, "f_away"] : ["done", result, null]);
		}
		await desk.audit();
	});

	it("are submitted together, and follow one, in order", async () => {
		const desk = await openDesk();
		const payload = text(480);
		const ids = await desk.fill(8, i => ({
			payload,
			...(i % 2 ? { idempotency: { key: `k${i}`, fingerprint: "f", expiresAt: desk.now + 1 } } : {}),
		}));
		expect(new Set(ids).size).toBe(8);
		expect(await desk.offer({ payload, idempotency: { key: "k3", fingerprint: "f", expiresAt: desk.now + 1 } })).toMatchObject({
			status: "replayed",
			id: ids[3],
		});
		const parent = await desk.claimOne();
		const followUps = Array.from({ length: 8 }, () => desk.followUp({ payload }));
		expect(await desk.finish(parent, { ...DONE, followUps })).toHaveLength(1);
		expect((await desk.operator.counts()).ready).toBe(15);
		await desk.audit();
	});
});

describe("the D1 driver", () => {
	it("counts every statement, and what D1 bills", async () => {
		const desk = await openDesk();
		const driver = d1Driver(d1);
		await driver.batch([
			{ sql: "INSERT INTO meta (name, value) VALUES ('a', 'b'), ('c', 'd')", params: [] },
			{ sql: "SELECT * FROM meta", params: [], onlyIf: { sql: "SELECT 1 WHERE false", params: [] } },
		]);
		await driver.all({ sql: "SELECT value FROM meta WHERE name = ?1", params: ["a"] });
		expect(driver.count()).toBe(3);
		const { rowsRead, rowsWritten } = driver.cost();
		expect(rowsWritten).toBe(2);
		expect(rowsRead).toBeGreaterThanOrEqual(3);
		await desk.audit();
	});

	const failing = (message: string): D1Like => ({
		prepare: () => ({ bind: () => failing(message).prepare(""), all: () => Promise.reject(new Error(message)) }),
		batch: () => Promise.reject(new Error(message)),
	});

	it.each([
		"D1_ERROR: Network connection lost.",
		"D1_ERROR: D1 DB storage operation exceeded timeout which caused object to be reset.",
		"D1_ERROR: D1 DB is overloaded. Requests queued for too long.",
		"D1_ERROR: D1 DB is overloaded. Too many requests queued.",
		"D1_ERROR: Durable Object reset because its code was updated.",
		"D1_ERROR: D1 DB reset because its code was updated.",
		"D1_ERROR: Too many API requests by single worker invocation.",
		"Error: Too many subrequests.",
		"D1_ERROR: database is locked: SQLITE_BUSY",
		"D1_ERROR: Exceeded maximum DB size",
		"D1_ERROR: Exceeded maximum account storage",
		"D1_ERROR: Your account has exceeded its daily row write limit.",
		"D1_ERROR: Internal error in D1 DB storage caused object to be reset.",
		"D1_ERROR: Cannot resolve D1 DB due to transient issue on remote node.",
		"D1_ERROR: internal error; reference = abc",
		"D1_ERROR: Failed to parse body as JSON, got: error code: 1031",
	])("says that the store is away for %s", async message => {
		const driver = d1Driver(failing(message));
		for (const call of [driver.batch([select("")]), driver.all(select("")), driver.rehearse([], select(""))]) {
			const error = await call.then(
				() => null,
				error => error,
			);
			expect(error).toBeInstanceOf(StorageUnavailable);
			expect(error.cause.message).toBe(message);
		}
	});

	it.each([
		"D1_ERROR: no such table: jobs: SQLITE_ERROR",
		"D1_ERROR: UNIQUE constraint failed: tenants.name: SQLITE_CONSTRAINT",
		"D1_ERROR: string or blob too big: SQLITE_TOOBIG",
		"D1_ERROR: too many SQL variables at offset 7: SQLITE_ERROR",
		"D1_ERROR: Expression tree is too large (maximum depth 100): SQLITE_ERROR",
	])("says as it is that a statement is wrong: %s", async message => {
		const error = await d1Driver(failing(message))
			.all(select(""))
			.catch(error => error);
		expect([error instanceof StorageUnavailable, error.message]).toEqual([false, message]);
	});
});
