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

	/** A page, and everything that went wrong on it. */
	async function open(hash: string): Promise<{ page: Page; wrong: string[] }> {
		const page = await browser.newPage();
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

	it("marks the field that the server refuses", async () => {
		const { page } = await open("#/submit");
		await page.getByLabel("Task", { exact: true }).selectOption("flaky");
		await page.getByLabel("Payload, as JSON").fill('{"fail_times":"x"}');
		await page.getByRole("button", { name: "Submit", exact: true }).click();
		await page.getByText("must be a number, not a string").first().waitFor();
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
		for (const hash of [`#/jobs/${id}`, "#/jobs", "#/"]) {
			const { page, wrong } = await open(hash);
			await page.getByText("live", { exact: true }).waitFor();
			if (hash !== "#/") await page.getByText("onerror").first().waitFor();
			expect(await page.locator("img").count()).toBe(0);
			expect(await page.title()).not.toContain("1337");
			expect(wrong).toEqual([]);
			await page.close();
		}
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
});
