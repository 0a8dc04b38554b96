import { describe, expect, it, vi } from "vitest";
import { settle } from "../support/harness.ts";
import { inQueue } from "./inQueue.ts";

class Socket extends EventTarget {
	readonly sent: string[] = [];
	closed: { code: number; reason: string } | null = null;
	send(text: string): void {
		this.sent.push(text);
	}
	close(code: number, reason: string): void {
		this.closed = { code, reason };
	}
}
const accepted: Socket[] = [];
vi.mock("../../functions/worker/platform.ts", () => ({
	acceptSocket() {
		const socket = new Socket();
		accepted.push(socket);
		return { socket, response: new Response() };
	},
}));
const { pushMetrics } = await import("../../functions/worker/liveMetrics.ts");

describe("live metrics on Workers", () => {
	const opened = (): Socket => accepted.at(-1)!;

	it("come at once and every 2 s, a bounded number of times, and then ask to come again", () =>
		inQueue(async ({ deps, clock }) => {
			pushMetrics(deps);
			await settle();
			expect(opened().sent).toHaveLength(1);
			expect(JSON.parse(opened().sent[0]!)).toMatchObject({ pending: 0, version: expect.any(Number) });
			await clock.advance(2000);
			expect(opened().sent).toHaveLength(2);
			const before = deps.storage.worker.statements();
			await clock.advance(300_000);
			expect(opened().sent).toHaveLength(30);
			expect(deps.storage.worker.statements() - before).toBe(28);
			expect(opened().closed).toEqual({ code: 1001, reason: expect.any(String) });
		}));

	it("end with the connection, and cost nothing from then on", () =>
		inQueue(async ({ deps, clock }) => {
			pushMetrics(deps);
			await settle();
			opened().dispatchEvent(new Event("close"));
			const before = deps.storage.worker.statements();
			await clock.advance(60_000);
			expect([opened().sent.length, deps.storage.worker.statements() - before]).toEqual([1, 0]);
		}));

	it("hang up when the store cannot be used", () =>
		inQueue(async ({ deps, logs }) => {
			const broken = { ...deps.storage, operator: { counts: () => Promise.reject(new Error("away")) } };
			pushMetrics({ ...deps, storage: broken as never });
			await settle();
			expect(opened().closed!.code).toBe(1011);
			expect(logs.at(-1)).toMatchObject({ level: "warn", error: "away" });
		}));
});
