/**
 * The alarm clock: one Durable Object that is woken at the next instant at which something is due, and then runs a tick. Whoever has
 * learned of such an instant tells it. Without it, the cron trigger finds what is due.
 */
import type { DurableObjects, DurableState } from "./platform.ts";

/** Wait before a tick that failed is tried again. */
const AFTER_FAILURE_MS = 10_000;

/** Sees to it that there is a tick at that instant. */
export async function wakeAt(wakers: DurableObjects, at: number): Promise<void> {
	await wakers.get(wakers.idFromName("tickq")).fetch(new Request(`https://waker/?at=${at}`));
}

/** @param tick runs one and answers when the next is needed; null: when somebody says so */
export function wakerOf<Env>(tick: (env: Env) => Promise<number | null>, now: () => number) {
	return class Waker {
		readonly #state: DurableState;
		readonly #env: Env;
		constructor(state: DurableState, env: Env) {
			this.#state = state;
			this.#env = env;
		}

		async fetch(request: Request): Promise<Response> {
			await this.#setAlarm(Number(new URL(request.url).searchParams.get("at")));
			return new Response(null, { status: 204 });
		}
		async alarm(): Promise<void> {
			const next = await tick(this.#env).catch(() => now() + AFTER_FAILURE_MS);
			if (next !== null) await this.#setAlarm(next);
		}

		/** The earliest that anybody asks for. */
		async #setAlarm(at: number): Promise<void> {
			const set = await this.#state.storage.getAlarm();
			if (set === null || at < set) await this.#state.storage.setAlarm(at);
		}
	};
}
