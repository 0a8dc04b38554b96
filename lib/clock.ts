/** The only place that reads the wall clock, sets timers and draws random numbers; everything else is handed these. */

export interface Clock {
	/** Epoch milliseconds. */
	now(): number;
	/** Calls back once after `ms`, unless the answer is called before. */
	after(ms: number, callback: () => void): () => void;
	/** Resolves when what has arrived in this turn of the event loop has been read. */
	turn(): Promise<void>;
}

export interface Random {
	/** 0 ≤ n < 1, for backoff. */
	fraction(): number;
	/** Unpredictable, 0 ≤ n < 2^40: the tail of a public id. */
	tail(): number;
	/** Unpredictable, 0 < n < 2^52: a fencing token. */
	token(): number;
	/** Unpredictable, 32 lower-case hex digits, not all zero: a W3C trace id. */
	traceId(): string;
}

/** @param turn how this platform waits for the next turn; by default a timer of 0 ms */
export function systemClock(turn: (callback: () => void) => void = callback => setTimeout(callback, 0)): Clock {
	return {
		now: () => Date.now(),
		after(ms, callback) {
			// Timers hold at most 2^31 - 1 ms; whoever sleeps that long is glad of a look in between.
			const timer = setTimeout(callback, Math.min(Math.max(0, ms), 2_147_483_647));
			return () => clearTimeout(timer);
		},
		turn: () => new Promise(turn),
	};
}

export function systemRandom(): Random {
	// Random bytes are drawn a page at a time: one call to the system costs more than a hundred ids.
	const page = new Uint8Array(4096);
	let at = page.length;
	const take = (count: number): number => {
		if (at + count > page.length) {
			crypto.getRandomValues(page);
			at = 0;
		}
		at += count;
		return at - count;
	};
	const integer = (bytes: number): number => {
		let value = 0;
		for (let i = take(bytes), end = i + bytes; i < end; i++) value = value * 256 + page[i]!;
		return value;
	};
	return {
		fraction: () => Math.random(),
		tail: () => integer(5),
		token: () => integer(6) * 16 + 1,
		traceId() {
			let text = "";
			for (let i = take(16), end = i + 16; i < end; i++) text += HEX[page[i]!];
			return text;
		},
	};
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
