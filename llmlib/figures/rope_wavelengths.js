// The wavelengths of RoPE under each rule of scaling, for Chapter 11. Uses controls.js and chart.js.

const TURN = 2 * Math.PI;

/** θ of each pair under a rule, in radians a token; as llmlib.layers has them. */
export function frequencies(rule, width, base, context, factor) {
  const pairs = Array.from({ length: width / 2 }, (_, i) => i);
  const plain = (from) => pairs.map((i) => from ** ((-2 * i) / width));
  const theta = plain(base);
  const mixed = (slow) => theta.map((speed, i) => (speed / factor) * slow(i) + speed * (1 - slow(i)));
  if (rule === "interpolation") return mixed(() => 1);
  if (rule === "NTK-aware") return plain(base * factor ** (width / (width - 2)));
  if (rule === "YaRN") {
    // The pair that turns so often within the training length.
    const pair = (turns) => (width * Math.log(context / (TURN * turns))) / (2 * Math.log(base));
    const first = Math.max(Math.floor(pair(32)), 0);
    const last = Math.min(Math.ceil(pair(1)), width - 1);
    return mixed((i) => within((i - first) / (last === first ? 0.001 : last - first)));
  }
  if (rule === "llama3") return mixed((i) => 1 - within(((context * theta[i]) / TURN - 1) / 3));
  return theta;
}

const within = (share) => Math.min(1, Math.max(0, share));

/** What became of each pair: by what it was slowed down, whether it turned fully in training, whether it shows new angles. */
export function pairsOf(rule, width, base, context, factor) {
  const [before, after] = [frequencies("none", width, base, context, factor), frequencies(rule, width, base, context, factor)];
  return before.map((speed, i) => {
    const slowed = speed / after[i];
    const full = context * speed >= TURN;
    return {
      before: TURN / speed,
      after: TURN / after[i],
      full,
      new: !full && factor * context * after[i] > 1.001 * context * speed,
      kind: slowed < 1.001 ? "kept" : slowed > 0.999 * factor ? "whole" : "part",
    };
  });
}

const count = (pairs, wanted) => pairs.filter(wanted).length;
const short = (value) => (value >= 1e6 ? `${value / 1e6}M` : value >= 1000 ? `${value / 1000}k` : String(value));

export default figure((model, root) => {
  const shapes = model.get("shapes");
  const [names, rules] = [Object.keys(shapes), model.get("rules")];
  const [least, most] = model.get("lengths");
  const which = choice("Shape", names, (index) =>
    change(model, { shape: names[index], context: shapes[names[index]][2] }),
  );
  const how = choice("Rule", rules, (index) => change(model, { rule: rules[index] }));
  const length = slider(
    { label: "Training length", name: "context", min: Math.log2(least), max: Math.log2(most), step: 0.5 },
    (power) => change(model, { context: Math.round(2 ** power) }),
  );
  const factor = slider(
    { label: "Factor", name: "factor", min: 0, max: Math.log2(model.get("longest_factor")), step: 0.5 },
    (power) => change(model, { factor: 2 ** power }),
  );
  const facts = h("div", { class: "facts" });
  const plot = chart(320);
  const news = h("p", { class: "muted", role: "status" });
  root.append(
    which.node,
    how.node,
    h("div", { class: "sliders" }, length.node, factor.node),
    facts,
    plot.node,
    h(
      "p",
      { class: "muted" },
      "Ring: the wavelength in training. Dot: after scaling; square: slowed down by the whole factor. A cross marks a " +
        "pair that shows angles it never showed in training. Dashed: the training length; dotted: the length to be read.",
    ),
    news,
  );

  return () => {
    const [name, rule, context, times] = ["shape", "rule", "context", "factor"].map((key) => model.get(key));
    const [width, base] = shapes[name];
    const pairs = pairsOf(rule, width, base, context, times);
    which.show(names.indexOf(name));
    how.show(rules.indexOf(rule));
    length.show({ value: Math.log2(context), text: `${number(context)} tokens` });
    factor.show({ value: Math.log2(times), text: number(times, times % 1 ? 1 : 0) });
    const [full, kept, whole, fresh] = [
      count(pairs, (pair) => pair.full),
      count(pairs, (pair) => pair.kind === "kept"),
      count(pairs, (pair) => pair.kind === "whole" && times > 1),
      count(pairs, (pair) => pair.new),
    ];
    facts.replaceChildren(
      fact("Turn fully in training", String(full), `of ${pairs.length} pairs`),
      fact("Left as they are", String(kept), "", "var(--series-1)"),
      fact("Slowed by the whole factor", String(whole), "", "var(--series-2)"),
      fact("Show new angles", String(fresh), `at ${number(times * context)} tokens`, "var(--series-4)"),
    );
    plot.show(wavelengths(pairs, context, times));
    say(
      news,
      `Trained on ${number(context)} tokens, reading ${number(times * context)}, rule ${rule}: ${full} of ` +
        `${pairs.length} pairs turned fully in training. Left as they are: ${kept}; slowed down by the whole factor: ` +
        `${whole}; showing angles that they never showed in training: ${fresh}.`,
    );
  };
});

/** Wavelengths against the pair, before and after. */
function wavelengths(pairs, context, factor) {
  const top = 10 ** Math.ceil(Math.log10(Math.max(...pairs.map((pair) => pair.after), factor * context)));
  const ticks = Array.from({ length: 12 }, (_, i) => 10 ** i).filter((ten) => ten <= top);
  const slowest = pairs.at(-1);
  const mark = (pair, x, y) => {
    const kind = `pair ${pair.kind}`;
    return pair.kind === "whole"
      ? svg("rect", { class: kind, x: x - 3.5, y: y - 3.5, width: 7, height: 7 })
      : svg("circle", { class: kind, cx: x, cy: y, r: 3.5 });
  };
  return {
    x: { name: "pair i", from: -0.8, to: pairs.length - 0.2, ticks: roundTicks(0, pairs.length - 1, 6) },
    y: { name: "wavelength, in tokens", from: 1, to: top, log: true, ticks, words: short },
    alt:
      `Wavelengths from ${number(pairs[0].after, 1)} tokens in pair 0 to ${number(slowest.after)} in pair ` +
      `${pairs.length - 1}, which had ${number(slowest.before)} in training.`,
    draw: (x, y) => [
      ...[
        ["trained", context],
        ["read", factor * context],
      ].map(([kind, at]) => svg("line", { class: kind, x1: 0, x2: 4000, y1: y(at), y2: y(at) })),
      ...pairs.flatMap((pair, i) => [
        svg("circle", { class: "before", cx: x(i), cy: y(pair.before), r: 5 }),
        mark(pair, x(i), y(pair.after)),
        ...(pair.new ? [svg("path", { class: "new", d: `M${x(i) - 6},${y(pair.after) - 6}l12,12m0,-12l-12,12` })] : []),
      ]),
    ],
  };
}
