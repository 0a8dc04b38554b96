/** POST /api/bulk-actions/{id}/stop: what it has done stays, the rest is left alone. Stopping again answers the same. */
import { foundBulkAction, fromBulkId, toWholeBulkAction } from "../lib/bulkAction.ts";
import { operation } from "../lib/operation.ts";

export const stopBulkAction = operation("stopBulkAction", async ({ params, store, deps }) =>
	toWholeBulkAction(foundBulkAction(await store.stopBulkAction(fromBulkId(params.id), deps.clock.now())), store),
);
