// How far each head of ALiBi sees, for Chapter 11. Uses controls.js and chart.js.

/** The slope of each head; as llmlib.attention.alibi_slopes has them. */
export function slopes(heads) {
  const power = 2 ** Math.floor(Math.log2(heads));
  return Array.from({ length: heads }, (_, h) =>
    h < power ? 2 ** ((-8 * (h + 1)) / power) : 2 ** ((-4 * (2 * (h - power) + 1)) / power),
  );
}

const digits = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });

export default figure((model, root) => {
  const farthest = model.get("farthest");
  const heads = slider({ label: "Heads H", name: "heads", min: 1, max: model.get("most_heads") }, (H) =>
    change(model, { head: Math.min(model.get("head"), H - 1), heads: H }),
  );
  const head = slider({ label: "Head h", name: "head" }, (h) => change(model, { head: h }));
  const facts = h("div", { class: "facts" });
  const plot = chart(280);
  const news = h("p", { class: "muted", role: "status" });
  root.append(h("div", { class: "sliders" }, heads.node, head.node), facts, plot.node, news);

  return () => {
    const [H, marked] = [model.get("heads"), model.get("head")];
    const all = slopes(H);
    const half = Math.LN2 / all[marked];
    heads.show({ value: H });
    head.show({ value: marked, max: H - 1 });
    facts.replaceChildren(
      fact("Slope of this head", digits(all[marked]), "", "var(--series-2)"),
      fact("Weights halve every", digits(half), "tokens", "var(--series-2)"),
      fact("Steepest", digits(Math.max(...all))),
      fact("Flattest", digits(Math.min(...all))),
    );
    plot.show({
      x: { name: "distance, in tokens", from: 1, to: farthest, log: true, ticks: [1, 4, 16, 64, 256, 1024] },
      y: { name: "factor of the weight", from: 0, to: 1 },
      alt: `By what a weight is multiplied, against the distance. Head ${marked} of ${H} halves it every ${digits(half)} tokens.`,
      draw: (x, y) =>
        [...all.keys()]
          .sort((a, b) => (a === marked) - (b === marked)) // the marked one on top
          .map((n) => curve(along(farthest).map((d) => [d, Math.exp(-all[n] * d)]), x, y, { class: n === marked ? "curve marked" : "curve other" })),
    });
    say(news, `Head ${marked} of ${H} has the slope ${digits(all[marked])} and halves the weight of a key every ${digits(half)} tokens.`);
  };
});

const along = (farthest, count = 120) => Array.from({ length: count + 1 }, (_, i) => farthest ** (i / count));
