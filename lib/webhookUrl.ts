/** Whether an address may be a webhook: what can be seen of it before it is called. Where a name leads is checked with each call. */
import { type Allow, assertOutside, OutsideForbidden } from "./outside.ts";
import { Problem } from "./problem.ts";

/**
 * @param pointer where the address stands in the body
 * @throws Problem body_invalid for one that leads inside
 */
export function checkWebhookUrl(url: string, pointer: string, allow: Allow | undefined): void {
	try {
		assertOutside(url, allow);
	} catch (error) {
		if (!(error instanceof OutsideForbidden)) throw error;
		throw new Problem("body_invalid", `A webhook cannot be there: ${error.message}.`, {
			errors: [{ pointer, code: "outside_forbidden", detail: error.message }],
		});
	}
}
