/** `tickq work` */
import "./guard.js";
import * as module from "node:module";

const { workCommand } = await import("./workCommand.ts");
const code = await workCommand(process.argv.slice(2));
module.flushCompileCache();
// Connections that are kept open for the next request would keep the process.
process.exit(code);
