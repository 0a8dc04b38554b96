/** The dashboard in a real browser, against the real emulator. Skipped, and says so, where no Chromium is installed. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type EmulatorProcess, startEmulator } from "../endToEnd/emulatorProcess.ts";

const CHROMIUM = [
	process.env.CHROMIUM_PATH,
	"/usr/bin/chromium",
	"/usr/bin/google-chrome",
	"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
].find(path => path !== undefined && existsSync(path));

describe.skipIf(CHROMIUM === undefined)("the dashboard (needs Chromium: set CHROMIUM_PATH)", () => {
	const folder = mkdtempSync(join(tmpdir(), "tickq-page-"));
	let emulator: EmulatorProcess;
	let browser: Browser;
	beforeAll(async () => {
		emulator = await startEmulator(["--port", "0", "--database", join(folder, "queue.db")]);
		browser = await chromium.launch({ executablePath: CHROMIUM! });
	});
	afterAll(async () => {
		await browser?.close();
		await emulator?.kill("SIGTERM");
		rmSync(folder, { recursive: true });
	});

	/** A page, and everything that went wrong on it: what the content security policy refuses is an error of the console, too. */
	async function open(hash: string): Promise<{ page: Page; wrong: string[] }> {
		const page = await browser.newPage();
		page.setDefaultTimeout(8000);
		const wrong: string[] = [];
		page.on("console", message => {
			if (message.type() === "error") wrong.push(message.text());
		});
		page.on("pageerror", error => wrong.push(String(error)));
		await page.goto(`${emulator.url}/${hash}`);
		return { page, wrong };
	}

	it("submits a job and shows it done, with its result", async () => {
		const { page, wrong } = await open("#/submit");
		await page.getByLabel("Payload, as JSON").fill('{"hello":"page"}');
		await page.locator("#main").getByLabel("Tenant", { exact: true }).fill("acme");
		await page.getByRole("button", { name: "Submit", exact: true }).click();
		await page.waitForURL(/#\/jobs\/job_/);
		await page.getByText('"hello": "page"').nth(1).waitFor();
		await page.getByText("done", { exact: true }).first().waitFor();
		expect(wrong).toEqual([]);
		await page.close();
	});

	it("marks the field that the server refuses, and says why once", async () => {
		const { page } = await open("#/submit");
		await page.getByLabel("Task", { exact: true }).selectOption("flaky");
		await page.getByLabel("Payload, as JSON").fill('{"fail_times":"x"}');
		await page.getByRole("button", { name: "Submit", exact: true }).click();
		await page.getByText("must be a number, not a string").first().waitFor();
		expect(await page.getByText("must be a number, not a string").count()).toBe(1);
		expect(await page.locator("form").textContent()).not.toContain("/api/tasks");
		await page.close();
	});

	it("shows what a job says as text, never as markup", async () => {
		const evil = '<img src=x onerror="document.title=1337">';
		const response = await fetch(`${emulator.url}/api/jobs?wait_ms=5000`, {
			method: "POST",
			headers: { "content-type": "application/json", "x-tenant-id": "acme" },
			body: JSON.stringify({ task: "echo", payload: { evil }, tags: [evil], key: evil }),
		});
		const { id } = (await response.json()) as { id: string };
		const { page, wrong } = await open("#/");
		for (const hash of [`#/jobs/${id}`, "#/jobs"]) {
			await page.goto(`${emulator.url}/${hash}`);
			await page.locator("main").getByText("onerror").first().waitFor();
			expect(await page.locator("img").count()).toBe(0);
			expect(await page.title()).not.toContain("1337");
		}
		expect(wrong).toEqual([]);
		await page.close();
	});

	const submitEcho = (): Promise<Response> =>
		fetch(`${emulator.url}/api/jobs?wait_ms=5000`, {
			method: "POST",
			headers: { "content-type": "application/json", "x-tenant-id": "beta" },
			body: JSON.stringify({ task: "echo" }),
		});

	it("follows the counts live", async () => {
		await submitEcho();
		const { page, wrong } = await open("#/");
		const done = async () => Number(await page.locator(".tile-done .number").textContent());
		await expect.poll(done, { timeout: 6000 }).toBeGreaterThan(0);
		const before = await done();
		await submitEcho();
		await expect.poll(done, { timeout: 6000 }).toBeGreaterThan(before);
		expect(wrong).toEqual([]);
		await page.close();
	});

	interface Answer extends Record<string, unknown> {
		readonly id: string;
		readonly fingerprint: string;
		readonly history: readonly { readonly kind: string }[];
	}
	async function call(method: string, path: string, tenant: string, body?: unknown): Promise<Answer> {
		const response = await fetch(`${emulator.url}${path}`, {
			method,
			headers: { "content-type": "application/json", "x-tenant-id": tenant },
			...(body === undefined ? {} : { body: JSON.stringify(body) }),
		});
		return (await response.json()) as Answer;
	}
	/** So many dead letters of the tenant, all in one group. */
	const fail = (tenant: string, jobs: number): Promise<Answer[]> =>
		Promise.all(
			Array.from({ length: jobs }, () =>
				call("POST", "/api/jobs?wait_ms=5000", tenant, { task: "flaky", payload: { fail_times: 100 }, max_retries: 0 }),
			),
		);

	it("runs a group of dead letters again, and says how far it is", async () => {
		const [job] = await fail("group", 2);
		const { page, wrong } = await open("#/dead-letters?tenant=group");
		await page.getByRole("link", { name: "told to fail" }).click();
		await page.getByText("flaky.ts").first().waitFor();
		await page.getByRole("button", { name: "Run again…" }).click();
		await page.getByRole("button", { name: "Run 2 jobs again" }).click();
		await page.getByText("2 of 2 put back in line.").waitFor();
		await page.getByRole("status").getByText("done", { exact: true }).waitFor();
		const { history } = await call("GET", `/api/jobs/${job?.id}?include=history`, "group");
		expect(history.map(event => event.kind)).toContain("retried");
		expect(wrong).toEqual([]);
		await page.close();
	});

	it("says when the first jobs of a group failed again, and leaves the others", async () => {
		await fail("canary", 4);
		const { page, wrong } = await open("#/dead-letters?tenant=canary");
		await page.getByRole("link", { name: "told to fail" }).click();
		await page.getByRole("button", { name: "Run again…" }).click();
		await page.getByLabel("First 3").check();
		await page.keyboard.press("Enter");
		await page.getByText(/^stopped: \d of its first 3 jobs failed again$/).waitFor();
		await page.getByText("3 of 4 put back in line. The others were left as they were.").waitFor();
		expect(wrong).toEqual([]);
		await page.close();
	});

	it("deletes a group only when its number was typed", async () => {
		await fail("delete", 2);
		const { page, wrong } = await open("#/dead-letters?tenant=delete");
		await page.getByRole("link", { name: "told to fail" }).click();
		await page.getByRole("button", { name: "Delete…" }).click();
		const typed = page.getByLabel("type the number of jobs");
		await typed.fill("3");
		await typed.press("Enter");
		await page.getByText("2 is the number.").waitFor();
		await typed.fill("2");
		await typed.press("Enter");
		await page.getByText("Nothing is left of this group").waitFor();
		await page.getByRole("link", { name: "All dead letters" }).click();
		await page.getByText("Nothing failed for good.").waitFor();
		expect(wrong).toEqual([]);
		await page.close();
	});

	it("runs a job again with an edited payload, and deletes it at the second click", async () => {
		const { id } = await call("POST", "/api/jobs?wait_ms=5000", "acme", { task: "echo", payload: { old: true } });
		const { page, wrong } = await open(`#/jobs/${id}`);
		await page.getByRole("button", { name: "Edit and run again" }).click();
		const payload = page.getByLabel("Payload, as JSON");
		await payload.fill("{");
		await payload.press("Control+Enter");
		await page.getByText("This is not JSON").waitFor();
		await payload.fill('{"edited":true}');
		await payload.press("Control+Enter");
		await page.waitForURL(url => /^#\/jobs\/job_/.test(url.hash) && url.hash !== `#/jobs/${id}`);
		await page.getByText('"edited": true').nth(1).waitFor();
		await page.getByText("Copy of").waitFor();
		const copy = page.url().split("/").at(-1);
		expect(await call("GET", `/api/jobs/${copy}`, "acme")).toMatchObject({ copy_of: id, payload: { edited: true }, status: "done" });

		await page.getByRole("button", { name: "Delete", exact: true }).click();
		await page.keyboard.press("Escape");
		await page.getByRole("button", { name: "Delete", exact: true }).click();
		await page.getByRole("button", { name: "Delete it?" }).click();
		await page.getByText("Deleted, with its history.").waitFor();
		expect(await call("GET", `/api/jobs/${copy}`, "acme")).toMatchObject({ code: "job_not_found" });
		expect(wrong).toEqual([]);
		await page.close();
	});

	it("makes a schedule, pauses it, keeps the focus where it was, and changes it", async () => {
		const { page, wrong } = await open("#/system/schedules?tenant=clock");
		await page.getByText("No schedule yet of clock.").waitFor();
		await page.getByRole("button", { name: "New schedule…" }).click();
		await page.getByRole("option", { name: "echo" }).waitFor({ state: "attached" });
		await page.getByRole("textbox", { name: "Name" }).fill("nightly");
		await page.getByLabel("Cron line").fill("30 2 * * *");
		await page.getByLabel("Time zone").fill("Europe/Zurich");
		await page.keyboard.press("Enter");
		await page.getByText("nightly is made. It runs next, in Europe/Zurich:").waitFor();
		expect(await page.locator(".slots li").count()).toBe(5);
		expect(await page.locator(".slots li").first().textContent()).toContain("02:30");
		await page.keyboard.press("Escape");
		await page.getByRole("button", { name: "Pause nightly" }).press("Enter");
		await page.getByRole("button", { name: "Resume nightly" }).waitFor();
		expect(await page.evaluate("document.activeElement.textContent")).toBe("Resume");
		expect(await call("GET", "/api/schedules/nightly", "clock")).toMatchObject({ paused: true, cron: "30 2 * * *" });

		await page.getByRole("button", { name: "Edit nightly" }).click();
		await page.getByLabel("Cron line").fill("nonsense");
		await page.keyboard.press("Enter");
		await page.locator(".field-error:not(:empty)").waitFor();
		await page.getByLabel("Cron line").fill("0 4 * * *");
		await page.getByLabel("Payload, as JSON").fill('{"edited":true}');
		await page.getByRole("button", { name: "Save", exact: true }).last().click();
		await page.getByText("nightly is changed.").waitFor();
		const changed = { paused: true, cron: "0 4 * * *", timezone: "Europe/Zurich", payload: { edited: true } };
		expect(await call("GET", "/api/schedules/nightly", "clock")).toMatchObject(changed);
		// The refused cron line answers 422, which the console of a browser notes.
		expect(wrong.filter(text => !text.includes("422"))).toEqual([]);
		await page.close();
	});

	it("sets a tenant's webhook, and says why an address is refused", async () => {
		const { page } = await open("#/system/schedules?tenant=hooks");
		const address = page.getByLabel("Address to call when a job ends");
		await expect.poll(() => address.isEnabled(), { timeout: 6000 }).toBe(true);
		await address.fill("https://example.com/hooks");
		await address.press("Enter");
		await page.getByText("hooks's next jobs call https://example.com/hooks when they end.").waitFor();
		expect(await call("GET", "/api/webhook", "hooks")).toEqual({ url: "https://example.com/hooks" });
		await address.fill("http://127.0.0.1/");
		await address.press("Enter");
		await page.locator(".webhook .field-error:not(:empty)").waitFor();
		expect(await call("GET", "/api/webhook", "hooks")).toEqual({ url: "https://example.com/hooks" });
		await page.close();
	});

	it("says of a waiting job only what is known", async () => {
		await call("POST", "/api/leases", "*", { worker: "far-away", tasks: ["elsewhere"] });
		const { id } = await call("POST", "/api/jobs", "waiting", { task: "elsewhere" });
		const keyed = await call("POST", "/api/jobs", "waiting", { task: "elsewhere", key: "k1", delay_ms: 600_000 });
		const { page, wrong } = await open(`#/jobs/${id}`);
		await page.getByText("In line. It starts when its tenant, its task and a worker have room.").waitFor();

		const { tasks } = await call("GET", "/api/tasks", "*");
		const known = (tasks as { name: string }[]).find(({ name }) => name === "elsewhere");
		/** Shows the job anew, while the list of tasks says this of its task. */
		const say = async (told: Record<string, unknown>) => {
			await page.unroute("**/api/tasks");
			await page.route("**/api/tasks", route => route.fulfill({ json: { tasks: [{ ...known, ...told }], count: 1, next_cursor: null } }));
			await page.goto(`${emulator.url}/#/jobs`);
			await page.goto(`${emulator.url}/#/jobs/${id}`);
		};
		await say({ served_by: "nobody" });
		await page.getByText("No worker serves elsewhere now. It starts when one comes.").waitFor();
		const probes_at = new Date(Date.now() + 40_000).toISOString();
		await say({ served_by: "remote workers", circuits_open: 1, circuits: [{ tenant_id: "waiting", probes_at }] });
		await page.getByText(/waiting's jobs of elsewhere wait since they kept failing alike; one probes at \d\d:\d\d:\d\d\./).waitFor();
		await say({ served_by: "remote workers", circuits_open: 1, circuits: [{ tenant_id: "another", probes_at }] });
		await page.getByText("In line. It starts when").waitFor();

		await page.goto(`${emulator.url}/#/jobs/${keyed.id}`);
		await page.getByText(/starts in 9 m \d\d s at the earliest\. Jobs of the key k1 run one after the other\./).waitFor();
		expect(wrong).toEqual([]);
		await page.close();
	});

	it("draws no axis before it has numbers, and lists what needs a person, for each tenant its own", async () => {
		await Promise.all([fail("needs", 2), submitEcho()]);
		const { page, wrong } = await open("#/?tenant=needs");
		await page.locator(".needs").getByText("2 dead letters").waitFor();
		await page.locator(".needs").getByRole("link", { name: "told to fail" }).waitFor();
		await page.getByText("a rate takes half a minute").waitFor();
		await page.locator(".tile").getByText("collecting since").waitFor();
		expect(await page.locator(".chart").first().locator("canvas").count()).toBe(0);
		await page.goto(`${emulator.url}/#/?tenant=beta`);
		await page.locator(".needs").getByText("Nothing needs you.").waitFor();
		expect(wrong).toEqual([]);
		await page.close();
	});

	it("fits a phone and breaks no rule of the content security policy, on every page", async () => {
		const [job] = await fail("phone", 1);
		const { fingerprint } = await call("GET", `/api/jobs/${job?.id}`, "phone");
		const { page, wrong } = await open("#/");
		await page.setViewportSize({ width: 390, height: 844 });
		const pages: [hash: string, text: string][] = [
			["#/", "Needs you"],
			["#/jobs?task=flaky", "told to fail"],
			[`#/jobs?fingerprint=${fingerprint}`, "told to fail"],
			[`#/jobs/${job?.id}`, "its group of dead letters"],
			["#/dead-letters", "told to fail"],
			[`#/dead-letters/${fingerprint}?task=flaky&reason=retries_exhausted`, "Its jobs"],
			["#/submit", "As curl"],
			["#/system", "Seen in the last week"],
			["#/system/tasks", "ready"],
			["#/system/schedules?tenant=phone", "No schedule yet"],
			["#/system/bulk-actions?tenant=phone", "No bulk action yet"],
		];
		for (const [hash, text] of pages) {
			await page.goto(`${emulator.url}/${hash}`);
			await page.locator("main").getByText(text).first().waitFor();
			const root = "document.documentElement";
			expect([hash, await page.evaluate(`${root}.scrollWidth`)]).toEqual([hash, await page.evaluate(`${root}.clientWidth`)]);
		}
		expect(wrong).toEqual([]);
		await page.close();
	});
});
