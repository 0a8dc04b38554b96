/** A line chart over time: uPlot, with the tokens' colours, a label at each line's end, and the values under the pointer. */

import uPlot from "/vendor/uplot/uPlot.esm.js";
import { h, setText } from "./dom.js";
import { clockTime, count } from "./format.js";
import { onTheme } from "./theme.js";

const HEIGHT = 208;
/** Between a line's end and its label. */
const LABEL_GAP = 8;
/** The room right of the lines grows by so much at a time, so that a digit more does not move them. */
const LABEL_STEP = 16;
const LABEL_HEIGHT = 16;
/** An almost empty chart still shows this much time, so that the first minutes do not look frantic. */
const SPAN_MIN_S = 120;
/** And this is the least height, so that one job is not a mountain. */
const VALUE_MIN = 4;

/**
 * @param {string} title
 * @param {string} unit said after the values, such as "per minute"
 * @param {{ label: string, className: string }[]} series
 */
export function lineChart(title, unit, series) {
	const labels = series.map(({ className }) => h("span", { class: `line-label ${className}` }));
	const probe = h("span", { hidden: true });
	const readout = h("p", { class: "readout" });
	const empty = h("p", { class: "chart-empty nothing" });
	const canvas = h("div", { class: "canvas", role: "img" }, ...labels, probe, empty);
	const element = h("section", { class: "card chart" }, h("header", null, h("h2", null, title), readout), canvas);
	const closing = new AbortController();
	/** @type {uPlot | null} */
	let plot = null;
	/** @type {[number[], ...(number | null)[][]]} */
	let data = [[]];
	/** The room right of the lines, where their labels stand. */
	let room = LABEL_STEP;

	/** @param {string} token */
	const colour = token => {
		probe.style.color = `var(${token})`;
		return getComputedStyle(probe).color;
	};
	/** @param {number} width */
	const options = width =>
		/** @type {uPlot.Options} */ ({
			width,
			height: HEIGHT,
			padding: [12, () => room, 0, 0],
			legend: { show: false },
			cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
			scales: {
				x: { range: (_, min, max) => [Math.min(min, max - SPAN_MIN_S), max] },
				y: { range: (_, __, max) => [0, Math.max(VALUE_MIN, (max ?? 0) * 1.1)] },
			},
			axes: [
				{
					stroke: () => colour("--ink-3"),
					font: "12px system-ui, sans-serif",
					size: 28,
					space: 80,
					grid: { show: false },
					ticks: { show: false },
					values: (_, seconds) => seconds.map(at => clockTime(at * 1000).slice(0, at % 60 === 0 ? 5 : 8)),
				},
				{
					stroke: () => colour("--ink-3"),
					font: "12px system-ui, sans-serif",
					size: (_, labels) => 16 + 7 * Math.max(0, ...(labels ?? []).map(text => text.length)),
					space: 40,
					incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 1_000_000],
					grid: { stroke: () => colour("--line"), width: 1 },
					ticks: { show: false },
					values: (_, values) => values.map(count),
				},
			],
			series: [
				{},
				...labels.map((label, index) => ({
					label: series[index]?.label,
					stroke: () => getComputedStyle(label).color,
					width: 1.5,
					points: { show: false },
				})),
			],
			hooks: { draw: [placeLabels], setCursor: [read] },
		});

	/**
	 * Puts each label beside its line's last point, and apart from its neighbour.
	 * @param {uPlot} u
	 */
	function placeLabels(u) {
		const left = u.over.offsetLeft + u.over.offsetWidth + LABEL_GAP;
		const ends = labels.flatMap((label, index) => {
			const value = data[index + 1]?.at(-1);
			return label.hidden || typeof value !== "number" ? [] : [{ label, top: u.valToPos(value, "y") + u.over.offsetTop }];
		});
		ends.sort((a, b) => a.top - b.top);
		let least = 0;
		const lowest = u.over.offsetTop + u.over.offsetHeight - LABEL_HEIGHT / 2;
		ends.forEach((end, index) => {
			const room = lowest - (ends.length - 1 - index) * LABEL_HEIGHT;
			const top = Math.min(Math.max(end.top, least), room);
			least = top + LABEL_HEIGHT;
			end.label.style.left = `${left}px`;
			end.label.style.top = `${top - LABEL_HEIGHT / 2}px`;
		});
	}

	/** @param {uPlot} u */
	function read(u) {
		const index = u.cursor.idx;
		const at = index === null || index === undefined ? undefined : data[0][index];
		if (at === undefined) {
			setText(readout, unit);
			return;
		}
		const values = series.flatMap(({ label }, i) => {
			const value = data[i + 1]?.[/** @type {number} */ (index)];
			return value === null || value === undefined ? [] : [`${label} ${count(value)}`];
		});
		setText(readout, [clockTime(at * 1000), ...values].join(" · "));
	}

	/** Writes the labels at the lines' ends, and makes room for them. */
	function writeLabels() {
		labels.forEach((label, index) => {
			// One point is not a line yet.
			const [before, value] = data[index + 1]?.slice(-2) ?? [];
			label.hidden = typeof before !== "number" || typeof value !== "number";
			if (!label.hidden) setText(label, `${series[index]?.label} ${count(Number(value))}`);
		});
		const widest = Math.max(0, ...labels.map(label => label.offsetWidth));
		if (widest > 0) room = Math.max(room, Math.ceil((LABEL_GAP + widest) / LABEL_STEP) * LABEL_STEP);
	}

	/** There is no plot, and so no axis, before a line can be drawn. */
	function fit() {
		const width = canvas.clientWidth;
		if (width === 0 || (!plot && labels.every(label => label.hidden))) return;
		empty.hidden = true;
		if (plot) plot.setSize({ width, height: HEIGHT });
		else plot = new uPlot(options(width), /** @type {uPlot.AlignedData} */ (data), canvas);
	}
	const resize = new ResizeObserver(() => {
		writeLabels();
		fit();
	});
	for (const label of labels) label.hidden = true;
	resize.observe(canvas);
	onTheme(() => plot?.redraw(false), closing.signal);
	setText(readout, unit);

	return {
		element,
		/**
		 * @param {[number[], ...(number | null)[][]]} columns
		 * @param {string} meanwhile said as long as there is no line to draw
		 */
		set(columns, meanwhile) {
			data = columns;
			setText(empty, meanwhile);
			writeLabels();
			if (plot) plot.setData(/** @type {uPlot.AlignedData} */ (data));
			else fit();
			if (!plot) {
				canvas.setAttribute("aria-label", `${title}: ${meanwhile}`);
				return;
			}
			const last = series.map(({ label }, i) => `${label} ${count(data[i + 1]?.at(-1) ?? 0)}`);
			canvas.setAttribute("aria-label", `${title}: ${last.join(", ")} ${unit}`);
		},
		close() {
			closing.abort();
			resize.disconnect();
			plot?.destroy();
		},
	};
}
