// The cache calculator of Chapter 7. Uses controls.js.

const GIB = 2 ** 30;

export default figure((model, root) => {
  const models = model.get("models");
  const memories = model.get("memories");
  const names = { model: models.map(({ name }) => name), dtype: Object.keys(BYTES) };
  const which = choice("Model", names.model, (index) => change(model, { model: index, kv_heads: models[index].kv_heads }));
  const dtype = choice("Numbers", names.dtype, (index) => change(model, { dtype: names.dtype[index] }));
  const length = slider({ label: "Tokens", name: "length", min: 7, max: 20 }, (power) => change(model, { length: 2 ** power }));
  const batch = slider({ label: "Texts at once", name: "batch", max: 8 }, (power) => change(model, { batch: 2 ** power }));
  const heads = slider({ label: "Key/value heads", name: "kv_heads" }, (place) =>
    change(model, { kv_heads: divisors(models[model.get("model")].heads)[place] }),
  );
  const formula = h("p", { class: "formula" });
  const facts = h("div", { class: "facts" });
  const bars = h("table", { class: "memories" });
  const news = h("p", { class: "for-ears", role: "status" });
  const legend = h("p", { class: "muted" }, h("span", { class: "weights" }), " weights ", h("span", { class: "cache" }), " cache");
  root.append(which.node, dtype.node, h("div", { class: "sliders" }, length.node, batch.node, heads.node), formula, facts, bars, legend, news);

  return () => {
    const shape = models[model.get("model")];
    const [tokens, texts, kvHeads] = [model.get("length"), model.get("batch"), model.get("kv_heads")];
    const bytes = BYTES[model.get("dtype")];
    const perToken = 2 * shape.layers * kvHeads * shape.head_width * bytes;
    const cache = perToken * tokens * texts;
    const weights = shape.parameters * bytes;
    which.show(model.get("model"));
    dtype.show(names.dtype.indexOf(model.get("dtype")));
    length.show({ value: Math.log2(tokens), text: number(tokens) });
    batch.show({ value: Math.log2(texts), text: number(texts) });
    const possible = divisors(shape.heads);
    const kind = kvHeads === shape.heads ? "multi-head" : kvHeads === 1 ? "multi-query" : "grouped-query";
    heads.show({ value: possible.indexOf(kvHeads), max: possible.length - 1, text: `${kvHeads} of ${shape.heads}, ${kind}` });
    formula.textContent =
      `2 · ${shape.layers} layers · ${plural(texts, "text")} · ${number(tokens)} tokens · ${kvHeads} heads · ` +
      `${shape.head_width} numbers · ${bytes} bytes = ${inUnits(cache)}`;
    facts.replaceChildren(
      fact("Cache", ...inUnits(cache).split(" ")),
      fact("Per token", ...inUnits(perToken).split(" ")),
      fact("Weights", ...inUnits(weights).split(" ")),
    );
    bars.replaceChildren(
      h("caption", { class: "for-ears" }, "What fits into the memory of a GPU"),
      h("tr", {}, ...["GPU memory", "Use", "Room for"].map((name) => h("th", { scope: "col", class: "muted" }, name))),
      ...memories.map((gib) => memoryRow(gib, weights, cache, perToken)),
    );
    say(news, `${inUnits(cache)} of cache: with the weights it ${memories.map((gib) => verdict(gib, weights, cache)).join(", ")}.`);
  };
});

const BYTES = { float32: 4, bfloat16: 2, int8: 1 };

const divisors = (n) => Array.from({ length: n }, (_, i) => i + 1).filter((i) => n % i === 0);

/** Bytes in the unit that leaves three figures: "1.25 GiB". */
function inUnits(bytes) {
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), 4);
  const value = bytes / 2 ** (10 * power);
  return `${number(value, power && value < 100 ? 2 : 0)} ${["bytes", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

const verdict = (gib, weights, cache) => `${weights + cache <= gib * GIB ? "fits" : "does not fit"} ${gib} GiB`;

/** A GPU: how full it is, and how many tokens there would be room for beside the weights. */
function memoryRow(gib, weights, cache, perToken) {
  const size = gib * GIB;
  const part = (bytes, before) => `${100 * Math.max(0, Math.min(bytes, size - before) / size)}%`;
  const ofWeights = h("span", { class: "weights" });
  const ofCache = h("span", { class: "cache" });
  ofWeights.style.width = part(weights, 0);
  ofCache.style.width = part(cache, weights);
  const fits = weights + cache <= size;
  const room = Math.floor((size - weights) / perToken);
  return h(
    "tr",
    { class: fits ? "fits" : "full" },
    h("th", { scope: "row" }, `${gib} GiB`),
    h("td", { class: "use" }, h("div", { class: "memory", "aria-hidden": "true" }, ofWeights, ofCache), fits ? "fits" : "does not fit"),
    h("td", {}, room > 0 ? `${number(room)} tokens` : "not the weights"),
  );
}
