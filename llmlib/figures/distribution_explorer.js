// The distribution explorer of Chapter 8. Uses controls.js, pieces.js, sampling.js,
// token_bars.js and sampler_controls.js.

export default figure((model, root) => {
  const contexts = model.get("contexts");
  const choose = choice("Context", contexts.map(({ text }) => `“${text}”`), (context) => change(model, { context }));
  const controls = samplerControls(model);
  const news = h("p", { class: "for-ears", role: "status" });
  const facts = h("div", { class: "facts" });
  const bars = tokenBars();
  root.append(choose.node, controls.node, facts, bars.node, news);

  return () => {
    const { best } = contexts[model.get("context")];
    choose.show(model.get("context"));
    controls.show();
    const logits = logitsOf(model);
    const settings = samplerSettings(model);
    const own = softmax(logits);
    // Mass is counted after the temperature and before the filters, for that is what they cut.
    const warm = distribution(logits, { temperature: settings.temperature });
    const drawn = distribution(logits, settings);
    const kept = drawn.filter((p) => p > 0).length;
    const mass = warm.reduce((sum, p, token) => (drawn[token] > 0 ? sum + p : sum), 0);
    const bits = number(entropy(drawn), 2);
    facts.replaceChildren(
      fact("Entropy", bits, "bits"),
      fact("Tokens kept", number(kept), `of ${number(drawn.length)}`),
      fact("Mass kept", number(100 * mass, 1), "%"),
    );
    const others = (p) => Math.max(0, 1 - best.reduce((sum, { id }) => sum + p[id], 0));
    const rows = best.map((token) => ({ piece: token, own: own[token.id], drawn: drawn[token.id], kept: drawn[token.id] > 0 }));
    const name = `${number(drawn.length - best.length)} others`;
    bars.show(`The ${plural(best.length, "most probable next token")}`, [
      ...rows,
      { name, own: others(own), drawn: others(drawn), kept: kept > rows.filter((row) => row.kept).length },
    ]);
    say(news, `${plural(kept, "token")} kept, with ${number(100 * mass, 1)} % of the probability; entropy ${bits} bits.`);
  };
});

/** The logits of the context that is shown: numbers of 32 bits, one context after the other. */
function logitsOf(model) {
  const data = model.get("logits");
  const size = model.get("vocab_size");
  return Float32Array.from({ length: size }, (_, i) => data.getFloat32(4 * (model.get("context") * size + i), true));
}
