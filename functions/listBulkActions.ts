/** GET /api/bulk-actions: what was asked of many jobs at once, the latest first. */
import { toBulkAction } from "../lib/bulkAction.ts";
import { LIMIT_DEFAULT } from "../lib/contract.ts";
import { operation } from "../lib/operation.ts";

export const listBulkActions = operation("listBulkActions", async ({ query, store }) => {
	const actions = await store.listBulkActions(query.limit ?? LIMIT_DEFAULT);
	return { bulk_actions: actions.map(toBulkAction), count: actions.length, next_cursor: null };
});
