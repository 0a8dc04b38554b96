/** Keeps a page's data fresh: asks again after a change of the queue, one question at a time, none while the line is down. */

import { isAbort } from "./api.js";
import { subscribe } from "./live.js";

/**
 * @param {(signal: AbortSignal) => Promise<void>} load throws what went wrong
 * @param {(error: unknown) => void} fail
 * @param {{ everyMs?: number, restMs?: number }} [options] ask again after so long although nothing changed; and not sooner although it did
 * @returns {{ again: () => Promise<void>, end: () => void, signal: AbortSignal }}
 */
export function follow(load, fail, { everyMs = Number.POSITIVE_INFINITY, restMs = 0 } = {}) {
	const closing = new AbortController();
	const { signal } = closing;
	/** The version that the data is of; null: not known, -1: ask again with the next push. @type {number | null} */
	let version = null;
	let askedAt = Date.now();
	let asking = false;
	let waiting = false;

	/** @returns {Promise<void>} */
	async function again() {
		if (asking) {
			waiting = true;
			return;
		}
		asking = true;
		askedAt = Date.now();
		try {
			await load(signal);
		} catch (error) {
			if (!isAbort(error) && !signal.aborted) {
				version = -1;
				fail(error);
			}
		}
		asking = false;
		if (!waiting || signal.aborted) return;
		waiting = false;
		await again();
	}

	const unsubscribe = subscribe(({ connection, queue }) => {
		if (connection !== "live" || !queue) return;
		const changed = version !== null && queue.version !== version;
		const agoMs = Date.now() - askedAt;
		if (changed && agoMs < restMs) return;
		version = queue.version;
		if (changed || agoMs >= everyMs) void again();
	});
	void again();
	return {
		again,
		signal,
		end() {
			closing.abort();
			unsubscribe();
		},
	};
}
