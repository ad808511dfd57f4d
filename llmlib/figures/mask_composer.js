// The mask composer of Chapter 5: kinds of sparse attention put together, and what they cost and connect. Uses
// controls.js and chart.js.

const PRIME = 46337; // as in llmlib/attention/kinds.py

/** The block that block i of the queries draws from one of the stretches; none where the stretch is empty. */
function drawnBlock({ random, coefficients }, i, count, stretch) {
  const [begin, end] = [stretch, stretch + 1].map((edge) => Math.floor((edge * count) / random));
  const at = (i * random + stretch) % PRIME;
  const draw = coefficients.reduce((sum, coefficient) => (sum * at + coefficient) % PRIME, at);
  return end > begin ? begin + (draw % (end - begin)) : undefined;
}

/** How many blocks a block of queries draws from: a decoder draws from what it may see. */
const choices = ({ causal, block }, i, length) => (causal ? i + 1 : Math.ceil(length / block));

/**
 * The rule of a composition, (query, key) => boolean, in a sequence of `length`: those of llmlib.attention.masks,
 * joined by "or", and under the causal mask if the composition is one for a decoder.
 */
export function rule(state, length) {
  const { causal, window: w, dilation, globals, random, local, block } = state;
  return (query, key) => {
    if (causal && key > query) return false;
    const distance = Math.abs(query - key);
    if (distance <= w * dilation && distance % dilation === 0) return true;
    if (query < globals || key < globals) return true;
    const [i, j] = [query, key].map((place) => Math.floor(place / block));
    if (local && i === j) return true;
    const count = choices(state, i, length);
    return random > 0 && j < count && j === drawnBlock(state, i, count, Math.floor(((j + 1) * random - 1) / count));
  };
}

/** Which keys each query sees in one layer: a row of booleans for each. */
export function pattern(state) {
  const sees = rule(state, state.length);
  const all = Array.from({ length: state.length }, (_, i) => i);
  return all.map((query) => all.map((key) => sees(query, key)));
}

/** Which positions each has heard of after some layers; it always knows itself. */
export function reached(rows, layers) {
  const step = rows.map((row, query) => row.map((sees, key) => sees || key === query));
  let known = step;
  for (let layer = 1; layer < layers; layer++) {
    known = step.map((row) => {
      const heard = row.map(() => false);
      row.forEach((sees, via) => sees && known[via].forEach((knows, key) => knows && (heard[key] = true)));
      return heard;
    });
  }
  return known;
}

/** How many pairs are kept in a sequence of n, from 2,000 of its rows. */
export function keptPairs(state, n) {
  const sees = rule(state, n);
  const globals = Math.min(state.globals, n);
  const rest = n - globals;
  const samples = Math.min(rest, 2000);
  const kept = state.causal ? (globals * (globals + 1)) / 2 : globals * n;
  let found = 0;
  for (let s = 0; s < samples; s++) {
    const query = globals + Math.floor(((s + 0.5) * rest) / samples);
    for (const key of candidates(state, n, query)) found += sees(query, key);
  }
  return kept + (samples ? (found * rest) / samples : 0);
}

/** The keys that a query may see at all: few, however long the sequence. */
function candidates(state, n, query) {
  const { window: w, dilation, globals, random, block } = state;
  const keys = new Set();
  const add = (from, to, step = 1) => {
    for (let key = from; key < to; key += step) if (key >= 0 && key < n) keys.add(key);
  };
  add(query - w * dilation, query + w * dilation + 1, dilation);
  add(0, globals);
  const i = Math.floor(query / block);
  const count = choices(state, i, n);
  const drawn = Array.from({ length: random }, (_, stretch) => drawnBlock(state, i, count, stretch));
  for (const j of [i, ...drawn]) if (j !== undefined) add(j * block, (j + 1) * block);
  return keys;
}

const NAMES = ["causal", "window", "dilation", "globals", "random", "local", "block", "layers", "length", "coefficients"];
const PRESETS = {
  Window: { window: 2, dilation: 1, globals: 0, random: 0, local: false },
  "Star-Transformer": { window: 1, dilation: 1, globals: 1, random: 0, local: false },
  Longformer: { window: 2, dilation: 2, globals: 1, random: 0, local: false },
  BigBird: { window: 1, dilation: 1, globals: 1, random: 1, local: true },
  Blocks: { window: 0, dilation: 1, globals: 0, random: 0, local: true },
};
const LENGTHS = [1024, 4096, 16384, 65536, 262144, 1048576];
const BYTES = 2; // of a score in half precision

const inWords = (bytes) => {
  const power = Math.min(4, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${number(value, value < 10 ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
};
const lengthInWords = (n) => (n < 2 ** 20 ? `${n / 1024}k` : "1M");

export default figure((model, root) => {
  const presets = Object.keys(PRESETS);
  const preset = choice("Model", presets, (index) => change(model, PRESETS[presets[index]]));
  const direction = choice("Sees", ["Both sides", "The past only"], (index) => change(model, { causal: index === 1 }));
  const local = choice("Own block", ["No", "Yes"], (index) => change(model, { local: index === 1 }));
  const sliders = {
    window: slider({ label: "Window", name: "window", max: 8 }, (window) => change(model, { window })),
    dilation: slider({ label: "Dilation", name: "dilation", min: 1, max: 4 }, (dilation) => change(model, { dilation })),
    globals: slider({ label: "Global tokens", name: "globals", max: 4 }, (globals) => change(model, { globals })),
    random: slider({ label: "Random blocks", name: "random", max: 4 }, (random) => change(model, { random })),
    block: slider({ label: "Block length", name: "block", min: 1, max: 8 }, (block) => change(model, { block })),
    layers: slider({ label: "Layers L", name: "layers", min: 1, max: 8 }, (layers) => change(model, { layers })),
  };
  const facts = h("div", { class: "facts" });
  const grid = h("div", { class: "composer-grid" });
  const costs = chart(300);
  const summary = h("p", { class: "for-ears", role: "status" });
  const key = h(
    "p",
    { class: "muted composer-key" },
    h("i", { class: "sees" }),
    " seen in one layer ",
    h("i", { class: "heard" }),
    " known of after L layers. Rows are queries, columns are keys. Point at a row, or reach it with the arrow keys.",
  );
  root.append(
    preset.node,
    h("div", { class: "composer-choices" }, direction.node, local.node),
    h("div", { class: "sliders" }, ...Object.values(sliders).map(({ node }) => node)),
    facts,
    h("div", { class: "charts" }, h("div", { class: "composer-pattern" }, grid, key), costs.node),
    summary,
  );

  return () => {
    const state = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
    preset.show(presets.findIndex((name) => Object.entries(PRESETS[name]).every(([part, value]) => state[part] === value)));
    direction.show(Number(state.causal));
    local.show(Number(state.local));
    for (const [name, { show }] of Object.entries(sliders)) show({ value: state[name] });
    const rows = pattern(state);
    const known = reached(rows, state.layers);
    const { length } = state;
    const kept = count(rows);
    const least = Math.min(...known.map((row) => row.filter(Boolean).length));
    const mean = count(known) / length;
    facts.replaceChildren(
      fact("Pairs kept", `${number(kept)}`, `of ${number(length ** 2)} (${number((100 * kept) / length ** 2)} %)`),
      fact("Known after L layers", number(mean, 1), `of ${length} on average, at least ${least}`),
    );
    grid.replaceChildren(...drawn(rows, known, state.layers));
    const memory = LENGTHS.map((n) => [n, BYTES * keptPairs(state, n)]);
    costs.show(cost(memory));
    say(
      summary,
      `${number(kept)} of ${number(length ** 2)} pairs are kept. After ${plural(state.layers, "layer")} a position knows of ${number(mean, 1)} of ${length} on average.`,
    );
  };
});

const count = (rows) => rows.flat().filter(Boolean).length;

/** "1, 3 to 7" for the places of a row that are true. */
function ranges(row) {
  const parts = [];
  row.forEach((here, i) => {
    if (!here) return;
    if (i && row[i - 1]) parts.at(-1)[1] = i + 1;
    else parts.push([i + 1, i + 1]);
  });
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from} to ${to}`)).join(", ") || "none";
}

/** The rows of the pattern, which the arrow keys walk through, and the words on the one that is pointed at. */
function drawn(rows, known, layers) {
  const text = (query) =>
    `Query ${query + 1} sees ${ranges(rows[query])}. After ${plural(layers, "layer")} it knows of ${known[query].filter(Boolean).length}.`;
  const cell = (query, key) => h("i", rows[query][key] ? { class: "sees" } : known[query][key] ? { class: "heard" } : {});
  const each = rows.map((row, query) => h("div", { class: "composer-row" }, ...row.map((_, key) => cell(query, key))));
  const [list, words] = rowList("Queries", each, text);
  list.style.setProperty("--keys", rows.length);
  return [list, words];
}

/** The memory of the scores of one head against the length: of all pairs, and of those that are kept. */
function cost(memory) {
  const all = LENGTHS.map((n) => [n, BYTES * n ** 2]);
  const label = (points, words, x, y, below) => {
    const [n, bytes] = points.at(-1);
    return svg("text", { x: x(n), y: y(bytes) + (below ? 40 : -10), "text-anchor": "end" }, `${words} ${inWords(bytes)}`);
  };
  return {
    x: { name: "length n", from: 1024, to: 2 ** 20.3, log: true, ticks: LENGTHS, words: lengthInWords },
    y: {
      name: "scores of one head, 2 bytes each",
      from: 2 ** 10,
      to: 2 ** 46,
      log: true,
      ticks: [10, 20, 30, 40].map((power) => 2 ** power),
      words: (bytes) => inWords(bytes).replace(/\.0/, ""),
    },
    alt: `Memory of the scores. ${LENGTHS.map((n, i) => `At ${lengthInWords(n)}: all pairs ${inWords(all[i][1])}, kept pairs ${inWords(memory[i][1])}`).join(". ")}.`,
    draw: (x, y) => [
      curve(all, x, y, { style: "stroke: var(--series-2)" }),
      curve(memory, x, y),
      label(all, "all pairs", x, y),
      label(memory, "kept pairs", x, y, true),
    ],
  };
}
