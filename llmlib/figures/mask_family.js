// The mask family of Chapter 3: which keys each query may see. Uses controls.js, row_list.js and mask_grid.js.

const SEES = {
  full: () => () => true,
  causal: () => (query, key) => key <= query,
  prefix: (n) => (query, key) => key <= query || key < n,
};

const KINDS = {
  encoder: ["Encoder", "Every position sees the whole sequence, before and after it."],
  decoder: ["Decoder", "Every position sees itself and what came before it, never the token that it has to predict."],
  prefix: ["Prefix", "Every position sees the whole prefix; of what follows, it sees only itself and what came before it."],
  "encoder-decoder": [
    "Encoder–decoder",
    "The encoder sees its whole source. The decoder sees its own past and, through cross-attention, the whole source.",
  ],
};

/** The patterns of a kind: for each a name, what queries and keys are, and a row of booleans for each query. */
export function patterns({ kind, length, prefix, source }) {
  const pattern = (name, sees, T, S, keys = "key") => {
    const rows = Array.from({ length: T }, (_, query) => Array.from({ length: S }, (_, key) => sees(query, key)));
    return { name, keys, rows, kept: rows.flat().filter(Boolean).length, pairs: T * S };
  };
  if (kind === "encoder") return [pattern("Encoder", SEES.full(), length, length)];
  if (kind === "decoder") return [pattern("Decoder", SEES.causal(), length, length)];
  if (kind === "prefix") return [pattern("Prefix", SEES.prefix(prefix), length, length)];
  return [
    pattern("Encoder", SEES.full(), source, source),
    pattern("Decoder", SEES.causal(), length, length),
    pattern("Cross", SEES.full(), length, source, "source key"),
  ];
}

export default figure((model, root) => {
  const longest = model.get("longest");
  const kinds = Object.keys(KINDS);
  const kind = choice("Transformer", kinds.map((name) => KINDS[name][0]), (index) => change(model, { kind: kinds[index] }));
  const length = slider({ label: "Length T", name: "length", min: 1, max: longest }, (length) =>
    change(model, { length, prefix: Math.min(model.get("prefix"), length) }),
  );
  const prefix = slider({ label: "Prefix", name: "prefix" }, (prefix) => change(model, { prefix }));
  const source = slider({ label: "Source S", name: "source", min: 1, max: longest }, (source) => change(model, { source }));
  const rule = h("p", { class: "rule" });
  const grids = h("div", { class: "patterns" });
  const hint = "Rows are queries, columns are keys. Point at a row, or reach it with the arrow keys.";
  const summary = h("p", { class: "for-ears", role: "status" });
  root.append(
    kind.node,
    h("div", { class: "sliders" }, length.node, prefix.node, source.node),
    rule,
    grids,
    h("p", { class: "muted" }, hint),
    summary,
  );

  return () => {
    const state = Object.fromEntries(["kind", "length", "prefix", "source"].map((name) => [name, model.get(name)]));
    kind.show(kinds.indexOf(state.kind));
    length.show({ value: state.length });
    prefix.show({ value: state.prefix, max: state.length });
    source.show({ value: state.source });
    prefix.node.hidden = state.kind !== "prefix";
    source.node.hidden = state.kind !== "encoder-decoder";
    rule.textContent = KINDS[state.kind][1];
    const shown = patterns(state);
    grids.replaceChildren(...shown.map(grid));
    say(summary, shown.map((pattern) => `${pattern.name}: ${count(pattern)}`).join(". "));
  };
});
