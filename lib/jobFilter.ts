/** Which jobs, as a list's query and a bulk action say it, and as the store reads it. */
import type { Body, Query } from "./contract.ts";
import type { JobFilter } from "./storage/storage.ts";
import { instant } from "./wire.ts";

type Asked = Partial<Pick<Query<"listJobs">, "status" | "task" | "tag" | "fingerprint" | "reason" | "created_after" | "created_before">>;
type AskedInBody = NonNullable<Body<"startBulkAction">["filter"]>;

/** What is null or absent does not matter. */
export function toJobFilter({ status, task, tag, fingerprint, reason, created_after, created_before }: Asked | AskedInBody): JobFilter {
	return {
		...(status ? { statuses: [...new Set(typeof status === "string" ? [status] : status)] } : {}),
		...(task ? { task } : {}),
		...(tag ? { tag } : {}),
		...(fingerprint ? { fingerprint } : {}),
		...(reason ? { reason } : {}),
		...(created_after ? { createdAfter: Date.parse(created_after) } : {}),
		...(created_before ? { createdBefore: Date.parse(created_before) } : {}),
	};
}

export const fromJobFilter = ({ statuses, task, tag, fingerprint, reason, createdAfter, createdBefore }: JobFilter) => ({
	...(statuses === undefined ? {} : { status: [...statuses] }),
	...(task === undefined ? {} : { task }),
	...(tag === undefined ? {} : { tag }),
	...(fingerprint === undefined ? {} : { fingerprint }),
	...(reason === undefined ? {} : { reason }),
	...(createdAfter === undefined ? {} : { created_after: instant(createdAfter) }),
	...(createdBefore === undefined ? {} : { created_before: instant(createdBefore) }),
});
