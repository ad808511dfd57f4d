// What stands in this blank? For Chapter 10. Uses controls.js, pieces.js and own_text.js.

export default figure((model, root) => {
  const sentences = model.get("sentences");
  const names = model.get("names");
  const sentence = choice("Sentence", [...sentences, "your own"], (index) => change(model, { sentence: index, token: -1 }));
  sentence.node.classList.add("sentences");
  const own = sentence.node.lastChild;
  const strip = h("div", { class: "pieces", role: "listbox", "aria-label": "Tokens of the sentence" });
  const tables = h("div", { class: "fillers" });
  const status = h("p", { class: "for-ears", role: "status" });
  const hint = "Point at a token and click, or move with the arrow keys, to hide it and see what the models put in its place.";
  root.append(sentence.node, ownText(model), strip, h("p", { class: "muted" }, hint), tables, status);

  const boxes = () => [...strip.children];
  const hide = (token) => token >= 0 && token !== hidden() && change(model, { token });
  const shown = () => {
    const typed = model.get("sentence") === sentences.length;
    const [tokens, blanks] = typed ? ["typed_tokens", "typed_blanks"].map((name) => model.get(name)) : ["tokens", "blanks"].map((name) => model.get(name)[model.get("sentence")]);
    return { tokens, blanks };
  };
  const hidden = () => (model.get("token") in shown().tokens ? model.get("token") : shown().tokens.length - 1);
  strip.addEventListener("focusin", ({ target }) => hide(boxes().indexOf(target)));
  strip.addEventListener("click", ({ target }) => target.closest(".piece")?.focus());
  strip.addEventListener("keydown", (event) => {
    const here = boxes().indexOf(document.activeElement?.shadowRoot?.activeElement ?? event.target);
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: boxes().length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    boxes()[to]?.focus();
  });

  let drawn;
  return () => {
    const { tokens, blanks } = shown();
    const place = hidden();
    own.hidden = model.get("typed_tokens").length === 0;
    sentence.show(model.get("sentence"));
    if (JSON.stringify(tokens) !== drawn) {
      drawn = JSON.stringify(tokens);
      strip.replaceChildren(
        ...tokens.map((text, i) => fill(chip({ text }), { role: "option", "aria-label": `“${text}”, token ${i + 1} of ${tokens.length}` }, [])),
      );
    }
    for (const [i, box] of boxes().entries()) {
      box.style.setProperty("--depth", 0);
      box.classList.toggle("hidden-token", i === place);
      box.tabIndex = i === place ? 0 : -1;
      box.setAttribute("aria-selected", i === place);
    }
    tables.replaceChildren(...names.map((name, i) => table(name, blanks[place][i], tokens[place])));
    const best = names.map((name, i) => `${name}: ${blanks[place][i].best[0][0]}`);
    say(status, `“${tokens[place]}” is hidden. ${best.join("; ")}.`);
  };
});

/** A model's candidates as bars, from 0 to 1. */
function table(name, { best, rank }, truth) {
  const rows = best.map(([word, share]) => {
    const bar = h("span");
    bar.style.width = `${100 * share}%`;
    const row = h(
      "tr",
      word === truth ? { class: "right" } : {},
      h("th", { scope: "row" }, h("bdi", {}, word)),
      h("td", { class: "bar", "aria-hidden": "true" }, bar),
      h("td", {}, `${number(100 * share, 1)} %`),
    );
    return row;
  });
  const found = rank === 1 ? "first, and right" : `the hidden token is its number ${number(rank)}`;
  return h("section", { "aria-label": name }, h("table", {}, h("caption", {}, name), ...rows), h("p", { class: "muted" }, found));
}
