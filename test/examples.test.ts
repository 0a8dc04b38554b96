/** The example workers as processes, against a server, with tasks that only they serve. They wait for real time. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { ended, folder, json, post, ROOT, start } from "./emulator/processes.ts";

interface Example {
	readonly file: string;
	readonly needs: readonly string[];
	readonly task: string;
	readonly result: unknown;
	/** What its error says for a payload without text. */
	readonly error: RegExp;
	/** Makes its task take as long as the payload says, and its lease short. */
	readonly slow: readonly (readonly [from: string, to: string])[];
	/** Makes its result larger than a call may be. */
	readonly large: readonly (readonly [from: string, to: string])[];
}
const EXAMPLES: readonly Example[] = [
	{
		file: "worker.py",
		needs: ["python3"],
		task: "count_words",
		result: { words: 3 },
		error: /'text'/,
		slow: [
			["LEASE_MS = 30_000", "LEASE_MS = 1500"],
			[
				'    return {"words"',
				`    import time
    open(payload["mark"], "w").close()
    until = time.monotonic() + payload["seconds"]
    while time.monotonic() < until:
        time.sleep(0.02)
        if told_to_stop.is_set():
            raise RuntimeError("told to stop")
    return {"words"`,
			],
		],
		large: [['return {"words"', 'return {"much": "x" * 5_000_000, "words"']],
	},
	{
		file: "worker.sh",
		needs: ["bash", "curl", "jq"],
		task: "shout",
		result: { text: "ONE TWO THREE" },
		error: /explode input must be a string/,
		slow: [
			["lease_ms=30000", "lease_ms=3000"],
			[
				"shout() { jq",
				'shout() { local payload; payload=$(cat); touch "$(jq -r .mark <<<"$payload")"; sleep "$(jq .seconds <<<"$payload")"; jq <<<"$payload"',
			],
		],
		large: [["shout() { jq -ce '{text:", `shout() { jq -ce '{much: ("x" * 5000000), text:`]],
	},
];
const missing = ({ needs }: Example) => needs.find(tool => spawnSync(tool, ["--version"]).status !== 0);

interface Working {
	readonly child: ChildProcess;
	readonly exit: Promise<number | null>;
	said(): string;
}
function work({ file, needs }: Example, url: string, path = join(ROOT, "examples", file)): Working {
	const child = spawn(needs[0]!, [path], { env: { ...process.env, TICKQ_URL: url, TICKQ_WORKER: file, TICKQ_KEY: "k" } });
	ended.push(() => child.kill("SIGKILL"));
	let said = "";
	for (const stream of [child.stdout, child.stderr])
		stream.on("data", chunk => {
			said += chunk;
		});
	return { child, exit: once(child, "close").then(([code]) => code as number | null), said: () => said };
}
/** A server, and the example working for it: its task is known. */
async function working(example: Example, path?: string) {
	const { url } = await start("emulate.js", ["--port", "0", "--database", ":memory:", "--lease-ms", "1000"]);
	const worker = work(example, url, path);
	while (!(await json(`${url}/api/tasks`)).tasks.some(({ name }: { name: string }) => name === example.task));
	const submit = async (payload: object, query = "?wait_ms=20000") =>
		(await post(`${url}/api/jobs${query}`, { task: example.task, payload, max_retries: 0 })).json();
	const mark = join(folder(), "begun");
	/** Submits a job, and answers its id when its task has begun. */
	const started = async (payload: object) => {
		const { id } = await submit({ ...payload, mark }, "");
		while (!existsSync(mark)) await sleep(20);
		return id as string;
	};
	return { url, worker, submit, started, read: (id: string, query = "") => json(`${url}/api/jobs/${id}${query}`) };
}
/** The example as somebody has changed it. */
function changed({ file, ...changes }: Example, how: "slow" | "large" = "slow"): string {
	let text = readFileSync(join(ROOT, "examples", file), "utf8");
	for (const [from, to] of changes[how]) {
		expect(text).toContain(from);
		text = text.replace(from, () => to);
	}
	const path = join(folder(), file);
	writeFileSync(path, text);
	return path;
}

for (const example of EXAMPLES) {
	const without = missing(example);
	const title = `examples/${example.file}${without === undefined ? "" : ` (needs ${without})`}`;
	describe.skipIf(without !== undefined)(title, { timeout: 30_000 }, () => {
		it("runs a task that only it serves: done with its result, or an error that says what went wrong", async () => {
			const { url, worker, submit } = await working(example);
			expect(await submit({ text: "one two three" })).toMatchObject({ status: "done", result: example.result, worker: example.file });
			const failed = await submit({ nothing: 1 });
			expect(failed).toMatchObject({ status: "dead_letter", reason: "retries_exhausted" });
			expect(failed.error_message).toMatch(example.error);
			expect((await submit({ text: "one two three" })).status).toBe("done");
			const shown = (await json(`${url}/api/workers`)).workers.find(({ name }: { name: string }) => name === example.file);
			expect(shown).toMatchObject({ kind: "remote", tasks: [example.task] });
			worker.child.kill("SIGTERM");
			expect(await worker.exit).toBe(0);
			expect(worker.said()).toBe(`serving ${example.task} at ${url}\n`);
		});

		// Bug: the answer was a 413, and the job ran until its lease had ended.
		it("fails the job whose result is too large to be sent, and says so", async () => {
			const { submit } = await working(example, changed(example, "large"));
			expect(await submit({ text: "x" })).toMatchObject({ status: "failed", error_message: expect.stringContaining("too large") });
			expect(await submit({ text: "x" })).toMatchObject({ status: "failed" });
		});

		// Bug: an answer with a body was taken for a refusal, and the result was dropped.
		it("sends the end of its job again where the queue was away for a moment", async () => {
			const job = { id: "job_1", lease_token: "1", task: example.task, payload: { text: "one two three" }, timeout_ms: 60_000 };
			const settled: unknown[] = [];
			let leased = false;
			const queue = createServer(async (request, response) => {
				const { results } = JSON.parse(await text(request));
				if (results !== undefined) settled.push(results);
				response.writeHead(settled.length === 1 ? 503 : 200, { "content-type": "application/json" });
				response.end(JSON.stringify(settled.length === 1 ? { status: 503, code: "storage_unavailable" } : { jobs: leased ? [] : [job] }));
				leased = true;
			}).listen(0, "127.0.0.1");
			ended.push(() => queue.close().closeAllConnections());
			await once(queue, "listening");
			work(example, `http://127.0.0.1:${(queue.address() as AddressInfo).port}`);
			while (settled.length < 2) await sleep(50);
			const result = [{ id: "job_1", lease_token: "1", outcome: "done", result: example.result }];
			expect(settled).toEqual([result, result]);
		});

		it("keeps the lease of a job that takes longer, and hears of a cancel", async () => {
			const { url, submit, started, read } = await working(example, changed(example));
			expect(await submit({ text: "one two three", seconds: 4, mark: "/dev/null" })).toMatchObject({
				status: "done",
				lost_count: 0,
				result: example.result,
			});
			const id = await started({ text: "x", seconds: 60 });
			await post(`${url}/api/jobs/${id}/cancel`, {});
			expect(await read(id, "?wait_ms=10000")).toMatchObject({ status: "cancelled", reason: "requested" });
			expect((await submit({ text: "one two three", seconds: 0, mark: "/dev/null" })).status).toBe("done");
		});

		// Bug: what kept the lease outlived the worker that it was kept for.
		it("loses its job when it is killed: nothing keeps the lease of a worker that is gone", async () => {
			const { worker, started, read } = await working(example, changed(example));
			const id = await started({ text: "x", seconds: 10 });
			worker.child.kill("SIGKILL");
			for (let job = await read(id); job.lost_count === 0; job = await read(id)) {
				expect(job.status).toBe("running");
				await sleep(100);
			}
		});

		it("gives its job back when it is told to end, and burns no attempt", async () => {
			const { worker, started, read } = await working(example, changed(example));
			const id = await started({ text: "x", seconds: 60 });
			worker.child.kill("SIGTERM");
			expect(await worker.exit).toBe(0);
			expect(await read(id)).toMatchObject({ status: "pending", retry_count: 0, lost_count: 0 });
			expect((await read(id, "?include=history")).history.map(({ kind }: { kind: string }) => kind)).toEqual([
				"submitted",
				"claimed",
				"released",
			]);
		});
	});
}

describe("examples/worker.py", { timeout: 30_000 }, () => {
	const example = EXAMPLES[0]!;
	it.skipIf(missing(example) !== undefined)(
		"fails an attempt whose time is over, tells its task to stop, and takes the next job",
		async () => {
			const { submit, read, url } = await working(example, changed(example));
			const timed = { task: example.task, payload: { text: "x", seconds: 60, mark: "/dev/null" }, max_retries: 0, timeout_ms: 500 };
			const late = await (await post(`${url}/api/jobs?wait_ms=20000`, timed)).json();
			expect(await read(late.id)).toMatchObject({ status: "dead_letter", error_message: "timed out after 500 ms" });
			expect((await submit({ text: "one two three", seconds: 0, mark: "/dev/null" })).status).toBe("done");
		},
	);
});

describe("examples/worker.sh", () => {
	it("says what it needs where that is missing", () => {
		const { status, stderr } = spawnSync("/bin/bash", [join(ROOT, "examples/worker.sh")], { env: { PATH: folder() }, encoding: "utf8" });
		expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringContaining("worker.sh needs curl") });
	});
});
