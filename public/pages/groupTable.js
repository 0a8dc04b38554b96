/** Groups of dead letters as rows: what went wrong, how often, for how many, since when. */

import { reasonWords } from "../bulkWords.js";
import { h } from "../dom.js";
import { count, oneLine, plural, shortId } from "../format.js";
import { href } from "../router.js";
import { rowsTable } from "../rows.js";
import { timeAgo } from "../time.js";

/** @import { DeadLetterGroup } from "../types.js" */

const MESSAGE_CHARS_MAX = 300;

/** @param {DeadLetterGroup} group */
export const groupMessage = group => oneLine(group.message ?? reasonWords(group), MESSAGE_CHARS_MAX);

/**
 * The address of a group's page.
 * @param {Pick<DeadLetterGroup, "fingerprint" | "task" | "reason">} group
 */
export const groupHref = ({ fingerprint, task, reason }) => href(["dead-letters", fingerprint], { task, reason });

/** @param {DeadLetterGroup} group */
const whose = ({ tenants, example_tenant_id }) => (tenants === 1 ? example_tenant_id : plural(tenants, "tenant"));

export const groupTable = () =>
	rowsTable({
		caption: "Groups of dead letters, the largest first",
		className: "groups",
		columns: ["What went wrong", "Jobs", "Tenants", "First seen", "Last seen", "Example"],
		door: true,
		keyOf: (/** @type {DeadLetterGroup} */ { fingerprint, task, reason }) => JSON.stringify([fingerprint, task, reason]),
		steady: true,
		cells: group => [
			h(
				"div",
				null,
				h("a", { class: "group-message", href: groupHref(group) }, groupMessage(group)),
				h("p", { class: "hint" }, `${group.task} · ${reasonWords(group)}`),
				h("p", { class: "hint brief" }, h("b", null, plural(group.count, "job")), ` · ${whose(group)} · `, timeAgo(group.last_seen_at)),
			),
			h("b", null, count(group.count)),
			whose(group),
			timeAgo(group.first_seen_at),
			timeAgo(group.last_seen_at),
			h(
				"a",
				{ class: "mono", href: href(["jobs", group.example_job_id]), title: `${group.example_job_id} of ${group.example_tenant_id}` },
				shortId(group.example_job_id),
			),
		],
	});
