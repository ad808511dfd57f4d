// The rows of a pattern as a list: one at a time is described below it. Needs controls.js.

/**
 * A list of rows that one points at or walks through with the arrow keys, and the words on the one that is chosen:
 * `text(row)` says what row number `row` shows.
 */
function rowList(label, rows, text) {
  const words = h("p", { class: "sees-what muted", "aria-hidden": "true" }); // the row itself speaks it
  for (const [i, row] of rows.entries()) {
    row.setAttribute("role", "option");
    row.setAttribute("aria-label", text(i));
  }
  const list = h("div", { role: "listbox", "aria-label": label }, ...rows);
  let chosen;
  const describe = (index) => {
    for (const [i, row] of rows.entries()) row.classList.toggle("here", i === index);
    words.textContent = text(index);
  };
  const choose = (index) => {
    chosen = index;
    for (const [i, row] of rows.entries()) {
      row.tabIndex = i === index ? 0 : -1;
      row.setAttribute("aria-selected", i === index);
    }
    describe(index);
  };
  const indexOf = ({ target }) => rows.indexOf(target.closest("[role=option]"));
  list.addEventListener("focusin", (event) => choose(indexOf(event)));
  list.addEventListener("pointerover", (event) => indexOf(event) >= 0 && describe(indexOf(event)));
  list.addEventListener("pointerleave", () => describe(chosen));
  list.addEventListener("keydown", (event) => {
    const to = { ArrowUp: chosen - 1, ArrowDown: chosen + 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    rows[to]?.focus();
  });
  choose(Math.floor(rows.length / 2));
  return [list, words];
}
