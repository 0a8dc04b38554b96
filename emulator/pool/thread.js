/** A thread of the worker pool. The first import keeps its code compiled between starts, as the programs do: it halves the start. */
import "../guard.js";
import * as module from "node:module";

await import("./thread.ts");
module.flushCompileCache();
