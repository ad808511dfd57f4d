// A budget and what the scaling laws make of it, for Chapter 9. Uses controls.js and chart.js.

export default figure((model, root) => {
  const constants = model.get("constants");
  const names = Object.keys(constants);
  const models = model.get("models");
  const [from, to] = model.get("range");
  const budget = slider({ label: "Budget", name: "budget", min: from, max: to, step: 0.05 }, (value) =>
    change(model, { budget: value, model: "" }),
  );
  const whose = choice("Constants", names, (index) => change(model, { chosen: names[index] }));
  const which = choice("Budget of", models.map(({ name }) => name), (index) => {
    const { name, N, D } = models[index];
    change(model, { budget: Math.log10(6 * N * D), model: name });
  });
  const facts = h("div", { class: "facts" });
  const note = h("p", { class: "sentence", role: "status" });
  const plane = chart(340);
  const valley = chart(340);
  const key = h("p", { class: "muted key" });
  root.append(budget.node, whose.node, which.node, facts, note, h("div", { class: "charts" }, plane.node, valley.node), key);

  return () => {
    const C = 10 ** model.get("budget");
    const chosen = law(constants[model.get("chosen")]);
    const best = chosen.optimal(C);
    const shown = models.find(({ name }) => name === model.get("model"));
    budget.show({ value: model.get("budget"), text: `${power(C)} FLOPs` });
    whose.show(names.indexOf(model.get("chosen")));
    which.show(models.indexOf(shown));
    facts.replaceChildren(
      fact("Parameters", amount(best.N), "N"),
      fact("Tokens", amount(best.D), "D"),
      fact("Tokens per parameter", digits(best.D / best.N)),
      fact("Loss", number(best.loss, 3), "nats per token"),
    );
    say(note, sentence(C, best, shown, chosen));
    plane.show(sizesAndTokens(C, best, shown, models, chosen));
    valley.show(lossAlongBudget(C, best, shown, chosen));
    key.textContent = keyTo(chosen.name);
  };
});

/** Loss, best use of a budget, and tokens for a loss, by either law; as llmlib.scaling.laws has them. */
export function law(k) {
  if (k.law === "kaplan") {
    const ofSize = (N) => (k.N_c / N) ** (k.alpha_N / k.alpha_D);
    return {
      name: k.law,
      loss: (N, D) => (ofSize(N) + k.D_c / D) ** k.alpha_D,
      tokensFor: (loss, N) => {
        const left = loss ** (1 / k.alpha_D) - ofSize(N);
        return left > 0 ? k.D_c / left : Infinity;
      },
      optimal: (C) => {
        const days = C / 2 / 8.64e19; // PF-days, at the critical batch size
        const N = k.N_e * days ** k.p_N;
        return { N, D: C / (6 * N), loss: (k.C_c / days) ** k.alpha_C };
      },
    };
  }
  const loss = (N, D) => k.E + k.A / N ** k.alpha + k.B / D ** k.beta;
  return {
    name: k.law,
    loss,
    tokensFor: (wanted, N) => {
      const left = wanted - k.E - k.A / N ** k.alpha;
      return left > 0 ? (k.B / left) ** (1 / k.beta) : Infinity;
    },
    optimal: (C) => {
      const G = ((k.alpha * k.A) / (k.beta * k.B)) ** (1 / (k.alpha + k.beta));
      const N = G * (C / 6) ** (k.beta / (k.alpha + k.beta));
      const D = C / (6 * N);
      return { N, D, loss: loss(N, D) };
    },
  };
}

const SIZES = { from: 2e7, to: 5e13 };
const TOKENS = { from: 2e8, to: 5e15 };
const UNITS = ["", "thousand", "million", "billion", "trillion", "quadrillion"];
const SHORT = ["", "k", "M", "B", "T", "P"];

const digits = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });
const group = (value) => Math.max(0, Math.min(UNITS.length - 1, Math.floor(Math.log10(value) / 3 + 1e-9)));
const amount = (value) => `${digits(value / 1000 ** group(value))} ${UNITS[group(value)]}`.trim();
const short = (value) => `${digits(value / 1000 ** group(value))}${SHORT[group(value)]}`;

/** "5.76 × 10²³". */
function power(value) {
  const exponent = Math.floor(Math.log10(value) + 1e-9);
  const raised = [...String(exponent)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  return `${number(value / 10 ** exponent, 2)} × 10${raised}`;
}

function sentence(C, best, shown, chosen) {
  if (!shown) return `With ${power(C)} FLOPs, ${amount(best.N)} parameters on ${amount(best.D)} tokens are best.`;
  const { name, N, D } = shown;
  const own = `${name} has ${amount(N)} parameters and saw ${amount(D)} tokens, ${digits(D / N)} for each.`;
  const size = N > best.N ? `${digits(N / best.N)} times as large as the best` : `${digits(best.N / N)} times smaller than the best`;
  const cost =
    chosen.name === "chinchilla"
      ? ` Its loss is expected at ${number(chosen.loss(N, D), 3)}; for the same FLOPs ${number(best.loss, 3)} could be had.`
      : "";
  return `${own} By this law it is ${size}.${cost}`;
}

const powersOf = ({ from, to }, step) =>
  Array.from({ length: 40 }, (_, i) => 10 ** (i + 1)).filter((ten, i) => ten >= from && ten <= to && (i + 1) % step === 0);
const logAxis = (name, range, step) => ({ ...range, name, log: true, ticks: powersOf(range, step), words: short });
const along = ({ from, to }, count = 160) => Array.from({ length: count + 1 }, (_, i) => from * (to / from) ** (i / count));

/** Sizes against tokens: curves of equal loss, the line of equal FLOPs, the best sizes, and the published models. */
function sizesAndTokens(C, best, shown, models, chosen) {
  const floor = chosen.loss(1e30, 1e30);
  const here = chosen.name === "kaplan" ? chosen.loss(best.N, best.D) : best.loss;
  const levels = [0.6, 0.75, 1, 1.4, 2, 3].map((factor) => floor + (here - floor) * factor);
  const inside = (D) => D >= TOKENS.from / 10 && D <= 10 * TOKENS.to;
  return {
    x: logAxis("parameters N", SIZES, 2),
    y: logAxis("tokens D", TOKENS, 2),
    alt:
      `Tokens against parameters. The budget's line meets the curve of loss ${number(here, 3)} at ${amount(best.N)} parameters ` +
      `and ${amount(best.D)} tokens. Published models: ${models.map(({ name, N, D }) => `${name} ${amount(N)}, ${amount(D)}`).join("; ")}.`,
    draw: (x, y) => [
      ...levels.map((loss, i) => {
        const points = along(SIZES).map((N) => [N, chosen.tokensFor(loss, N)]).filter(([, D]) => inside(D));
        return curve(points, x, y, { class: i === 2 ? "curve equal-loss here-loss" : "curve equal-loss" });
      }),
      curve(along(SIZES, 2).map((N) => [N, C / (6 * N)]), x, y, { class: "curve equal-flops" }),
      curve(
        along({ from: 1e15, to: 1e30 }).map((flops) => chosen.optimal(flops)).map(({ N, D }) => [N, D]),
        x,
        y,
        { class: "curve frontier" },
      ),
      ...models.map((each) => {
        const point = svg("circle", { class: each === shown ? "model shown" : "model", cx: x(each.N), cy: y(each.D), r: each === shown ? 6 : 4 });
        point.append(svg("title", {}, `${each.name}: ${amount(each.N)} parameters, ${amount(each.D)} tokens`));
        return point;
      }),
      ...(shown ? [svg("text", { class: "name", x: x(shown.N), y: y(shown.D) - 10, "text-anchor": "middle" }, shown.name)] : []),
      svg("circle", { class: "best", cx: x(best.N), cy: y(best.D), r: 6 }),
    ],
  };
}

/** The loss of models of all sizes that spend the budget. */
function lossAlongBudget(C, best, shown, chosen) {
  const range = { from: best.N / 30, to: best.N * 30 };
  const points = along(range).map((N) => [N, chosen.loss(N, C / (6 * N))]);
  const losses = points.map(([, loss]) => loss);
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
  const at = chosen.loss(best.N, best.D);
  return {
    x: { ...range, name: "parameters N", log: true, ticks: powersOf(range, 1), words: short },
    y: { from: low - 0.15 * (high - low), to: high, name: "loss, nats per token", words: (tick) => number(tick, 2) },
    alt: `The loss along the budget's line, against parameters: ${number(losses[0], 3)} at ${amount(range.from)}, ${number(at, 3)} at ${amount(best.N)}, ${number(losses.at(-1), 3)} at ${amount(range.to)}.`,
    draw: (x, y) => [
      svg("line", { class: "here", x1: x(best.N), x2: x(best.N), y1: 0, y2: 1000 }),
      curve(points, x, y, { class: "curve equal-flops" }),
      ...(shown ? [svg("circle", { class: "model shown", cx: x(shown.N), cy: y(chosen.loss(shown.N, shown.D)), r: 6 })] : []),
      svg("circle", { class: "best", cx: x(best.N), cy: y(at), r: 6 }),
    ],
  };
}

const keyTo = (name) =>
  "Thick: all models that cost the budget. Thin: models of equal loss, that of the best one stronger. Dashed: the best models " +
  `of all budgets. Ring: the best model; dots: published models, each trained on a text and with tokens of its own.${
    name === "kaplan"
      ? " Kaplan's curves of equal loss are of models that were trained until they no longer improved, and the dashed line is a fit of its own: so its ring is not at the bottom on the right."
      : ""
  }`;
