// Swish between its limits, and what it does as a gate, for Chapter 4. Uses controls.js and chart.js.

/** Swish_β(x) = x σ(βx), which is x/2 for β = 0, SiLU for β = 1, and near ReLU for a large β. */
export const swish = (x, beta) => x / (1 + Math.exp(-beta * x));

const RANGE = 4; // of g, both ways

export default figure((model, root) => {
  const set = (name) => (value) => change(model, { [name]: Number(value.toFixed(1)) });
  const sliders = {
    beta: slider({ label: "β", name: "beta", max: model.get("steepest"), step: 0.1 }, set("beta")),
    gate: slider({ label: "Gate g", name: "gate", min: -RANGE, max: RANGE, step: 0.1 }, set("gate")),
    value: slider({ label: "Value u", name: "value", min: -2, max: 2, step: 0.1 }, set("value")),
  };
  const facts = h("div", { class: "facts" });
  const plot = chart(300, (place) => set("gate")(Math.min(RANGE, Math.max(-RANGE, place))));
  const news = h("p", { class: "for-ears", role: "status" });
  root.append(
    h("div", { class: "sliders" }, ...Object.values(sliders).map(({ node }) => node)),
    facts,
    h("div", { class: "charts" }, plot.node),
    h("p", { class: "muted" }, "Solid: Swish, and Swish times u. Dashed: ReLU. Dotted: g/2."),
    news,
  );

  return () => {
    const [beta, g, u] = ["beta", "gate", "value"].map((name) => model.get(name));
    for (const [name, { show }] of Object.entries(sliders)) {
      show({ value: model.get(name), text: decimal(model.get(name), 1) });
    }
    const open = swish(g, beta);
    facts.replaceChildren(
      fact("Swish(g)", decimal(open), "", "var(--series-1)"),
      fact("Swish(g) · u", decimal(open * u), "", "var(--series-4)"),
      fact("ReLU(g)", decimal(Math.max(0, g)), "", "var(--series-2)"),
      fact("g/2", decimal(g / 2), "", "var(--series-3)"),
    );
    const words =
      `Swish with β = ${decimal(beta, 1)} at g = ${decimal(g, 1)} is ${decimal(open)}, ` +
      `times u = ${decimal(u, 1)} it is ${decimal(open * u)}.`;
    plot.show(curves(beta, g, u, words));
    say(news, words);
  };
});

const decimal = (value, digits = 3) => number(value, digits).replace(/^-(?=.*[1-9])/, "−").replace("-", "");

function curves(beta, g, u, words) {
  const places = Array.from({ length: 161 }, (_, i) => RANGE * (i / 80 - 1));
  const line = (f, attributes, x, y) => curve(places.map((place) => [place, f(place)]), x, y, attributes);
  return {
    x: { name: "g, what the gate computes", from: -RANGE, to: RANGE, ticks: [-4, -2, 0, 2, 4] },
    y: { name: "what comes out", from: -3, to: RANGE },
    alt: `${words} ReLU(g) is ${decimal(Math.max(0, g))}, and half of g is ${decimal(g / 2)}.`,
    draw: (x, y) => [
      svg("line", { class: "here", x1: x(g), x2: x(g), y1: 0, y2: 1000 }),
      line((place) => Math.max(0, place), { class: "curve relu" }, x, y),
      line((place) => place / 2, { class: "curve half" }, x, y),
      line((place) => swish(place, beta) * u, { class: "curve gated" }, x, y),
      line((place) => swish(place, beta), {}, x, y),
      svg("circle", { class: "gated", cx: x(g), cy: y(swish(g, beta) * u), r: 4.5 }),
      svg("circle", { class: "now", cx: x(g), cy: y(swish(g, beta)), r: 4.5 }),
    ],
  };
}
