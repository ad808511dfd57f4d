// RoPE at work on one query and one key, for Chapter 4. Uses controls.js and chart.js.

/** The pair (a, b), rotated by an angle in radians. */
export const turned = ([a, b], angle) => [
  a * Math.cos(angle) - b * Math.sin(angle),
  b * Math.cos(angle) + a * Math.sin(angle),
];

/** The inner product of query and key in each pair, when they stand at positions t and s. */
export function products(query, key, frequencies, t, s) {
  return frequencies.map((frequency, i) => {
    const [q, k] = [turned(query[i], t * frequency), turned(key[i], s * frequency)];
    return q[0] * k[0] + q[1] * k[1];
  });
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const decimal = (value, digits = 2) => number(value, digits).replace(/^-(?=.*[1-9])/, "−").replace("-", "");
const angleOf = ([a, b]) => Math.atan2(b, a);
const signed = (value) => String(value).replace("-", "−");

export default figure((model, root) => {
  const [query, key, frequencies, longest] = ["query", "key", "frequencies", "longest"].map((name) => model.get(name));
  const positions = () => [model.get("query_position"), model.get("key_position")];
  const move = (step) => {
    const [t, s] = positions();
    const allowed = step > 0 ? Math.min(step, longest - Math.max(t, s)) : Math.max(step, -Math.min(t, s));
    change(model, { query_position: t + allowed, key_position: s + allowed });
  };
  const sliders = [
    slider({ label: "Query at t", name: "query_position", max: longest }, (t) => change(model, { query_position: t })),
    slider({ label: "Key at s", name: "key_position", max: longest }, (s) => change(model, { key_position: s })),
    slider({ label: "Pair i", name: "pair", max: frequencies.length - 1 }, (pair) => change(model, { pair })),
  ];
  const facts = h("div", { class: "facts" });
  const dial = svg("svg", { class: "dial", role: "img", viewBox: "-110 -110 220 220" });
  const plot = chart(280);
  const news = h("p", { class: "muted", role: "status" });
  root.append(
    h("div", { class: "sliders" }, ...sliders.map(({ node }) => node)),
    h(
      "p",
      { class: "steps" },
      ...[-10, -1, 1, 10].map((step) => button(`Both ${step < 0 ? "−" : "+"}${Math.abs(step)}`, () => move(step))),
    ),
    facts,
    h("div", { class: "charts" }, dial, plot.node),
    news,
  );

  return () => {
    const [t, s] = positions();
    const i = model.get("pair");
    [t, s, i].forEach((value, place) => sliders[place].show({ value }));
    const scores = products(query, key, frequencies, t, s);
    facts.replaceChildren(
      fact("Query turned by", decimal(t * frequencies[i]), "rad", "var(--series-1)"),
      fact("Key turned by", decimal(s * frequencies[i]), "rad", "var(--series-2)"),
      fact("Product in this pair", decimal(scores[i], 3), "", "var(--series-3)"),
      fact("Score, all pairs", decimal(sum(scores), 3), "", "var(--series-4)"),
    );
    drawDial(dial, query[i], key[i], t * frequencies[i], s * frequencies[i]);
    plot.show(byOffset(model, t - s, i, scores));
    say(
      news,
      `Pair ${i} turns by ${frequencies[i].toPrecision(2)} radians a token. ` +
        `At an offset t − s of ${signed(t - s)} the score is ${decimal(sum(scores), 3)}.`,
    );
  };
});

/** Query and key of the pair as arrows: pale at position 0, strong where they have turned to. */
function drawDial(dial, query, key, turnOfQuery, turnOfKey) {
  const reach = 90 / Math.max(Math.hypot(...query), Math.hypot(...key), 1e-9);
  const arrow = (pair, kind, letter) => {
    const [x, y] = [pair[0] * reach, -pair[1] * reach]; // SVG counts downwards
    const ending = letter ? [svg("text", { x: x * 1.12, y: y * 1.12 + 5, "text-anchor": "middle" }, letter)] : [];
    return svg("g", { class: kind }, svg("line", { x2: x, y2: y }), svg("circle", { cx: x, cy: y, r: 4 }), ...ending);
  };
  const circle = (pair) => svg("circle", { class: "orbit", r: Math.hypot(...pair) * reach });
  dial.replaceChildren(
    circle(query),
    circle(key),
    arrow(query, "query pale"),
    arrow(key, "key pale"),
    arrow(turned(query, turnOfQuery), "query", "q"),
    arrow(turned(key, turnOfKey), "key", "k"),
  );
  const between = turnOfQuery + angleOf(query) - turnOfKey - angleOf(key);
  const least = Math.abs(Math.atan2(Math.sin(between), Math.cos(between))); // at most half a turn
  dial.setAttribute("aria-label", `The query's arrow and the key's, ${decimal(least)} radians apart.`);
}

/** The product in the chosen pair, and the whole score, against the offset of query and key. */
function byOffset(model, offset, i, scores) {
  const [query, key, frequencies, longest] = ["query", "key", "frequencies", "longest"].map((name) => model.get(name));
  const places = Array.from({ length: 8 * longest + 1 }, (_, n) => n / 4 - longest);
  const at = places.map((place) => products(query, key, frequencies, place, 0));
  const all = at.flatMap((found) => [found[i], sum(found)]);
  const room = 0.08 * (Math.max(...all) - Math.min(...all)) || 1;
  return {
    x: { name: "offset t − s, in tokens", from: -longest, to: longest },
    y: { name: "product", from: Math.min(...all) - room, to: Math.max(...all) + room },
    alt:
      `Products against the offset. At an offset of ${signed(offset)}, pair ${i} has ${decimal(scores[i], 3)} ` +
      `and all pairs together have ${decimal(sum(scores), 3)}.`,
    draw: (x, y) => [
      svg("line", { class: "here", x1: x(offset), x2: x(offset), y1: 0, y2: 1000 }),
      curve(places.map((place, n) => [place, at[n][i]]), x, y, { class: "curve pair" }),
      curve(places.map((place, n) => [place, sum(at[n])]), x, y, { class: "curve whole" }),
      svg("circle", { class: "pair", cx: x(offset), cy: y(scores[i]), r: 4.5 }),
      svg("circle", { class: "whole", cx: x(offset), cy: y(sum(scores)), r: 4.5 }),
    ],
  };
}
