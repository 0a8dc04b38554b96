/** The live metrics: each connection is an invocation of its own, with so many statements and no more. */
import type { Deps } from "../../lib/context.ts";
import { messageOf } from "../../lib/log.ts";
import { METRICS_STATEMENTS, metricsOf } from "../../lib/metrics.ts";
import { acceptSocket } from "./platform.ts";

const PUSH_EVERY_MS = 2000;
/** About a minute; then the client connects anew. */
const PUSHES_MAX = 30;

/** Pushes the metrics at once and every 2 s. After a bounded number it hangs up with 1001, which means: come again. */
export function pushMetrics(deps: Deps): Response {
	const { socket, response } = acceptSocket();
	const { operator } = deps.storage;
	let over = false;
	const end = (code: number, why: string): void => {
		if (!over) socket.close(code, why);
		over = true;
	};
	socket.addEventListener("close", () => end(1000, ""));
	socket.addEventListener("error", () => end(1011, ""));
	const push = async (left: number): Promise<void> => {
		if (over) return;
		if (left === 0) return end(1001, "come again");
		try {
			const text = JSON.stringify(await metricsOf(await operator.counts(), operator, deps));
			if (!over) socket.send(text);
			deps.clock.after(PUSH_EVERY_MS, () => void push(left - 1));
		} catch (error) {
			deps.log.warn("live metrics could not be sent", { error: messageOf(error) });
			end(1011, "the store cannot be used");
		}
	};
	void push(Math.min(PUSHES_MAX, Math.floor(deps.config.tickStatementsMax / METRICS_STATEMENTS)));
	return response;
}
