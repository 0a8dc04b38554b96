/** GET /docs/problems/{code}: what the `type` of a problem document leads to. */
import { commonProblems, type OperationRow, operations } from "../lib/contract.ts";
import { operation } from "../lib/operation.ts";
import { PROBLEMS, Problem, type ProblemCode } from "../lib/problem.ts";

export const describeProblem = operation("describeProblem", ({ params }) => {
	const code = params.code as ProblemCode;
	if (!Object.hasOwn(PROBLEMS, code)) throw new Problem("not_found", `There is no problem code ${code}. All of them: GET /openapi.json.`);
	const [status, title, remedy] = PROBLEMS[code];
	const rows = Object.entries(operations) as [string, OperationRow][];
	return {
		code,
		status,
		title,
		remedy,
		operations: rows.filter(([, row]) => [...row.problems, ...commonProblems(row)].includes(code)).map(([name]) => name),
	};
});
