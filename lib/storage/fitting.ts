/** What fits one parameter of a statement: D1 takes less in one than may end, or be submitted, together. */
import type { Ending, NewJob } from "./storage.ts";

/** D1 takes 2 MB in a parameter or a row; what is computed of a parameter needs room too. */
export const PARAM_BYTES_MAX = 1_500_000;

type Texts = readonly (string | undefined)[];

/** Bytes of something with these texts, and little else, at most: a character of a text becomes three bytes of JSON at most. */
export const bytesAtMost = (texts: Texts): number => texts.reduce((sum, text) => sum + 3 * (text?.length ?? 0), 1000);

/** In order, as many together as surely fit one parameter of so many bytes; undefined: any number. */
export function fitting<T>(items: readonly T[], textsOf: (item: T) => Texts, bytesMax: number | undefined): readonly (readonly T[])[] {
	if (bytesMax === undefined) return items.length === 0 ? [] : [items];
	const parts: T[][] = [];
	let bytes = bytesMax;
	for (const item of items) {
		const own = bytesAtMost(textsOf(item));
		bytes += own;
		if (bytes > bytesMax) {
			parts.push([]);
			bytes = own;
		}
		parts.at(-1)!.push(item);
	}
	return parts;
}

/** What is large in a job that is submitted. */
export const textsOfJob = ({ payload, key, tags = [] }: Pick<NewJob, "payload" | "key" | "tags">): Texts => [payload, key, ...tags];

const errorOf = (ending: Ending): Texts => ["error" in ending ? ending.error : undefined];
/** What is large in an ending. */
export const textsOfEnding = (ending: Ending): Texts => ["result" in ending ? ending.result : undefined, ...errorOf(ending)];

/** Endings that are counted together, as their errors fit; and of each such group the parts that are written together, as all of them fits. */
export const groupsOf = (endings: readonly Ending[], bytesMax: number | undefined): readonly (readonly (readonly Ending[])[])[] =>
	fitting(endings, errorOf, bytesMax).map(group => fitting(group, textsOfEnding, bytesMax));
