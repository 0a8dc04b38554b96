/** What a Worker can be told by its vars: the same names as everywhere, with defaults and bounds that fit what Workers allow. */
import { CONFIG_BOUNDS, CONFIG_DEFAULT, type Config, variableOf } from "../../lib/config.ts";
import { messageOf } from "../../lib/log.ts";
import { type Allow, readAllow } from "../../lib/outside.ts";
import { readWebhookSecrets } from "../../lib/webhook.ts";

export interface WorkerSettings {
	readonly config: Config;
	/** Whether it answers under other names than this machine's. */
	readonly open: boolean;
	/** Hosts and networks inside that tasks may call although a user named them. */
	readonly outsideAllow: Allow;
	/** `whsec_…`, the current one first. Never shown. */
	readonly webhookSecrets: readonly string[];
	/** What is wrong with the vars, as sentences. */
	readonly mistakes: readonly string[];
}

/** Work that a request has left behind is cut 30 s after its answer; the last of it is for recording what has run. */
const INVOCATION_MS = 28_000;

/** A Worker's own defaults and bounds; the others are everybody's. */
export interface Own {
	readonly defaults: Partial<Config>;
	readonly bounds: Partial<typeof CONFIG_BOUNDS>;
}
export const WORKER: Own = {
	defaults: { timeoutMs: 20_000, timeoutMsMax: 20_000, graceMs: 2000, sweepJobsMax: 100 },
	bounds: { timeoutMsMax: [1, 25_000], leaseMs: [30_000, 3_600_000] },
};

/** How long a tick that follows a request may start jobs, so that the last of them can still take as long as any may. */
export const wakeBudgetMs = ({ tickBudgetMs, timeoutMsMax }: Config): number => Math.min(tickBudgetMs, INVOCATION_MS - timeoutMsMax);

export function readVars(vars: Readonly<Record<string, unknown>>, { defaults, bounds }: Own): WorkerSettings {
	const mistakes: string[] = [];
	const read = (name: keyof Config): number => {
		const variable = variableOf(name);
		const text = String(vars[variable] ?? "");
		const initial = defaults[name] ?? CONFIG_DEFAULT[name];
		if (text === "") return initial;
		const [least, most] = bounds[name] ?? CONFIG_BOUNDS[name];
		const number = Number(text);
		if (/^\d+$/.test(text) && number >= least && number <= most) return number;
		mistakes.push(`${variable}=${text} is not a whole number between ${least} and ${most}; ${initial} is the default here.`);
		return initial;
	};
	const config = Object.fromEntries((Object.keys(CONFIG_DEFAULT) as (keyof Config)[]).map(name => [name, read(name)])) as unknown as Config;
	const readable = <T>(variable: string, read: (text: string) => T): T => {
		try {
			return read(String(vars[variable] ?? ""));
		} catch (error) {
			mistakes.push(`${variable}: ${messageOf(error)}.`);
			return read("");
		}
	};
	const outsideAllow = readable("TICKQ_OUTSIDE_ALLOW", readAllow);
	const webhookSecrets = readable("TICKQ_WEBHOOK_SECRETS", readWebhookSecrets);
	return { config, open: vars.TICKQ_OPEN === "true" || vars.TICKQ_OPEN === true, outsideAllow, webhookSecrets, mistakes };
}
