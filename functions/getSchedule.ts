/** GET /api/schedules/{name}: one schedule, with its next five slots. */
import { operation } from "../lib/operation.ts";
import { foundSchedule, namedSchedule, toWireSchedule } from "../lib/schedules.ts";

export const getSchedule = operation("getSchedule", async ({ params, store, deps }) =>
	toWireSchedule(foundSchedule(await store.getSchedule(namedSchedule(params))), deps.clock.now()),
);
