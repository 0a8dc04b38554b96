/** `npm run emulate` */
import "./guard.js";

const { emulate } = await import("./main.ts");
await emulate(process.argv.slice(2));
