import { describe, expect, it } from "vitest";
import { readMigrations } from "../../emulator/openStorage.ts";
import { type Migration, migrate, SchemaTooNew, toMigration } from "../../lib/storage/migrate.ts";
import { SCHEMA } from "../../lib/storage/sqlite/sqliteEngine.ts";

const step = (number: number): Migration => ({ number, name: `step${number}`, sql: `-- ${number}` });
const database = (schema: number, failAt?: number) => {
	const applied: number[] = [];
	return {
		applied,
		schema: () => schema,
		apply({ number }: Migration) {
			if (number === failAt) throw new Error("disk full");
			applied.push(number);
			schema = number;
		},
	};
};

describe("toMigration", () => {
	it("reads number and name from the file's name", () => {
		expect(toMigration("0012_add_tags.sql", "SELECT 1;")).toEqual({ number: 12, name: "add_tags", sql: "SELECT 1;" });
	});
	it("refuses other names", () => {
		for (const name of ["1_first.sql", "0001-first.sql", "0001_first.txt", "0001_.sql", "x0001_first.sql", "0001_first.sql.bak"])
			expect(() => toMigration(name, "")).toThrow(`${name} is not named like 0001_first.sql`);
	});
});

describe("migrate", () => {
	it("applies all to a new database, in order, whatever order they are given in", () => {
		const target = database(0);
		expect(migrate(target, [step(2), step(3), step(1)]).map(({ number }) => number)).toEqual([1, 2, 3]);
		expect(target.applied).toEqual([1, 2, 3]);
	});
	it("applies only what is missing, and nothing the second time", () => {
		const target = database(1);
		expect(migrate(target, [step(1), step(2)]).map(({ number }) => number)).toEqual([2]);
		expect(migrate(target, [step(1), step(2)])).toEqual([]);
		expect(target.applied).toEqual([2]);
	});
	it("refuses a database of newer code, and does not touch it", () => {
		const target = database(3);
		expect(() => migrate(target, [step(1), step(2)])).toThrow(SchemaTooNew);
		expect(() => migrate(target, [step(1), step(2)])).toThrow(/has schema 3.*knows 2.*newer version/);
		expect(target.applied).toEqual([]);
	});
	it("refuses a row of migrations with a gap or a double, before anything is applied", () => {
		for (const migrations of [[step(1), step(3)], [step(2)], [step(1), step(1)]]) {
			const target = database(0);
			expect(() => migrate(target, migrations)).toThrow(/migration \d is missing/);
			expect(target.applied).toEqual([]);
		}
	});
	it("keeps what was applied before one fails, and goes on from there", () => {
		const target = database(0, 2);
		expect(() => migrate(target, [step(1), step(2), step(3)])).toThrow("disk full");
		expect(target.applied).toEqual([1]);
	});
});

describe("the migrations of this code", () => {
	it("number from 1 without a gap, up to the schema that the code speaks", () => {
		const migrations = readMigrations();
		expect(migrations.map(({ number }) => number).sort()).toEqual(Array.from({ length: SCHEMA }, (_, i) => i + 1));
	});
});
