/** `npm run bench`: what tickq costs, against what. */
import "../emulator/guard.js";

const { bench } = await import("./main.ts");
process.exitCode = await bench(process.argv.slice(2));
