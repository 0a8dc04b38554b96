/** Finds what somebody may have meant. */

/** Letters that differ, are missing or too many. */
function distance(a: string, b: string): number {
	let row = Array.from({ length: b.length + 1 }, (_, i) => i);
	for (let i = 1; i <= a.length; i++) {
		const next = [i];
		for (let j = 1; j <= b.length; j++) next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
		row = next;
	}
	return row[b.length]!;
}

/** The name that is most like what was given, if any is much like it: at most every second letter differs. */
export function nearest(given: string, names: readonly string[]): string | undefined {
	if (given.length > 100) return undefined;
	const [best] = names.map(name => [name, distance(given.toLowerCase(), name.toLowerCase())] as const).sort(([, a], [, b]) => a - b);
	return best !== undefined && best[1] <= given.length / 2 ? best[0] : undefined;
}
