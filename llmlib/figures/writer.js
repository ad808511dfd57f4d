// Writes text in a worker, with a model that the page holds, so that the page stays free. Uses tokenizing.js, matvec.js,
// llama.js and sampling.js. A message { call, name, values } is answered by { call, answer } or { call, error }.

const ALTERNATIVES = 8;

let model, words, end, ids, next;

const calls = {
  /** Gets ready: `packed` is what page_model.py wrote, `vocabulary` what tokenizer_spec.py did. */
  load({ packed, vocabulary, endOfText }) {
    model = llama(packed);
    words = tokenizer(vocabulary);
    end = endOfText;
    return { simd: model.simd };
  },

  /** Begins a text. What it has in common with the last one need not be read again. */
  begin({ text, seed }) {
    const prompt = words.encode(text).map(({ id }) => id);
    if (!prompt.length && end === null) throw new RangeError("the prompt is empty: write a word");
    if (!prompt.length) prompt.push(end);
    if (prompt.length >= model.config.context) {
      throw new RangeError(`the prompt has ${prompt.length} tokens, but the model reads at most ${model.config.context}`);
    }
    const read = (ids ?? []).slice(0, model.length);
    let same = 0;
    while (same < Math.min(read.length, prompt.length - 1) && read[same] === prompt[same]) same++;
    model.forget(same);
    ids = prompt;
    next = random(seed);
    return { tokens: prompt.length };
  },

  /** Writes a token. */
  next({ settings }) {
    if (ids.length >= model.config.context) return { full: model.config.context };
    while (model.length < ids.length - 1) model.read(ids[model.length], false);
    const logits = model.read(ids.at(-1));
    const own = softmax(logits);
    const drawn = distribution(logits, settings, ids);
    const id = draw(drawn, next());
    ids.push(id);
    const describe = (token) => ({ ...asData(token), own: own[token], drawn: drawn[token], kept: drawn[token] > 0 });
    return { token: describe(id), alternatives: highest(own, ALTERNATIVES).map(describe), bits: entropy(drawn), ended: id === end };
  },
};

/** A token as token_bars.js reads it. */
function asData(id) {
  if (id === end) return { id, text: "" };
  const bytes = words.bytesOf(id);
  try {
    return { id, text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { id, bytes: Array.from(bytes) };
  }
}

/** The numbers of the highest, highest first. */
function highest(probabilities, count) {
  const best = [];
  probabilities.forEach((p, token) => {
    if (best.length === count && p <= probabilities[best.at(-1)]) return;
    best.splice(best.findLastIndex((other) => probabilities[other] >= p) + 1, 0, token);
    best.length = Math.min(best.length, count);
  });
  return best;
}

self.onmessage = ({ data: { call, name, values } }) => {
  try {
    self.postMessage({ call, answer: calls[name](values) });
  } catch (error) {
    self.postMessage({ call, error: error.message });
  }
};
