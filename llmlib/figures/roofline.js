// What a machine can reach at an arithmetic intensity, for Chapter 6. Uses controls.js and chart.js.

const INTENSITIES = { from: 0.1, to: 2e5 };

/** FLOPs and bytes of an operation, as llmlib.attention.cost has them; none for "Any intensity". */
export function workOf({ operation, length: n, width: D, rows, itemsize, per_score: perScore }) {
  const attention = (4 * D + perScore) * n * n;
  return {
    "Matrix product": { flops: 2 * n ** 3, bytes: 3 * n * n * itemsize },
    Softmax: { flops: perScore * n * n, bytes: 2 * n * n * itemsize },
    "Textbook attention": { flops: attention, bytes: (4 * n * n + 4 * n * D) * itemsize },
    "Flash attention": { flops: attention, bytes: (2 * n * D + Math.ceil(n / rows) * 2 * n * D) * itemsize + 4 * n },
  }[operation];
}

/** FLOP/s that a machine can reach. */
export const attainable = ({ flops, bandwidth }, intensity) => Math.min(flops, intensity * bandwidth);

const UNITS = ["", "k", "M", "G", "T", "P", "E"];
const digits = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });

/** ["34.4", "GFLOP"] for 34.4 thousand million FLOP. */
function amount(value, unit) {
  const group = Math.max(0, Math.min(UNITS.length - 1, Math.floor(Math.log10(value) / 3 + 1e-9)));
  return [digits(value / 1000 ** group), UNITS[group] + unit];
}

function duration(seconds) {
  const group = [1, 1e-3, 1e-6, 1e-9].findIndex((unit) => seconds >= unit);
  const index = group < 0 ? 3 : group;
  return `${digits(seconds * 1000 ** index)} ${["s", "ms", "µs", "ns"][index]}`;
}

const NAMES = ["machines", "machine", "operation", "length", "width", "rows", "intensity", "per_score"];

export default figure((model, root) => {
  const [machines, operations, widths] = ["machines", "operations", "widths"].map((name) => model.get(name));
  const which = choice("Machine", machines.map(({ name }) => name), (machine) => change(model, { machine }));
  const what = choice("Operation", operations, (index) => change(model, { operation: operations[index] }));
  const wide = choice("Head width D", widths, (index) => change(model, { width: widths[index] }));
  const sliders = {
    length: slider({ label: "Length n", name: "length", min: 8, max: 17 }, (power) => change(model, { length: 2 ** power })),
    rows: slider({ label: "Queries in a tile", name: "rows", min: 4, max: 10 }, (power) => change(model, { rows: 2 ** power })),
    intensity: slider({ label: "Intensity", name: "intensity", min: -1, max: 5, step: 0.1 }, (power) =>
      change(model, { intensity: 10 ** power }),
    ),
  };
  const facts = h("div", { class: "facts" });
  const plot = chart(340, (intensity) => change(model, { operation: "Any intensity", intensity: Math.max(0.1, Math.min(1e5, intensity)) }));
  const news = h("p", { class: "roof-news", role: "status" });
  const key = h("p", { class: "muted" }, "Slope: as much as memory can feed. Flat: as much as can be computed. Both axes are logarithmic.");
  root.append(which.node, what.node, wide.node, h("div", { class: "sliders" }, ...Object.values(sliders).map(({ node }) => node)), facts, plot.node, news, key);

  return () => {
    const state = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
    const machine = machines[state.machine];
    const work = workOf({ ...state, itemsize: machine.itemsize });
    const intensity = work ? work.flops / work.bytes : state.intensity;
    const reached = attainable(machine, intensity);
    const ridge = machine.flops / machine.bandwidth;
    const limit = intensity < ridge ? "memory" : "arithmetic";
    which.show(state.machine);
    what.show(operations.indexOf(state.operation));
    wide.show(widths.indexOf(state.width));
    wide.node.hidden = !state.operation.endsWith("attention");
    sliders.length.node.hidden = !work;
    sliders.rows.node.hidden = state.operation !== "Flash attention";
    sliders.intensity.node.hidden = Boolean(work);
    sliders.length.show({ value: Math.log2(state.length), text: number(state.length) });
    sliders.rows.show({ value: Math.log2(state.rows), text: number(state.rows) });
    sliders.intensity.show({ value: Math.log10(state.intensity), text: `${digits(state.intensity)} FLOP/byte` });
    facts.replaceChildren(
      ...(work ? [fact("Arithmetic", ...amount(work.flops, "FLOP")), fact("Moved", ...amount(work.bytes, "B"))] : []),
      fact("Intensity", digits(intensity), "FLOP/byte", "var(--series-2)"),
      fact("At most", ...amount(reached, "FLOP/s"), "var(--series-1)"),
      fact("Limit", limit, `${digits((100 * reached) / machine.flops)} % of the peak`),
      ...(work ? [fact("Time, at least", ...duration(Math.max(work.flops / machine.flops, work.bytes / machine.bandwidth)).split(" "))] : []),
    );
    plot.show(roofs(machines, machine, intensity, reached, limit));
    say(
      news,
      `${state.operation === "Any intensity" ? "An operation" : state.operation} of ${digits(intensity)} FLOP/byte on ${machine.name}, whose ` +
        `ridge is at ${digits(ridge)}: ${limit} is the limit, and at most ${digits((100 * reached) / machine.flops)} % of the peak can be reached.`,
    );
  };
});

/** The roof of each machine, and the operation on the roof of the chosen one. */
function roofs(machines, chosen, intensity, reached, limit) {
  const low = 10 ** Math.floor(Math.log10(Math.min(...machines.map((each) => attainable(each, INTENSITIES.from)))));
  const high = 3 * 10 ** Math.ceil(Math.log10(Math.max(...machines.map(({ flops }) => flops)))); // room for a name
  const tens = ({ from, to }) =>
    Array.from({ length: 40 }, (_, i) => 10 ** (i - 10))
      .filter((ten) => ten >= from * 0.999 && ten <= to * 1.001);
  const roof = (each) => [INTENSITIES.from, each.flops / each.bandwidth, INTENSITIES.to].map((x) => [x, attainable(each, x)]);
  return {
    x: { name: "arithmetic intensity, FLOP/byte", ...INTENSITIES, log: true, ticks: tens(INTENSITIES), words: (tick) => (tick < 1 ? String(tick) : amount(tick, "").join("")) },
    y: { name: "FLOP/s", from: low, to: high, log: true, ticks: tens({ from: low, to: high }), words: (tick) => amount(tick, "").join("") },
    alt: `${machines
      .map((each) => `${each.name}: at most ${amount(each.flops, "FLOP/s").join(" ")} from ${digits(each.flops / each.bandwidth)} FLOP/byte on`)
      .join("; ")}. The operation stands at ${digits(intensity)} FLOP/byte and ${amount(reached, "FLOP/s").join(" ")}, where ${limit} is the limit.`,
    draw: (x, y) => [
      ...machines.map((each) => curve(roof(each), x, y, { class: each === chosen ? "curve roof" : "curve other-roof" })),
      ...machines.map((each) =>
        svg("text", { class: each === chosen ? "name" : "", x: x(INTENSITIES.to) - 4, y: y(each.flops) - 7, "text-anchor": "end" }, each.name),
      ),
      svg("line", { class: "drop", x1: x(intensity), x2: x(intensity), y1: y(reached), y2: 1000 }),
      svg("circle", { class: "operation", cx: x(intensity), cy: y(reached), r: 6 }),
    ],
  };
}
