/** Reading JSON that a stranger sent: what could not be stored as it came is refused. */

const DEPTH_MAX = 500;

/** Parses JSON text. Throws a SyntaxError that says what is wrong, also for numbers beyond a double and for nesting beyond 500. */
export function parseJson(text: string): unknown {
	if (text.length > DEPTH_MAX && depthOf(text) > DEPTH_MAX) throw new SyntaxError(`it nests deeper than ${DEPTH_MAX} levels`);
	// Only a number with a large exponent or very many digits can be one that no double holds.
	return /[eE]\+?\d{3}|\d{309}/.test(text) ? JSON.parse(text, finite) : JSON.parse(text);
}

function finite(_: string, value: unknown): unknown {
	if (value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY)
		throw new SyntaxError("it has a number that no double holds");
	return value;
}

function depthOf(text: string): number {
	let depth = 0;
	let deepest = 0;
	let inString = false;
	for (let i = 0; i < text.length; i++) {
		const code = text.charCodeAt(i);
		if (inString) {
			if (code === 0x5c) i++;
			else if (code === 0x22) inString = false;
		} else if (code === 0x22) inString = true;
		else if (code === 0x5b || code === 0x7b) deepest = Math.max(deepest, ++depth);
		else if (code === 0x5d || code === 0x7d) depth--;
	}
	return deepest;
}
