/**
 * Reads the YAML that the manifests in deploy/ are written in, and no other: maps, lists and plain or quoted scalars in blocks, `|` texts,
 * lists of scalars in brackets, comments. What it does not know it refuses, rather than to read it in another way than Kubernetes does.
 */
// biome-ignore lint/suspicious/noExplicitAny: a manifest has any form; tests look at whatever is there.
export type Yaml = any;

interface Line {
	readonly indent: number;
	readonly text: string;
	readonly number: number;
}

/** The documents of a file, in order. */
export const readYaml = (text: string): Yaml[] =>
	text
		.split(/^---$/m)
		.map(part => new Reader(part).document())
		.filter(document => document !== null);

class Reader {
	readonly #lines: Line[];
	readonly #raw: readonly string[];
	#at = 0;
	constructor(text: string) {
		this.#raw = text.split("\n");
		this.#lines = this.#raw
			.map((line, number) => ({ indent: /^ */.exec(line)![0].length, text: line.trim(), number }))
			.filter(({ text }) => text !== "" && !text.startsWith("#"));
	}

	document(): Yaml {
		if (this.#lines.length === 0) return null;
		const value = this.#block(0);
		if (this.#at < this.#lines.length) this.#refuse("it is indented as nothing before it");
		return value;
	}

	#refuse(why: string): never {
		const line = this.#lines[Math.min(this.#at, this.#lines.length - 1)]!;
		throw new SyntaxError(`line ${line.number + 1}, ${JSON.stringify(line.text)}: ${why}`);
	}

	#block(indent: number): Yaml {
		const line = this.#lines[this.#at];
		if (line === undefined || line.indent !== indent) return this.#refuse("a map or a list was expected here");
		return line.text.startsWith("- ") ? this.#list(indent) : this.#map(indent);
	}

	#list(indent: number): Yaml[] {
		const items: Yaml[] = [];
		for (let line = this.#lines[this.#at]; line?.indent === indent && line.text.startsWith("- "); line = this.#lines[this.#at]) {
			const inner = line.text.slice(2).trimStart();
			if (KEY.test(inner)) {
				// The item is a map whose first key stands behind the dash.
				const under = indent + line.text.length - inner.length;
				this.#lines[this.#at] = { ...line, indent: under, text: inner };
				items.push(this.#map(under));
			} else {
				this.#at++;
				items.push(this.#scalar(inner));
			}
		}
		return items;
	}

	#map(indent: number): Record<string, Yaml> {
		const map: Record<string, Yaml> = {};
		for (let line = this.#lines[this.#at]; line?.indent === indent && !line.text.startsWith("- "); line = this.#lines[this.#at]) {
			const [, key, rest = ""] = KEY.exec(line.text) ?? this.#refuse("it is no key");
			if (Object.hasOwn(map, key!)) this.#refuse("the key stands there twice");
			this.#at++;
			const next = this.#lines[this.#at];
			if (rest === "|") map[key!] = this.#text(line);
			else if (rest !== "") map[key!] = this.#scalar(rest);
			else if (next !== undefined && next.indent > indent) map[key!] = this.#block(next.indent);
			else this.#refuse(`${key} has no value`);
		}
		return map;
	}

	/** The lines below that are indented further, as they are. */
	#text({ indent, number }: Line): string {
		const lines: string[] = [];
		const under = /^ */.exec(this.#raw[number + 1] ?? "")![0].length;
		let at = number + 1;
		for (; at < this.#raw.length && under > indent && (this.#raw[at]!.startsWith(" ".repeat(under)) || this.#raw[at]!.trim() === ""); at++)
			lines.push(this.#raw[at]!.slice(under));
		while (this.#lines[this.#at] !== undefined && this.#lines[this.#at]!.number < at) this.#at++;
		return `${lines.join("\n").trimEnd()}\n`;
	}

	#scalar(text: string): Yaml {
		if (/^"/.test(text)) return JSON.parse(text);
		if (/^\[.*\]$/.test(text)) return JSON.parse(text);
		if (text === "{}") return {};
		if (text === "true" || text === "false") return text === "true";
		if (/^-?\d+$/.test(text)) return Number(text);
		if (/^\d+(?:m|Mi|Gi)$/.test(text)) return text;
		if (!/^[A-Za-z/][\w./:-]*$/.test(text) || /^(?:yes|no|on|off|null|y|n)$/i.test(text)) return this.#refuse("write this in quotes");
		return text;
	}
}
const KEY = /^([\w./-]+):(?: +(\S.*)|)$/;
