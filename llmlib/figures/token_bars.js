// A table of tokens with two bars each: how probable the model finds it, and how probable it is to be drawn. Uses
// controls.js and pieces.js.

/** A token as Python sends it. */
const fromData = ({ id, text, bytes }) => ({ id, text, bytes: bytes && Uint8Array.from(bytes) });

/**
 * `show(caption, rows)` draws it; a row is { piece, own, drawn, kept }, with a `name` in place of a piece for several
 * together. Bars go from 0 to 1. What the filters cut says so.
 */
function tokenBars() {
  const table = h("table", { class: "token-bars" });
  const legend = h("p", { class: "muted" }, "Outlined: what the model says. Filled: what is drawn from.");
  return {
    node: h("div", {}, table, legend),
    show(caption, rows) {
      table.replaceChildren(
        h("caption", { class: "for-ears" }, caption),
        h("colgroup", {}, ...["token", "", "probability", "probability"].map((name) => h("col", { class: name }))),
        h("tr", {}, columnHead("Token"), h("td", { class: "bar" }), columnHead("Model"), columnHead("Drawn")),
        ...rows.map(tokenRow),
      );
    },
  };
}

const columnHead = (name) => h("th", { scope: "col", class: "muted" }, name);

function tokenRow({ piece, name, own, drawn, kept }) {
  const outline = h("span", { class: "own" });
  const filled = h("span", { class: "drawn" });
  outline.style.width = `${100 * own}%`;
  filled.style.width = `${100 * drawn}%`;
  return h(
    "tr",
    { class: kept ? "kept" : "cut" },
    h("th", { scope: "row" }, name ?? chip(fromData(piece))),
    h("td", { class: "bar", "aria-hidden": "true" }, outline, filled),
    h("td", { class: "muted" }, number(own, 3)),
    h("td", {}, kept ? number(drawn, 3) : "cut"),
  );
}
