/** Says of an error in loading modules what is wrong and in which file and line, as far as Node knows them. */
import { readFileSync } from "node:fs";
import { relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf } from "../lib/log.ts";

/** Who asked for a module that cannot be had. */
export interface Asked {
	readonly specifier: string;
	readonly by: string;
	/** What was thrown. */
	readonly error: unknown;
}

/** Our own code is to blame for nothing that a task's file does. */
const OWN = [new URL("./", import.meta.url).href, new URL("../lib/", import.meta.url).href];
/** First line of a stack: where the parser stopped. */
const PARSED = /^((?:file:\/\/|\/|[A-Za-z]:\\).+):(\d+)\r?\n/;
const FRAME = /^ +at (?:async )?(?:[^\n]*\()?((?:file:\/\/|\/|[A-Za-z]:\\)[^\n]+):(\d+):\d+\)?$/gm;

/** The path of a module as people type it: relative to the working directory if it is in there. */
export function shownPath(module: string): string {
	const path = module.startsWith("file:") ? fileURLToPath(new URL(module)) : module.split("?")[0]!;
	const near = relative(process.cwd(), path);
	return near.startsWith("..") ? path : near;
}

/**
 * @param error what the import threw
 * @param asked the last module that was not found; whoever asked for it may have gone on without
 * @param last address of the module that was loaded last: one that the engine cannot parse, where it says no more
 * @returns such as `Expected ',', got ';' (functions/tasks/greet.ts:2)`
 */
export function explainLoadError(error: unknown, asked: Asked | undefined, last: string | undefined): string {
	const message = messageOf(error)
		.replace(/(?: resolving ES modules)? imported from .*$/s, "")
		.replaceAll(`${process.cwd()}${sep}`, "");
	const place = asked !== undefined && asked.error === error ? placeOfImport(asked) : placeOf(error, last);
	return place === undefined ? message : `${message} (${place})`;
}

function placeOf(error: unknown, last: string | undefined): string | undefined {
	if (!(error instanceof Error)) return undefined;
	const stack = error.stack ?? "";
	const parsed = PARSED.exec(stack);
	if (parsed !== null) return `${shownPath(parsed[1]!)}:${parsed[2]}`;
	for (const [, module, line] of stack.matchAll(FRAME))
		if (!module!.includes("/node_modules/") && !OWN.some(own => module!.startsWith(own))) return `${shownPath(module!)}:${line}`;
	return error instanceof SyntaxError && last !== undefined ? shownPath(last) : undefined;
}

function placeOfImport({ specifier, by }: Asked): string | undefined {
	if (!by.startsWith("file:") || OWN.some(own => by.startsWith(own))) return undefined;
	const lines = readFileSync(new URL(by), "utf8").split("\n");
	const line = lines.findIndex(text => text.includes(`"${specifier}"`) || text.includes(`'${specifier}'`));
	return line < 0 ? shownPath(by) : `${shownPath(by)}:${line + 1}`;
}
