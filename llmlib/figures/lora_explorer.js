// What a rank of LoRA costs, and what it keeps of an update, for Chapter 12. Uses controls.js and chart.js.

export default figure((model, root) => {
  const models = model.get("models");
  const groups = model.get("groups");
  const values = model.get("values");
  const names = Object.keys(groups);
  const which = choice("Model", models.map(({ name }) => name), (index) => change(model, { model: index }));
  const where = choice("Layers", names, (index) => change(model, { targets: names[index] }));
  const rank = slider({ label: "Rank", name: "rank", max: 8 }, (power) => change(model, { rank: 2 ** power }));
  const facts = h("div", { class: "facts" });
  const spectrum = chart(220);
  const news = h("p", { class: "sentence", role: "status" });
  root.append(which.node, where.node, rank.node, facts, spectrum.node, news);

  return () => {
    const shape = models[model.get("model")];
    const r = model.get("rank");
    const learnt = r * shape.blocks * sidesOf(shape, groups[model.get("targets")]);
    which.show(model.get("model"));
    where.show(names.indexOf(model.get("targets")));
    rank.show({ value: Math.log2(r), text: number(r) });
    facts.replaceChildren(
      fact("Learnt", ...amount(learnt)),
      fact("Of the model", ...share100(learnt / shape.parameters)),
      fact("File, in float16", ...size(2 * learnt)),
      fact("Training state", ...size(12 * learnt)),
      fact("All weights' state", ...size(12 * shape.parameters)),
    );
    const kept = energy(values.slice(0, r)) / energy(values);
    spectrum.show(bars(values, r, kept));
    const held = r < values.length ? `the ${r === 1 ? "largest singular value" : plural(r, "largest singular value")} of this update` : "the whole of this update";
    say(news, `A matrix of rank ${r} can hold ${held}: ${number(100 * kept, 1)}\u00a0% of the sum of all squares.`);
  };
});

/** The sum of both sides of all adapted layers of a block; a model may lack some of them. */
const sidesOf = ({ layers }, names) =>
  names.filter((name) => name in layers).reduce((sum, name) => sum + layers[name][0] + layers[name][1], 0);

const energy = (values) => values.reduce((sum, value) => sum + value * value, 0);

const digits = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });

function amount(value) {
  return value >= 1e9 ? [digits(value / 1e9), "billion numbers"] : [digits(value / 1e6), "million numbers"];
}

const share100 = (part) => [digits(100 * part), "%"];

function size(bytes) {
  const power = Math.min(Math.floor(Math.log10(bytes) / 3), 4);
  return [digits(bytes / 1000 ** power), ["bytes", "kB", "MB", "GB", "TB"][power]];
}

/** The singular values of the update: those that the rank can hold stand out. */
function bars(values, r, kept) {
  const top = values[0];
  return {
    x: { name: "number of the singular value", from: 0, to: values.length },
    y: { name: "singular value, as a share of the largest", from: 0, to: 1.05 },
    alt: `Singular values of an update, falling. The first ${Math.min(r, values.length)} of ${values.length} hold ${number(100 * kept, 1)}\u00a0% of its square.`,
    draw: (x, y) =>
      values.map((value, index) =>
        svg("rect", {
          class: index < r ? "kept" : "lost",
          x: x(index),
          y: y(value / top),
          width: x(index + 1) - x(index) - (x(1) - x(0) > 3 ? 1 : 0), // a gap, where there is room
          "shape-rendering": "crispEdges",
          height: y(0) - y(value / top),
        }),
      ),
  };
}
