// A box for a text of the reader's own. Uses controls.js.

/** A box to type in, as soon as a kernel answers; until then, and on a page for good, a word about where there is one. */
function ownText(model) {
  const node = h("div", { class: "own" }, h("p", { class: "muted" }, "In JupyterLab you can type your own."));
  const box = textBox({ label: "Your sentence", name: "text", rows: 2 }, (text) =>
    change(model, { text: text.replace(/\p{Surrogate}/gu, "\uFFFD") }),
  );
  const problem = h("p", { class: "muted", role: "status" });
  model.on("msg:custom", (message) => message === "kernel" && node.replaceChildren(box.node, problem));
  model.on("change:problem", () => say(problem, model.get("problem")));
  box.show(model.get("text"));
  say(problem, model.get("problem"));
  model.send?.("kernel?");
  return node;
}
