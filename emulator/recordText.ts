/** JSON of a log record, whatever is in it: a task may log what has no JSON. */
export function recordText(record: object): string {
	try {
		return JSON.stringify(record);
	} catch {
		const seen = new Set<unknown>();
		return JSON.stringify(record, (_, value: unknown) => {
			if (typeof value === "bigint") return String(value);
			if (typeof value !== "object" || value === null) return value;
			if (seen.has(value)) return "(again)";
			seen.add(value);
			return value;
		});
	}
}
