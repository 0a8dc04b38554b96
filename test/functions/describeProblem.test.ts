import { describe, expect, it } from "vitest";
import { PROBLEMS } from "../../lib/problem.ts";
import { inQueue } from "./inQueue.ts";

describe("describeProblem", () => {
	it("answers status, title, remedy and operations of a code", () =>
		inQueue(async queue => {
			expect((await queue.call("describeProblem", "/docs/problems/job_finished", { tenant: null })).body).toEqual({
				code: "job_finished",
				status: 409,
				title: "The job is not one to cancel",
				remedy: "It has ended. Retry it, or copy it.",
				operations: ["cancelJob"],
			});
		}));

	it("knows every code that there is, so that the type of every problem document leads somewhere", () =>
		inQueue(async queue => {
			const { body: refused } = await queue.call("getJob", "/api/jobs/nothing");
			expect((await queue.call("describeProblem", refused.type)).body.code).toBe(refused.code);
			for (const [code, [status, title]] of Object.entries(PROBLEMS))
				expect((await queue.call("describeProblem", `/docs/problems/${code}`)).body).toMatchObject({ code, status, title });
		}));

	it.each(["nothing", "__proto__", "toString", "%E0%A4%A", ""])("knows no code %j", code =>
		inQueue(async queue => {
			expect((await queue.call("describeProblem", `/docs/problems/${code}`)).body).toMatchObject({ status: 404, code: "not_found" });
		}),
	);
});
