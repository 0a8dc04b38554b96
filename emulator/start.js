/** `npm start` */
import "./guard.js";
import * as module from "node:module";

const { main, START } = await import("./main.ts");
await main(START, process.argv.slice(2));
// Kept now rather than at the end, which a crash may not reach.
module.flushCompileCache();
