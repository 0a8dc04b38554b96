/** What a test file on PostgreSQL stands on. Importing it starts the server of the run, if no other file has. */
import { randomUUID } from "node:crypto";
import postgres from "postgres";
import { afterAll, inject } from "vitest";

/** The database of this run: TEST_DATABASE_URL, or a server of its own. Its superuser or owner; all test files share it. */
export const postgresUrl = await ask();

async function ask(): Promise<string> {
	const answer = await fetch(inject("postgresDoor"));
	const text = await answer.text();
	if (!answer.ok) throw new Error(text);
	return text;
}

/** A drop that waits for another connection's transaction fails with a reason, and does not hang. */
const admin = postgres(postgresUrl, { max: 1, onnotice: () => {}, connection: { lock_timeout: 5000 } });
afterAll(() => admin.end({ timeout: 5 }));

/** An address whose `schema` is one test's alone. The schema itself is made by who opens it, and dropped with all that is in it. */
export function freshSchema(): { readonly url: string; drop(): Promise<void> } {
	const schema = `test_${randomUUID().replaceAll("-", "")}`;
	const url = new URL(postgresUrl);
	url.searchParams.set("schema", schema);
	// Opening a connection costs more than most tests.
	url.searchParams.set("pool", "3");
	return {
		url: url.href,
		async drop() {
			await admin`DROP SCHEMA IF EXISTS ${admin(schema)} CASCADE`;
		},
	};
}
