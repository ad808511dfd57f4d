// One sentence through four tasks, for Chapter 10. Uses controls.js, row_list.js and mask_grid.js.

const KINDS = {
  GPT: "Predict each token from those before it.",
  BERT: "Some tokens are chosen; most of them are masked, some replaced, some left. Predict those that were chosen.",
  BART: "Each span becomes one mask, and an empty span puts a mask where nothing is missing. Write the whole text again.",
  GLM: "Each span becomes one mask. Behind the text, write the spans, in a random order, each from left to right.",
};
const NAMES = { [-1]: "[M]", [-2]: "[S]", [-3]: "[E]", [-4]: "" };

/** What the chosen setting shows: what a slider does not change is there once. */
function streamsOf({ views, kind, rate, mean, draw }) {
  return [rate, mean, draw].reduce((list, index) => list[Math.min(index, list.length - 1)], views[kind]);
}

/** Which pairs are seen: patterns as mask_grid.js draws them. */
export function patternsOf(kind, streams) {
  const [first, second] = streams.map(({ reads }) => reads.length);
  const pattern = (name, sees, T, S, keys = "key") => {
    const rows = Array.from({ length: T }, (_, query) => Array.from({ length: S }, (_, key) => sees(query, key)));
    return { name, keys, rows, kept: rows.flat().filter(Boolean).length, pairs: T * S };
  };
  const full = () => true;
  const causal = (query, key) => key <= query;
  if (kind === "GPT") return [pattern("Causal", causal, first, first)];
  if (kind === "BERT") return [pattern("Full", full, first, first)];
  if (kind === "GLM") return [pattern("Prefix", (query, key) => key <= query || key < streams[0].part_a, first, first)];
  return [
    pattern("Encoder", full, first, first),
    pattern("Decoder", causal, second, second),
    pattern("Cross", full, second, first, "source key"),
  ];
}

export default figure((model, root) => {
  const kinds = Object.keys(KINDS);
  const [rates, means, words] = ["rates", "means", "words"].map((name) => model.get(name));
  const kind = choice("Task of", kinds, (index) => change(model, { kind: kinds[index] }));
  const rate = slider({ label: "Share taken out", name: "rate", max: rates.length - 1 }, (rate) => change(model, { rate }));
  const mean = slider({ label: "Mean length of spans", name: "mean", max: means.length - 1 }, (mean) => change(model, { mean }));
  const again = button("Draw again", () => change(model, { draw: (model.get("draw") + 1) % 4 }), { class: "again" });
  const task = h("p", { class: "rule" });
  const streams = h("div");
  const facts = h("div", { class: "facts" });
  const grids = h("div", { class: "patterns" });
  const hint = "Rows are queries, columns are keys. Point at a row, or reach it with the arrow keys.";
  const status = h("p", { class: "for-ears", role: "status" });
  root.append(
    kind.node,
    h("div", { class: "sliders" }, rate.node, mean.node, again),
    task,
    streams,
    facts,
    grids,
    h("p", { class: "muted" }, hint),
    status,
  );
  const text = (token) => NAMES[token] ?? words[token];

  return () => {
    const state = Object.fromEntries(["views", "kind", "rate", "mean", "draw"].map((name) => [name, model.get(name)]));
    const shown = streamsOf(state);
    kind.show(kinds.indexOf(state.kind));
    rate.show({ value: state.rate, text: `${number(100 * rates[state.rate])} %` });
    mean.show({ value: state.mean, text: number(means[state.mean]) });
    rate.node.hidden = again.hidden = state.kind === "GPT";
    mean.node.hidden = state.kind === "GPT" || state.kind === "BERT";
    task.textContent = KINDS[state.kind];
    streams.replaceChildren(...shown.map((stream) => drawStream(stream, text)));
    const patterns = patternsOf(state.kind, shown);
    const read = shown.reduce((sum, { reads }) => sum + reads.length, 0);
    const predicted = shown.reduce((sum, { predicts }) => sum + predicts.filter((token) => token !== -4).length, 0);
    facts.replaceChildren(
      fact("Sentence", number(words.length), "tokens"),
      fact("Read", number(read), "positions"),
      fact("Predicted", number(predicted), "tokens", "var(--series-3)"),
    );
    grids.replaceChildren(...patterns.map(grid));
    say(status, `${state.kind}: ${plural(read, "position")} read, ${plural(predicted, "token")} predicted.`);
  };
});

/** What is read above, what is predicted below; with positions where there are two. */
function drawStream({ name, reads, predicts, positions, part_a }, text) {
  const cells = reads.map((token, i) => {
    const spoken = `reads ${text(token)}${predicts[i] === -4 ? "" : `, predicts ${text(predicts[i])}`}`;
    const places = positions ? [h("small", { "aria-hidden": "true" }, `${positions[0][i]}, ${positions[1][i]}`)] : [];
    const heard = positions ? `${spoken}, position ${positions[0][i]}, ${positions[1][i]} in its blank` : spoken;
    const cell = h(
      "span",
      { role: "listitem", "aria-label": heard },
      h("b", token === -1 ? { class: "masked" } : token === i || positions ? {} : { class: token < 0 ? "" : "other" }, text(token)),
      h("i", {}, text(predicts[i])),
      ...places,
    );
    if (part_a !== undefined && i >= part_a) cell.classList.add("part-b");
    return cell;
  });
  const title = h("p", { class: "muted" }, `${name}: read, and predicted below${positions ? "; positions in text and blank" : ""}`);
  return h("section", {}, title, h("div", { class: "stream", role: "list", "aria-label": name }, ...cells));
}
