// The walk of FlashAttention over the tiles of a small attention, for Chapter 6. Uses controls.js.

const BYTES = 4; // of a number

/** The tiles in the order of the walk, without those of which a causal mask hides all. */
export function tiles({ scores, rows, columns, causal }) {
  const n = scores.length;
  const found = [];
  for (let top = 0; top < n; top += rows) {
    const bottom = Math.min(top + rows, n);
    const before = found.length;
    for (let left = 0; left < n; left += columns) {
      if (causal && left >= bottom) break;
      found.push({ top, bottom, left, right: Math.min(left + columns, n), first: found.length === before, last: false });
    }
    found.at(-1).last = true;
  }
  return found;
}

/** What a tile moves: its keys and values; the queries with their first tile, output and log-sum-exp with their last. */
export function bytesOf({ top, bottom, left, right, first, last }, width) {
  const queries = bottom - top;
  return BYTES * (2 * (right - left) * width + (first ? queries * width : 0) + (last ? queries * (width + 1) : 0));
}

/** Textbook attention: q, k, v and output, and all pairs twice to memory and twice back. */
export const textbookBytes = (n, width) => BYTES * (4 * n * width + 4 * n * n);

/** The running softmax of a query after the first `step` tiles of the walk. */
export function running({ scores, values, query, causal }, walk, step) {
  const zero = values[0].map(() => 0);
  let state = { highest: -Infinity, total: 0, weighted: zero, shrink: 1 };
  for (const tile of walk.slice(0, step)) {
    if (query < tile.top || query >= tile.bottom) continue;
    const { highest, total, weighted } = state;
    const keys = [];
    for (let key = tile.left; key < tile.right; key++) if (!causal || key <= query) keys.push(key);
    const higher = Math.max(highest, ...keys.map((key) => scores[query][key]));
    const shrink = total ? Math.exp(highest - higher) : 1; // at first there is nothing to shrink
    const weights = keys.map((key) => Math.exp(scores[query][key] - higher));
    state = {
      highest: higher,
      total: total * shrink + weights.reduce((sum, weight) => sum + weight, 0),
      weighted: weighted.map((part, d) => part * shrink + keys.reduce((sum, key, i) => sum + weights[i] * values[key][d], 0)),
      shrink,
    };
  }
  return { ...state, output: state.weighted.map((part) => (state.total ? part / state.total : 0)) };
}

/** Softmax over all keys at once, and the mean of the values. */
export function softmaxOutput({ scores, values, query, causal }) {
  const seen = scores[query].slice(0, causal ? query + 1 : undefined);
  const highest = Math.max(...seen);
  const weights = seen.map((score) => Math.exp(score - highest));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return values[0].map((_, d) => weights.reduce((sum, weight, key) => sum + weight * values[key][d], 0) / total);
}

const decimal = (value) => number(value, 3).replace("-", "−");
const list = (numbers) => `(${numbers.map(decimal).join(", ")})`;
const fromTo = (from, to) => (to - from === 1 ? `${to}` : `${from + 1} to ${to}`);
const NAMES = ["scores", "values", "rows", "columns", "causal", "query", "step"];

export default figure((model, root) => {
  const sizes = model.get("sizes");
  const read = () => Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
  const length = model.get("scores").length;
  const go = (step) => change(model, { step: Math.max(0, Math.min(step, tiles(read()).length)) });
  const restart = (values) => change(model, { ...values, step: 0 });
  const stepSlider = slider({ label: "Tiles done", name: "step" }, go);
  const querySlider = slider({ label: "Follow query", name: "query", min: 1, max: length }, (query) =>
    change(model, { query: query - 1 }),
  );
  const rowChoice = choice("Queries in a tile", sizes, (index) => restart({ rows: sizes[index] }));
  const columnChoice = choice("Keys in a tile", sizes, (index) => restart({ columns: sizes[index] }));
  const mask = choice("Sees", ["All keys", "The past only"], (index) => restart({ causal: index === 1 }));
  const grid = h("div", { class: "walk-grid", role: "img" });
  grid.style.setProperty("--keys", length);
  grid.addEventListener("pointerdown", ({ target }) => {
    const row = [...grid.children].indexOf(target.closest(".walk-row"));
    if (row >= 0) change(model, { query: row });
  });
  const facts = h("div", { class: "facts" });
  const bars = h("div", { class: "walk-bars", "aria-hidden": "true" });
  const news = h("p", { class: "walk-news", role: "status" });
  const key = h(
    "p",
    { class: "muted walk-key" },
    h("i", { class: "now" }),
    " scores that exist now, the larger the stronger ",
    h("i", { class: "done" }),
    " used and forgotten ",
    h("i", {}),
    " to come. Rows are queries, columns keys; press a row to follow its query.",
  );
  root.append(
    h("div", { class: "walk-choices" }, rowChoice.node, columnChoice.node, mask.node),
    h("div", { class: "sliders" }, stepSlider.node, querySlider.node),
    h("p", { class: "walk-steps" }, ...[["Start", -Infinity], ["Back", -1], ["Next tile", 1], ["End", Infinity]].map(([name, by]) => button(name, () => go(model.get("step") + by)))),
    h("div", { class: "walk-both" }, h("div", { class: "walk-pattern" }, grid, key), h("div", { class: "walk-words" }, facts, bars, news)),
  );

  return () => {
    const state = read();
    const walk = tiles(state);
    const width = state.values[0].length;
    const step = Math.min(state.step, walk.length);
    const tile = walk[step - 1];
    const moved = walk.slice(0, step).reduce((sum, each) => sum + bytesOf(each, width), 0);
    const whole = walk.reduce((sum, each) => sum + bytesOf(each, width), 0);
    const textbook = textbookBytes(length, width);
    const now = running(state, walk, step);
    const started = now.total > 0;
    rowChoice.show(sizes.indexOf(state.rows));
    columnChoice.show(sizes.indexOf(state.columns));
    mask.show(Number(state.causal));
    stepSlider.show({ value: step, max: walk.length, text: `${step} of ${walk.length}` });
    querySlider.show({ value: state.query + 1, text: String(state.query + 1) });
    drawGrid(grid, state, walk, step);
    facts.replaceChildren(
      fact("Highest score m", started ? decimal(now.highest) : "–", "", "var(--series-1)"),
      fact("Sum z", started ? decimal(now.total) : "–", "", "var(--series-2)"),
      fact("Output so far", started ? list(now.output) : "–", "", "var(--series-3)"),
      fact("Softmax of all keys", list(softmaxOutput(state))),
    );
    const most = Math.max(whole, textbook);
    bars.replaceChildren(
      bar("tile by tile, so far", moved, most, "var(--series-1)", whole),
      bar("textbook, in all", textbook, most, "var(--series-2)"),
    );
    const place = tile
      ? `Tile ${step} of ${walk.length}: queries ${fromTo(tile.top, tile.bottom)}, keys ${fromTo(tile.left, tile.right)}. `
      : `${walk.length} tiles to come. `;
    const query = started
      ? `Query ${state.query + 1} stands at m = ${decimal(now.highest)}, z = ${decimal(now.total)}, output ${list(now.output)}. `
      : `Query ${state.query + 1} has met no key yet. `;
    say(news, `${place}${query}${number(moved)} of ${number(whole)} bytes moved; textbook attention moves ${number(textbook)}.`);
  };
});

/** A bar for bytes moved, out of those of the whole walk where they are given. */
function bar(name, bytes, most, colour, whole) {
  const full = h("span", { class: "walk-bar" });
  full.style.width = `${(100 * bytes) / most}%`;
  full.style.background = colour;
  const track = h("div", { class: "walk-track" }, full);
  if (whole > bytes) {
    const rest = h("span", { class: "walk-bar walk-rest" });
    rest.style.width = `${(100 * (whole - bytes)) / most}%`;
    rest.style.borderColor = colour;
    track.append(rest);
  }
  const words = whole === undefined ? `${number(bytes)} bytes` : `${number(bytes)} of ${number(whole)} bytes`;
  return h("div", {}, h("div", { class: "muted" }, `${name}: ${words}`), track);
}

/** The pairs: the tile that is at work with its scores, those before it as forgotten. */
function drawGrid(grid, { scores, causal, query }, walk, step) {
  const tile = walk[step - 1];
  const present = tile ? scores.slice(tile.top, tile.bottom).flatMap((row) => row.slice(tile.left, tile.right)) : [];
  const [low, high] = [Math.min(...present), Math.max(...present)];
  const used = new Set(walk.slice(0, Math.max(0, step - 1)).flatMap(({ top, left }) => [`${top},${left}`]));
  const tileOf = new Map();
  for (const each of walk) {
    for (let row = each.top; row < each.bottom; row++) {
      for (let column = each.left; column < each.right; column++) tileOf.set(row * scores.length + column, each);
    }
  }
  grid.replaceChildren(
    ...scores.map((row, i) =>
      h(
        "div",
        { class: i === query ? "walk-row here" : "walk-row" },
        ...row.map((score, j) => {
          const mine = tileOf.get(i * scores.length + j);
          const hidden = !mine || (causal && j > i);
          if (hidden) return h("i", { class: "hidden" });
          if (mine === tile) {
            const cell = h("i", { class: "now" });
            cell.style.setProperty("--strength", `${15 + (85 * (score - low)) / (high - low || 1)}%`);
            return cell;
          }
          return h("i", used.has(`${mine.top},${mine.left}`) ? { class: "done" } : {});
        }),
      ),
    ),
  );
  grid.setAttribute(
    "aria-label",
    tile
      ? `${scores.length} queries by ${scores.length} keys. Scores exist for queries ${fromTo(tile.top, tile.bottom)} and keys ${fromTo(tile.left, tile.right)} only; ${plural(used.size, "tile")} before are forgotten.`
      : `${scores.length} queries by ${scores.length} keys; no score has been computed.`,
  );
}
