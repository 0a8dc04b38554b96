/** `npm run emulate` */
import "./guard.js";
import * as module from "node:module";

const { EMULATE, main } = await import("./main.ts");
await main(EMULATE, process.argv.slice(2));
// Kept now rather than at the end, which a crash may not reach.
module.flushCompileCache();
