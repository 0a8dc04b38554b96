/** Types of the one library the page loads. The server sends it from its package at /vendor/uplot/. */
declare module "*/uPlot.esm.js" {
	import uPlot from "uplot";
	export default uPlot;
}
