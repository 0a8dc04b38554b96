/** What the page does, as commands for a terminal. */

/** @import { Submission } from "./types.js" */

/** @param {string} text */
const quote = text => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/**
 * @param {string} tenant
 * @param {Submission} submission
 * @param {string} [query]
 */
export function curlSubmit(tenant, submission, query = "") {
	return [
		`curl -X POST ${quote(`${location.origin}/api/jobs${query}`)}`,
		`-H ${quote(`X-Tenant-ID: ${tenant}`)}`,
		"-H 'Content-Type: application/json'",
		`-d ${quote(JSON.stringify(submission))}`,
	].join(" \\\n  ");
}

/**
 * @param {string} tenant
 * @param {string} id
 */
export const curlGet = (tenant, id) =>
	`curl ${quote(`${location.origin}/api/jobs/${encodeURIComponent(id)}?include=history`)} \\\n  -H ${quote(`X-Tenant-ID: ${tenant}`)}`;
