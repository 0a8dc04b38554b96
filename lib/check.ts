/** Holding input to a schema; what does not fit is a problem that points at each place and says what would fit. */
import type * as z from "zod";
import { type FieldError, Problem, type ProblemCode } from "./problem.ts";

const ERRORS_MAX = 50;

/**
 * The value as the schema makes it, or a {@link Problem}.
 * @param under JSON Pointer of where the value stands in the body
 * @param hint a further sentence for the detail
 */
export function check<T extends z.ZodType>(schema: T, value: unknown, code: ProblemCode, under = "", hint = ""): z.output<T> {
	const parsed = schema.safeParse(value);
	if (parsed.success) return parsed.data;
	const errors = fieldErrors(parsed.error.issues, path => under + path.map(part => `/${escaped(part)}`).join(""));
	throw new Problem(
		code,
		`${detailOf(errors, pointer => pointer.slice(1).replaceAll("/", ".") || "The body")}${hint === "" ? "" : ` ${hint}`}`,
		{ errors },
	);
}

/** The same for a query, whose values are single and whose places are `?name`. */
export function checkQuery<T extends z.ZodType>(schema: T, value: unknown): z.output<T> {
	const parsed = schema.safeParse(value);
	if (parsed.success) return parsed.data;
	const errors = fieldErrors(parsed.error.issues, ([name]) => `?${String(name ?? "")}`);
	throw new Problem(
		"query_invalid",
		detailOf(errors, pointer => pointer),
		{ errors },
	);
}

function detailOf(errors: readonly FieldError[], name: (pointer: string) => string): string {
	const [first] = errors;
	const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
	return first === undefined ? "It does not fit." : `${name(first.pointer)}${first.code === "custom" ? ":" : ""} ${first.detail}${more}.`;
}

type Path = readonly PropertyKey[];
const escaped = (part: PropertyKey): string => String(part).replaceAll("~", "~0").replaceAll("/", "~1");

function fieldErrors(issues: readonly z.core.$ZodIssue[], pointer: (path: Path) => string): FieldError[] {
	return issues
		.flatMap(issue =>
			issue.code === "unrecognized_keys"
				? issue.keys.map(key => ({ pointer: pointer([...issue.path, key]), code: "unrecognized_key", detail: "is not known here" }))
				: [{ pointer: pointer(issue.path), code: issue.code ?? "invalid", detail: sentence(issue) }],
		)
		.slice(0, ERRORS_MAX);
}

const article = (noun: string): string => (/^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`);
const FORMATS: Readonly<Record<string, string>> = {
	datetime: "must be a time such as 2026-11-24T11:04:40Z",
	email: "must be an email address",
	url: "must be a URL",
	uuid: "must be a UUID",
};

/** What would fit, to be read after the field's name. */
function sentence(issue: z.core.$ZodIssue): string {
	const own = issue.message;
	switch (issue.code) {
		case "invalid_type": {
			const received = /received (\w+)$/.exec(own)?.[1];
			if (received === "undefined") return "is missing";
			if (issue.expected === "int") return "must be a whole number";
			const { expected } = issue;
			return `must be ${article(expected)}${received === undefined ? "" : `, not ${received === "null" || received === "NaN" ? received : article(received)}`}`;
		}
		case "invalid_value":
			return `must be ${issue.values.length === 1 ? "" : "one of "}${issue.values.map(String).join(", ")}`;
		case "too_small":
			return bound("at least", issue.origin, issue.minimum);
		case "too_big":
			return bound("at most", issue.origin, issue.maximum);
		case "invalid_format":
			return FORMATS[issue.format] ?? (own.startsWith("Invalid ") ? `must match ${issue.pattern ?? issue.format}` : own);
		default:
			return own.replace(/^Invalid input:?\s*/, "") || "does not fit";
	}
}

function bound(how: string, origin: string, limit: number | bigint): string {
	const unit = origin === "string" ? " characters" : origin === "array" || origin === "set" ? " items" : "";
	return `must ${unit === "" ? "be" : "have"} ${how} ${limit}${unit}`;
}
