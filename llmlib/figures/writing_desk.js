// The writing desk of Chapter 8. Uses controls.js, pieces.js, token_bars.js and sampler_controls.js. Who writes is the
// kernel where there is one, else a worker in the page; WORKER is its program, which Python puts before this text.

export default figure((model, root) => {
  const prompt = textBox({ label: "Prompt", name: "prompt", rows: 2 }, (prompt) => {
    change(model, { prompt: prompt.replace(/\p{Surrogate}/gu, "\uFFFD") });
    begun = false;
  });
  prompt.node.querySelector("textarea").maxLength = 2000;
  const controls = samplerControls(model);
  const count = slider({ label: "Tokens", name: "count", min: 10, max: 200, step: 10 }, (count) => change(model, { count }));
  const seed = h("input", { type: "number", name: "seed", min: 0, max: 999999, step: 1 });
  seed.addEventListener("change", () => {
    change(model, { seed: Math.min(Math.max(Math.trunc(Number(seed.value)) || 0, 0), 999999) });
    begun = false;
  });
  const write = button("Write", () => (writing ? stop() : begin().then(() => go(model.get("count")))));
  const step = button("One token", () => (begun ? Promise.resolve() : begin()).then(() => go(1)));
  const clear = button("Clear", () => {
    writing = begun = false;
    tokens = [];
    wanted = 0;
    chosen = -1;
    show();
  });
  const again = h("input", { type: "checkbox", checked: "" });
  const news = h("p", { role: "status", class: "muted" });
  const before = h("span", { class: "before" });
  const text = h("span", { role: "listbox", "aria-label": "Written tokens" });
  const box = h("div", { class: "written" }, before, text);
  const bars = tokenBars();
  const detail = h("div", { hidden: "" }, h("p", { class: "chosen" }), bars.node);
  root.append(
    prompt.node,
    controls.node,
    h("div", { class: "sliders" }, count.node, h("label", { class: "seed" }, "Seed ", seed)),
    h("p", { class: "buttons" }, write, step, clear, h("label", {}, again, " Write again when a setting changes")),
    news,
    box,
    h("p", { class: "muted" }, "The more colour a token has, the less the model expected it. Choose one to see what else it might have been."),
    detail,
  );

  const ask = writer(model);
  let tokens = [];
  let begun = false;
  let writing = false;
  let wanted = 0; // so many tokens of this text were asked for
  let chosen = -1;
  let lastRun = 0;
  let lastSettings;
  let rest;

  async function begin() {
    const run = ++lastRun;
    tokens = [];
    writing = false;
    wanted = 0;
    show(`${box.offsetHeight}px`); // or the page below would jump
    before.textContent = model.get("prompt");
    say(news, "Reading the prompt …");
    try {
      await ask("begin", { text: model.get("prompt"), seed: model.get("seed") });
      begun = run === lastRun;
    } catch (error) {
      begun = false;
      box.style.minHeight = "";
      say(news, `This does not work: ${error.message}.`);
    }
  }

  /** Writes so many tokens, or until the reader stops it. */
  async function go(most) {
    if (!begun || writing) return;
    const run = ++lastRun;
    const started = performance.now();
    const first = tokens.length;
    let why = "";
    writing = true;
    wanted += most;
    showButtons();
    say(news, "Writing …");
    try {
      for (let written = 0; written < most && writing && run === lastRun; written++) {
        const { token, alternatives, bits, ended, full } = await ask("next", { settings: samplerSettings(model) });
        if (run !== lastRun) return;
        if (full) why = ` The text fills the model's context of ${full} tokens.`;
        if (full) break;
        tokens.push({ ...token, alternatives, bits });
        add(tokens.length - 1);
        if (ended) why = " The model ended the text.";
        if (ended) break;
      }
    } catch (error) {
      why = ` This does not work: ${error.message}.`;
    }
    if (run !== lastRun) return;
    writing = false;
    if (why) begun = false;
    box.style.minHeight = "";
    showButtons();
    const speed = (1000 * (tokens.length - first)) / (performance.now() - started);
    say(news, `${plural(tokens.length, "token")} written, ${number(speed)} a second.${why}`);
    // The eye sees the text below; the ear gets what is new of it here.
    news.append(h("span", { class: "for-ears" }, ` ${tokens.slice(first).map(inText).join("")}`));
  }

  function stop() {
    writing = false;
    wanted = tokens.length;
  }

  /** Writes as much once more, when the sliders rest. */
  function rewrite() {
    const most = wanted;
    clearTimeout(rest);
    rest = setTimeout(() => begin().then(() => go(most)), 200);
  }

  /** Adds the last token to the text. */
  function add(place) {
    const token = tokens[place];
    const words = inText(token);
    const expected = Math.min(-Math.log2(token.own), 10) / 10; // 10 bits: one in a thousand
    const node = h("span", { role: "option", tabindex: place ? -1 : 0, "aria-label": `${spoken(token)}, ${percent(token.own)}` }, words);
    node.style.setProperty("--surprise", `${Math.round(60 * expected)}%`);
    node.addEventListener("focus", () => choose(place));
    node.addEventListener("click", () => node.focus());
    text.append(node);
    if (place === chosen) choose(place);
  }

  function choose(place) {
    chosen = place;
    const { alternatives, bits, ...token } = tokens[place];
    [...text.children].forEach((node, i) => {
      node.tabIndex = i === place ? 0 : -1;
      node.setAttribute("aria-selected", i === place);
    });
    detail.hidden = false;
    detail.firstChild.textContent = `Token ${place + 1}, drawn from ${number(bits, 2)} bits: ${spoken(token)}`;
    const listed = alternatives.some(({ id }) => id === token.id) ? alternatives : [...alternatives, token];
    bars.show("What might have stood here", listed.map((one) => ({ ...one, piece: one })));
  }

  const moves = {
    ArrowLeft: (here) => here - 1,
    ArrowRight: (here) => here + 1,
    ArrowUp: (here) => inNextLine(here, -1),
    ArrowDown: (here) => inNextLine(here, 1),
    Home: () => 0,
    End: () => tokens.length - 1,
  };
  text.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    text.children[move([...text.children].indexOf(document.activeElement))]?.focus();
  });

  /** The token nearest to a token in the line above (−1) or below (1); itself where there is none. */
  function inNextLine(here, direction) {
    const start = (i) => text.children[i].getClientRects()[0];
    const below = (a, b) => direction * (start(b).top - start(a).top) > 1;
    let to = here + direction;
    while (text.children[to] && !below(here, to)) to += direction;
    if (!text.children[to]) return here;
    const off = (i) => Math.abs(start(i).left - start(here).left);
    for (let i = to; text.children[i] && !below(to, i); i += direction) if (off(i) < off(to)) to = i;
    return to;
  }

  function show(height = "") {
    clearTimeout(rest);
    box.style.minHeight = height;
    before.textContent = "";
    text.replaceChildren();
    detail.hidden = chosen < 0;
    say(news, "");
    showButtons();
  }

  function showButtons() {
    write.textContent = writing ? "Stop" : "Write";
    step.disabled = clear.disabled = writing;
  }

  return () => {
    prompt.show(model.get("prompt"));
    controls.show();
    count.show({ value: model.get("count"), text: number(model.get("count")) });
    if (Number(seed.value) !== model.get("seed") || !seed.value) seed.value = model.get("seed");
    const settings = JSON.stringify([samplerSettings(model), model.get("seed")]);
    if (settings !== lastSettings && wanted && again.checked) rewrite();
    lastSettings = settings;
  };
});

/** Whole characters as they are; bytes that are none, by their hexadecimal digits; the end has a name. */
const inText = (token) => (token.text === "" ? "⟨end⟩" : token.text) ?? token.bytes.map((byte) => `⟨${hex(byte)}⟩`).join("");
const spoken = (token) => (token.text === "" ? "end of text" : `“${visible(fromData(token)).map(([, part]) => part).join("")}”`);
const percent = (p) => `${number(100 * p, p < 0.1 ? 1 : 0)} %`;

/** `ask(name, values)` asks whoever writes here, and gives a promise of the answer. */
function writer(model) {
  const waiting = new Map();
  let last = Math.floor(Math.random() * 2 ** 30); // so that two views do not take each other's answers
  const settle = ({ call, answer, error }) => {
    const asked = waiting.get(call);
    waiting.delete(call);
    if (error) asked?.reject(new Error(error));
    else asked?.resolve(answer);
  };
  const send = (pass) => (name, values) =>
    new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      pass({ call: last, name, values });
    });
  const askKernel = send((message) => change(model, { asked: message }));
  model.on("change:answered", () => settle(model.get("answered")));

  // Whoever answers this is a kernel; a page has none, and its model is then wanted.
  let kernel = false;
  askKernel("hello", {}).then(() => (kernel = true));

  let askWorker;
  const startWorker = () => {
    const packed = model.get("packed");
    if (!packed.byteLength) throw new Error("this model runs in JupyterLab only");
    const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    const worker = new Worker(url);
    worker.onmessage = ({ data }) => settle(data);
    worker.onerror = ({ message = "the browser does not start a worker" }) =>
      [...waiting.keys()].forEach((call) => settle({ call, error: message }));
    askWorker = send((message) => worker.postMessage(message));
    return askWorker("load", { packed, vocabulary: model.get("vocabulary"), endOfText: model.get("end") });
  };
  return async (name, values) => {
    if (kernel) return askKernel(name, values);
    if (!askWorker) await startWorker();
    return askWorker(name, values);
  };
}
