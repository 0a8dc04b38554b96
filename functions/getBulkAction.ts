/** GET /api/bulk-actions/{id}: how far a bulk action is. */
import { foundBulkAction, fromBulkId, toWholeBulkAction } from "../lib/bulkAction.ts";
import { operation } from "../lib/operation.ts";

export const getBulkAction = operation("getBulkAction", async ({ params, store }) =>
	toWholeBulkAction(foundBulkAction(await store.getBulkAction(fromBulkId(params.id))), store),
);
