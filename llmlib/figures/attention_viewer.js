// Attention weights of a trained model, for Chapter 3. Uses controls.js, pieces.js, own_text.js and attention_map.js.

const NAMED = 3; // tokens that a sentence names; the rest are counted

export default figure((model, root) => {
  const sentences = model.get("sentences");
  const [layers, heads] = [model.get("layers"), model.get("heads")];
  const sentence = choice("Sentence", [...sentences, "your own"], (index) => change(model, { sentence: index, token: -1 }));
  sentence.node.classList.add("sentences");
  const own = sentence.node.lastChild;
  const layer = slider({ label: "Layer", name: "layer", max: layers - 1 }, (layer) => change(model, { layer }));
  const head = slider({ label: "Head", name: "head", max: heads - 1 }, (head) => change(model, { head }));
  const strip = tokenStrip({ pointed: point, chosen: choose });
  const paper = h("p", { class: "for-paper" }); // which has no sliders
  const words = h("p", { class: "takes", "aria-hidden": "true" });
  const map = attentionMap({ pointed: point, chosen: choose });
  const status = h("p", { class: "for-ears", role: "status" });
  const hint = "Point at a token or a row, or reach a token with the arrow keys, to see from which tokens it takes.";
  root.append(
    sentence.node,
    ownText(model),
    h("div", { class: "sliders" }, layer.node, head.node),
    paper,
    strip.node,
    words,
    map.node,
    legend(),
    h("p", { class: "muted" }, hint),
    status,
  );
  layer.node.hidden = layers === 1;
  head.node.hidden = heads === 1;

  let tokens, weight, row;

  function choose(token) {
    if (token !== row) change(model, { token });
  }

  /** Shows the row, or the one weight, under the pointer; without arguments the chosen row again. */
  function point(query = row, key) {
    strip.shade(query, tokens.map((_, i) => weight(query, i)), key);
    map.mark(query, key);
    words.textContent = key === undefined ? inWords(tokens, query, weight) : oneInWords(tokens, query, key, weight);
  }

  return () => {
    const typed = model.get("typed_tokens");
    own.hidden = typed.length === 0;
    const shown = model.get("sentence");
    const all = [...model.get("tokens"), typed];
    tokens = all[shown].map((token) => (typeof token === "string" ? { text: token } : { bytes: Uint8Array.from(token) }));
    weight = reader(model, all, shown);
    row = model.get("token") in tokens ? model.get("token") : tokens.length - 1;
    sentence.show(shown);
    layer.show({ value: model.get("layer"), text: `${model.get("layer") + 1} of ${layers}` });
    head.show({ value: model.get("head"), text: `${model.get("head") + 1} of ${heads}` });
    strip.show(tokens, row);
    const place = `Layer ${model.get("layer") + 1}, head ${model.get("head") + 1}`;
    paper.textContent = `${place}:`;
    const size = plural(tokens.length, "token");
    map.show(`${place}: how much each of ${size} (rows) takes from each (columns)`, tokens.map(wordsOf), weight, row);
    point();
    say(status, `${place}: ${inWords(tokens, row, weight)}`);
  };
});

/** `weight(row, column)` in the chosen sentence, layer and head: numbers of 16 bits, one square after the other. */
function reader(model, all, shown) {
  const typed = shown === all.length - 1;
  const data = model.get(typed ? "typed_weights" : "weights");
  const squares = all.map((tokens) => tokens.length ** 2);
  const before = typed ? 0 : squares.slice(0, shown).reduce((sum, square) => sum + square, 0);
  const [layers, heads] = [model.get("layers"), model.get("heads")];
  const start = layers * heads * before + (model.get("layer") * heads + model.get("head")) * squares[shown];
  return (row, column) => data.getUint16(2 * (start + row * all[shown].length + column), true) / 65535;
}

const wordsOf = (token) => visible(token).map(([, part]) => part).join("");

/** A token's name in a sentence; with its number where the same words stand in more than one place. */
function nameOf(tokens, index) {
  const words = tokens.map(wordsOf);
  const twice = words.indexOf(words[index]) !== words.lastIndexOf(words[index]);
  return `“${words[index]}”${twice ? ` (token ${index + 1})` : ""}`;
}

const percent = (share) => (share > 0 && share < 0.005 ? "less than 1 %" : `${number(100 * share)} %`);

/** From which tokens a token takes most. */
function inWords(tokens, row, weight) {
  const shares = tokens.map((_, column) => weight(row, column));
  const order = [...shares.keys()].filter((i) => shares[i] > 0).sort((i, k) => shares[k] - shares[i]);
  if (!order.length) return `${nameOf(tokens, row)} takes from no token.`;
  const named = order.filter((i, rank) => rank < NAMED && shares[i] >= 0.005);
  const parts = named.map((i) => `${percent(shares[i])} from ${i === row ? "itself" : nameOf(tokens, i)}`);
  const list = parts.length > 1 ? `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}` : parts[0];
  const rest = order.length - named.length;
  const left = percent(order.slice(named.length).reduce((sum, i) => sum + shares[i], 0));
  const others = rest > 1 ? `; ${rest} other tokens give ${left} together` : rest ? `; one other token gives ${left}` : "";
  return `${nameOf(tokens, row)} takes ${list}${others}.`;
}

function oneInWords(tokens, row, column, weight) {
  const from = row === column ? "itself" : nameOf(tokens, column);
  return `${nameOf(tokens, row)} takes ${number(100 * weight(row, column), 1)} % from ${from}.`;
}

/** The tokens of the sentence, shaded by what one of them takes: one stop for the Tab key, arrow keys move inside. */
function tokenStrip({ pointed, chosen }) {
  const node = h("div", { class: "pieces", role: "listbox", "aria-label": "Tokens of the sentence" });
  let tokens;
  let boxes = [];
  const indexOf = ({ target }) => boxes.indexOf(target.closest(".piece"));
  node.addEventListener("focusin", (event) => chosen(indexOf(event)));
  node.addEventListener("click", (event) => indexOf(event) >= 0 && boxes[indexOf(event)].focus());
  node.addEventListener("pointerover", (event) => (indexOf(event) >= 0 ? pointed(indexOf(event)) : pointed()));
  node.addEventListener("pointerleave", () => pointed());
  node.addEventListener("keydown", (event) => {
    const here = indexOf(event);
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: boxes.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    boxes[to]?.focus();
  });
  return {
    node,
    show(newTokens, row) {
      if (JSON.stringify(newTokens) !== JSON.stringify(tokens)) {
        tokens = newTokens;
        boxes = tokens.map((token, i) => {
          const name = `“${wordsOf(token)}”, token ${i + 1} of ${tokens.length}`;
          return fill(chip(token), { role: "option", "aria-label": name }, []);
        });
        node.replaceChildren(...boxes);
      }
      for (const [i, box] of boxes.entries()) {
        box.tabIndex = i === row ? 0 : -1;
        box.setAttribute("aria-selected", i === row);
      }
    },
    shade(row, shares, column) {
      for (const [i, box] of boxes.entries()) {
        box.style.setProperty("--depth", depth(shares[i]).toFixed(3));
        box.classList.toggle("here", i === row);
        box.classList.toggle("from", i === column);
      }
    },
  };
}


/** What the shades mean. */
function legend() {
  const steps = [0.01, 0.1, 0.5, 1].map((share) => {
    const square = h("i", { class: "swatch" });
    square.style.setProperty("--depth", depth(share));
    return h("span", {}, square, ` ${percent(share)}`);
  });
  return h("p", { class: "weights-legend muted" }, h("span", {}, "Weight"), ...steps);
}
