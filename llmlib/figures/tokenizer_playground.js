// The tokenizer playground of Chapter 1. Uses controls.js, tokenizing.js and pieces.js.

export default figure((model, root) => {
  const limit = model.get("max_characters");
  const input = textBox({ label: "Your text", name: "text" }, (text) => change(model, { text: wellFormed(text), steps: {} }));
  const examples = Object.entries(model.get("examples")).map(([name, text]) =>
    button(name, () => change(model, { text, steps: {} })),
  );
  const tooLong = h("p", { class: "muted", role: "status" });
  const summary = h("p", { class: "for-ears", role: "status" });
  const panels = model.get("tokenizers").map((spec) => panel(model, spec));
  root.append(
    input.node,
    h("p", { class: "examples" }, h("span", { class: "muted" }, "Try "), ...examples),
    tooLong,
    pieceLegend(),
    ...panels.map(({ node }) => node),
    summary,
  );

  return () => {
    const typed = model.get("text");
    const text = wellFormed(typed.slice(0, limit));
    const bytes = new TextEncoder().encode(text).length;
    input.show(typed);
    say(
      tooLong,
      typed.length > limit
        ? `The text has ${number(typed.length)} characters; the figure shows the first ${number(limit)}.`
        : "",
    );
    const results = panels.map(({ prepare }) => prepare(text));
    const most = Math.max(1, ...results.map(({ pieces }) => pieces.length));
    panels.forEach(({ show }, i) => show(results[i], bytes, most));
    say(summary, results.map(({ name, pieces }) => `${name}: ${plural(pieces.length, "token")}`).join(", "));
  };
});

/** One tokenizer: its name, its count as a bar, its pieces, and for BPE the way there. */
function panel(model, spec) {
  const { name } = spec;
  const { encode, merges } = tokenizer(spec);
  const count = h("span", { class: "count" });
  const fill = h("span", {});
  const field = pieceField(`Pieces of ${name}`);
  const stepper = merges && mergeStepper(model, name);
  const node = h(
    "section",
    { class: "panel", "aria-label": name, "data-tokenizer": name },
    h("p", { class: "head" }, h("strong", {}, name), count),
    h("div", { class: "bar", "aria-hidden": "true" }, fill),
    field.node,
    ...(stepper ? [stepper.node] : []),
  );
  return {
    node,

    /** The pieces of a text, after as many merges as the reader has asked for. */
    prepare(text) {
      if (!stepper) return { name, pieces: encode(text) };
      const path = merges(text);
      const step = Math.min(model.get("steps")[name] ?? path.length, path.length);
      return { name, path, step, pieces: encode(text, step ? path[step - 1].rank + 1 : 0) };
    },

    show({ pieces, path, step }, bytes, most) {
      const lost = pieces.filter((piece) => piece.lost).length;
      count.textContent = [
        plural(pieces.length, "token"),
        ...(lost ? [`${number(lost)} unknown`] : []),
        ...(pieces.length ? [`${number(bytes / pieces.length, 2)} bytes each`] : []),
      ].join(" · ");
      fill.style.width = `${(100 * pieces.length) / most}%`;
      const walking = stepper && step < path.length;
      field.show(pieces, walking && step ? path[step - 1].id : undefined);
      stepper?.show(path, step);
    },
  };
}

/** A slider through the merges of the text, from single bytes to the final tokens, that can also play by itself. */
function mergeStepper(model, name) {
  let path = [];
  let step = 0;
  let timer;
  const go = (to) => change(model, { steps: { ...model.get("steps"), [name]: to } });
  const stop = () => {
    clearInterval(timer);
    timer = undefined;
    play.textContent = "▶ Play";
  };
  const control = slider({ label: "Merges", name: "merges" }, (to) => {
    stop();
    go(to);
  });
  const play = button("▶ Play", () => {
    if (timer) return stop();
    if (step === path.length) go(0);
    play.textContent = "❚❚ Stop";
    timer = setInterval(() => (step < path.length ? go(step + 1) : stop()), 350);
  });
  const words = h("p", { class: "merge muted" });
  return {
    node: h("div", { class: "stepper" }, h("div", { class: "controls" }, control.node, play), words),
    show(newPath, newStep) {
      [path, step] = [newPath, newStep];
      control.show({ value: step, max: path.length, text: `${step} of ${path.length}` });
      play.disabled = path.length === 0;
      if (!path.length) return words.replaceChildren("Nothing to merge.");
      if (!step) return words.replaceChildren("No merge yet: every byte is a token.");
      const { rank, count, id, left, right } = path[step - 1];
      const merged = Uint8Array.of(...left, ...right);
      words.replaceChildren(
        `Merge ${number(rank + 1)} of the vocabulary: `,
        chip({ bytes: left }),
        " + ",
        chip({ bytes: right }),
        " → ",
        chip({ bytes: merged }),
        ` (id ${id}), in ${plural(count, "place")}`,
      );
    },
  };
}
