// A pattern of a mask as a grid: a row for each query, of which one at a time is in words. Uses controls.js and row_list.js.
// A pattern is { name, keys: what a key is called, rows: booleans for each query, kept, pairs }.

const count = ({ kept, pairs }) => `${number(kept)} of ${plural(pairs, "pair")} (${number((100 * kept) / pairs)} %)`;

/** What a query sees, in words. In all patterns of this figure these are the keys from the first on. */
function inWords({ keys, rows }, query) {
  const total = rows[query].length;
  const seen = rows[query].filter(Boolean).length;
  const which = seen === 1 ? `${keys} 1` : `${keys}s 1 to ${seen}`;
  const rest = total - seen === 1 ? `Key ${total} is hidden` : `Keys ${seen + 1} to ${total} are hidden`;
  return `Query ${query + 1} sees ${which}. ${seen === total ? "Nothing is hidden" : rest}.`;
}

/** A pattern: its name, its count, and its rows, of which one at a time is described below. */
function grid(pattern) {
  const { name, rows } = pattern;
  const drawn = rows.map((row, query) =>
    h("div", { class: "mask-row" }, h("span", {}, query + 1), ...row.map((sees) => h("i", sees ? { class: "sees" } : {}))),
  );
  const [list, words] = rowList(`${name}: its queries`, drawn, (query) => inWords(pattern, query));
  const keys = h("div", { class: "mask-row", "aria-hidden": "true" }, h("span"), ...rows[0].map((_, key) => h("span", {}, key + 1)));
  const title = [h("p", {}, h("strong", {}, name)), h("p", { class: "muted" }, count(pattern))];
  const node = h("section", { class: "pattern", "aria-label": name }, ...title, keys, list, words);
  node.style.setProperty("--keys", rows[0].length);
  return node;
}
