/** GET /health: the process is up. It asks nobody, so it answers whatever else is wrong. */
import { operation } from "../lib/operation.ts";
import { instant } from "../lib/wire.ts";

export const health = operation("health", ({ deps }) => ({ status: "ok" as const, timestamp: instant(deps.clock.now()) }));
