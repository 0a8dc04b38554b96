/** Schedules: what runs by the clock, when next, and its pause; and what is called when a job of the tenant ends. */

import { changeSchedule, deleteSchedule, getSchedule, listSchedules, runSchedule } from "../../api.js";
import { codeBlock } from "../../copy.js";
import { draw, h } from "../../dom.js";
import { shortId, zonedTime } from "../../format.js";
import { confirmButton, pressButton } from "../../press.js";
import { href } from "../../router.js";
import { rowsTable } from "../../rows.js";
import { statusWord } from "../../status.js";
import { rememberTenants, tenantForSubmit } from "../../tenants.js";
import { timeAgo } from "../../time.js";
import { toast } from "../../toast.js";
import { openScheduleDialog } from "./scheduleDialog.js";
import { webhookCard } from "./webhookCard.js";

/** @import { Route, Schedule } from "../../types.js" */
/** @import { Section } from "../system.js" */

/**
 * @param {Route} route
 * @param {() => Promise<void>} again
 * @returns {Section}
 */
export function schedulesSection({ tenant }, again) {
	/** How many pages of them are shown. */
	let pages = 1;
	const open = () => openScheduleDialog({ tenant, onSaved: again });
	const webhook = webhookCard(tenant);
	const note = h("div", { class: "list-note", hidden: true });
	const foot = h("p", { class: "list-foot", hidden: true });
	const table = rowsTable({
		caption: "Schedules, by name",
		className: "schedules",
		columns: ["Name", "Task", "When", "Next", "Last", ""],
		keyOf: (/** @type {Schedule} */ schedule) => `${schedule.tenant_id} ${schedule.name}`,
		cells: schedule => [
			h("div", null, h("b", null, schedule.name), h("p", { class: "hint" }, schedule.tenant_id)),
			schedule.task,
			h("div", null, h("span", { class: "mono" }, schedule.cron), h("p", { class: "hint" }, zoneOf(schedule))),
			nextOf(schedule),
			lastOf(schedule),
			h("div", { class: "row-actions" }, actionsOf(schedule, again)),
		],
	});
	return {
		element: h(
			"div",
			null,
			h(
				"section",
				{ class: "card list" },
				h("header", { class: "list-title" }, h("h2", null, "Schedules"), h("button", { type: "button", onclick: open }, "New schedule…")),
				table.element,
				note,
				foot,
			),
			webhook.element,
		),
		close: webhook.close,
		async load(signal) {
			/** @type {Schedule[]} */
			const schedules = [];
			/** @type {string | null} */
			let cursor = null;
			for (let page = 0; page < pages; page++) {
				const answer = await listSchedules(tenant, cursor, signal);
				schedules.push(...answer.schedules);
				cursor = answer.next_cursor;
				if (cursor === null) break;
			}
			rememberTenants(schedules.map(schedule => schedule.tenant_id));
			table.update(schedules);
			table.element.hidden = schedules.length === 0;
			note.hidden = schedules.length > 0;
			draw(note, "empty", () => [
				h("p", null, `No schedule yet${tenant ? ` of ${tenant}` : ""}. This one says hello each weekday at nine:`),
				codeBlock(example(tenantForSubmit(tenant)), "the command that makes a schedule"),
			]);
			foot.hidden = cursor === null;
			draw(foot, cursor === null, () =>
				h(
					"button",
					{
						type: "button",
						onclick: () => {
							pages++;
							void again();
						},
					},
					"Show more",
				),
			);
		},
	};
}

/** A zone's name may break after its slashes. @param {Schedule} schedule */
const zoneOf = ({ timezone }) => timezone.split(/(?<=\/)/).flatMap((part, index) => [index > 0 && h("wbr"), part]);

/** @param {Schedule} schedule */
function nextOf({ paused, next_at, timezone }) {
	if (paused) return statusWord("cancelled", "paused");
	if (!next_at) return h("span", { class: "nothing" }, "never again");
	return h("div", null, timeAgo(next_at), h("p", { class: "hint" }, zonedTime(next_at, timezone)));
}

/** @param {Schedule} schedule */
function lastOf({ last_at, last_job_id, tenant_id }) {
	if (!last_at) return h("span", { class: "nothing" }, "not yet");
	const address = href(["jobs", last_job_id ?? ""], { tenant: tenant_id });
	return h(
		"div",
		null,
		timeAgo(last_at),
		h(
			"p",
			{ class: "hint" },
			last_job_id ? h("a", { class: "mono", href: address, title: last_job_id }, shortId(last_job_id)) : "made no job",
		),
	);
}

/**
 * @param {Schedule} schedule
 * @param {() => Promise<void>} again
 */
function actionsOf(schedule, again) {
	const { name, paused } = schedule;
	return [
		pressButton(
			"Edit…",
			async () => {
				const whole = await getSchedule(schedule);
				openScheduleDialog({ tenant: schedule.tenant_id, schedule: whole, onSaved: again });
			},
			{ label: `Edit ${name}` },
		),
		pressButton(
			paused ? "Resume" : "Pause",
			async () => {
				await changeSchedule(schedule, { paused: !paused });
				await again();
			},
			{ label: `${paused ? "Resume" : "Pause"} ${name}` },
		),
		pressButton(
			"Run now",
			async () => {
				const job = await runSchedule(schedule);
				toast(`${name} runs now, beside its slots.`, {
					link: { text: "Open the job", href: href(["jobs", job.id], { tenant: schedule.tenant_id }) },
				});
				await again();
			},
			{ label: `Run ${name} now` },
		),
		confirmButton(
			"Delete",
			"Delete it?",
			async () => {
				await deleteSchedule(schedule);
				toast(`${name} is deleted. The jobs that it made stay.`);
				await again();
			},
			{ label: `Delete ${name}` },
		),
	];
}

/** @param {string} tenant */
const example = tenant =>
	[
		`curl -X POST ${location.origin}/api/schedules`,
		`-H 'X-Tenant-ID: ${tenant}'`,
		"-H 'Content-Type: application/json'",
		`-d '{"name":"hello","task":"echo","payload":{"hello":"world"},"cron":"0 9 * * 1-5","timezone":"${zoneHere()}"}'`,
	].join(" \\\n  ");

const zoneHere = () => Intl.DateTimeFormat().resolvedOptions().timeZone;
