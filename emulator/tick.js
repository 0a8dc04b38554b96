/** `npm run tick` */
import "./guard.js";

const { tickCommand } = await import("./tickCommand.ts");
process.exitCode = await tickCommand(process.argv.slice(2));
