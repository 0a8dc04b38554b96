/**
 * The slots of a cron line in a time zone. croner reads the line and knows the calendar; what happens where clocks change is decided here:
 *
 * - A line that names its hours (`30 2 * * *`) has one slot for each local time that it names. A time that is left out when clocks go
 *   forward has its slot right after the gap; times that meet there are one slot. A time that comes twice has its slot the first time.
 * - A line with `*` in the hour, or with all 24, has a slot whenever the local clock shows a time of it: none in a gap, two where it comes twice.
 *
 * Pure: instants are epoch milliseconds, slots are whole seconds, and nothing here knows what time it is.
 */
import { Cron, CronPattern } from "croner";

const FIELDS = ["second", "minute", "hour", "day of the month", "month", "day of the week"] as const;
const MODE = "5-or-6-parts";

/** What is wrong with a cron line, to be read after "The cron line"; undefined: it can be read. */
export function cronTrouble(cron: string): string | undefined {
	const fields = fieldsOf(cron);
	try {
		new CronPattern(cron, "UTC", { mode: MODE });
		return undefined;
	} catch (error) {
		if (fields[0]?.startsWith("@")) return "has a name that is not known here: @hourly, @daily, @weekly, @monthly and @yearly are.";
		if (fields.length < 5 || fields.length > 6)
			return `needs five fields (minute, hour, day of the month, month, day of the week), or six with seconds in front; it has ${fields.length}.`;
		const said = (error as Error).message.replace(/^CronPattern: /, "");
		return `cannot be read: ${said.replace(/configuration entry (\d)/, (_, at) => `the field of the ${FIELDS[at as 0]}`).replace(/\.$/, "")}.`;
	}
}

export function isTimezone(timezone: string): boolean {
	try {
		clockOf(timezone);
		return true;
	} catch {
		return false;
	}
}

/** The first slot after an instant; null when there is none in the next centuries. Both must be ones that can be read. */
export const nextSlot = (cron: string, timezone: string, afterMs: number): number | null => slotsOf(cron, timezone)(afterMs);

/** The first slots after an instant, at most `most`. */
export function nextSlots(cron: string, timezone: string, afterMs: number, most: number): number[] {
	const next = slotsOf(cron, timezone);
	const slots: number[] = [];
	for (let at = afterMs; slots.length < most; ) {
		const slot = next(at);
		if (slot === null) break;
		slots.push(slot);
		at = slot;
	}
	return slots;
}

/** The last slot after `afterMs` and not after `untilMs`, however many lie between; null: none does. */
export function latestSlot(cron: string, timezone: string, afterMs: number, untilMs: number): number | null {
	const next = slotsOf(cron, timezone);
	let slot = next(afterMs);
	if (slot === null || slot > untilMs) return null;
	// None lies after `end`, so the way to the last one is halved each time: a line of every second that slept for a year costs little.
	for (let end = untilMs; ; ) {
		const following = next(slot);
		if (following === null || following > untilMs) return slot;
		const middle = Math.floor((following + end) / 2);
		const at = next(middle);
		if (at === null || at > untilMs) end = middle;
		slot = at === null || at > untilMs ? following : at;
	}
}

const fieldsOf = (cron: string): string[] => cron.match(/\S+/g) ?? [];

function slotsOf(cron: string, timezone: string): (afterMs: number) => number | null {
	const clock = clockOf(timezone);
	const pattern = new CronPattern(cron, "UTC", { mode: MODE });
	const hourField = fieldsOf(pattern.pattern).at(-4)!;
	if (/[*?]/.test(hourField) || pattern.hour.every(named => named)) {
		const line = new Cron(cron, { timezone: clock.zone, mode: MODE });
		return afterMs => line.nextRun(new Date(afterMs))?.getTime() ?? null;
	}
	// Local times as if they were UTC, where none is left out and none comes twice.
	const line = new Cron(cron, { timezone: "UTC", mode: MODE });
	return afterMs => {
		let localMs = clock.localAt(afterMs);
		for (;;) {
			const next = line.nextRun(new Date(localMs))?.getTime();
			if (next === undefined) return null;
			const at = clock.firstInstantOf(next);
			if (at > afterMs) return at;
			// The second time round, and it had its slot in the first: on with what comes behind both.
			const end = clock.changeBetween(at, afterMs) + clock.offsetAt(at);
			localMs = Math.max(next, end - 1000);
		}
	};
}

/** Further from UTC than any local clock is, and than a change moves one. */
const DAY_MS = 24 * 3_600_000;
const seconds = (ms: number): number => Math.floor(ms / 1000) * 1000;

/** What the clocks of a time zone show. Local times are milliseconds, counted as if the place were at UTC. */
class ZoneClock {
	readonly zone: string;
	readonly #format: Intl.DateTimeFormat;
	constructor(timezone: string) {
		this.#format = new Intl.DateTimeFormat("en-US", {
			timeZone: timezone,
			hourCycle: "h23",
			year: "numeric",
			month: "numeric",
			day: "numeric",
			hour: "numeric",
			minute: "numeric",
			second: "numeric",
		});
		this.zone = this.#format.resolvedOptions().timeZone;
	}

	/** The local time at an instant, in whole seconds. */
	localAt(ms: number): number {
		const at: Record<string, number> = {};
		for (const { type, value } of this.#format.formatToParts(ms)) at[type] = Number(value);
		return Date.UTC(at.year!, at.month! - 1, at.day!, at.hour!, at.minute!, at.second!);
	}
	offsetAt(ms: number): number {
		return this.localAt(ms) - seconds(ms);
	}
	/** When the clock first shows a local time, or has gone past it. */
	firstInstantOf(localMs: number): number {
		const before = localMs - this.offsetAt(localMs - DAY_MS);
		const after = localMs - this.offsetAt(localMs + DAY_MS);
		if (this.localAt(before) === localMs) return before;
		if (this.localAt(after) === localMs) return after;
		return this.changeBetween(Math.min(before, after), Math.max(before, after));
	}
	/** The first second at which the clock is no longer as it was at `beforeMs`; it has changed by `afterMs`. */
	changeBetween(beforeMs: number, afterMs: number): number {
		const offset = this.offsetAt(beforeMs);
		let low = seconds(beforeMs);
		let high = seconds(afterMs);
		while (high - low > 1000) {
			const middle = seconds((low + high) / 2);
			if (this.offsetAt(middle) === offset) low = middle;
			else high = middle;
		}
		return high;
	}
}

/** Making a clock costs more than asking it. Names can be spelled in many ways, so few are kept. */
const clocks = new Map<string, ZoneClock>();
const CLOCKS_MAX = 100;
function clockOf(timezone: string): ZoneClock {
	const known = clocks.get(timezone);
	if (known !== undefined) return known;
	const clock = new ZoneClock(timezone);
	if (clocks.size >= CLOCKS_MAX) clocks.clear();
	clocks.set(timezone, clock);
	return clock;
}
