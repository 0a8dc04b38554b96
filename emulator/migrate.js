/** `npm run migrate` */
import "./guard.js";

const { migrateCommand } = await import("./migrateCommand.ts");
process.exitCode = await migrateCommand(process.argv.slice(2));
