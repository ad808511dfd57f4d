// A LLaMA that reads one token after another and keeps its keys and values, for the page. Uses matvec.js. It computes
// what llmlib/models/llama.py computes, with the weights that page_model.py wrote.

/** The model in a DataView or Uint8Array of page_model.py's format. */
export function llama(data, { simd = true } = {}) {
  const { config, tensors, start } = readHeader(data);
  const { layers, width, heads, kvHeads, headWidth, hidden, vocabSize, context, eps } = config;
  const kvWidth = kvHeads * headWidth;
  const size = (shape) => shape.reduce((product, n) => product * n, 1);
  const numbersOfWeights = tensors.reduce((sum, { shape }) => sum + size(shape) + 8, 0);
  const numbersOfCache = 2 * layers * (context * kvWidth + 8);
  const memory = numbers(numbersOfWeights + numbersOfCache + 4 * (width + hidden) + heads * headWidth + vocabSize + 256, simd);
  const { take, matvec } = memory;

  const weights = {};
  for (const { name, shape, at } of tensors) weights[name] = unpack(take(size(shape)), shape, data, start + at);
  const blocks = Array.from({ length: layers }, (_, i) => ({
    weight: (name) => weights[`blocks.${i}.${name}.weight`],
    keys: take(context * kvWidth),
    values: take(context * kvWidth),
  }));
  const output = weights["unembedding.weight"] ?? weights["tokens.weight"];

  const x = take(width); // the stream
  const y = take(width); // what a layer reads and writes
  const queries = take(heads * headWidth);
  const mixed = take(heads * headWidth);
  const gate = take(hidden);
  const up = take(hidden);
  const logits = take(vocabSize);
  const scores = new Float32Array(context);
  let position = 0;

  function normalise(gain) {
    let squares = 0;
    for (let i = 0; i < width; i++) squares += x[i] * x[i];
    const scale = 1 / Math.sqrt(squares / width + eps);
    for (let i = 0; i < width; i++) y[i] = x[i] * scale * gain[i];
  }

  function addToStream() {
    for (let i = 0; i < width; i++) x[i] += y[i];
  }

  /** Turns the pairs (i, i + D/2) of each head by the angle of this position. */
  function rotate(vectors) {
    const half = headWidth / 2;
    for (let i = 0; i < half; i++) {
      const angle = position * config.frequencies[i];
      const cos = Math.cos(angle) * config.amplitude;
      const sin = Math.sin(angle) * config.amplitude;
      for (let at = i; at < vectors.length; at += headWidth) {
        const [a, b] = [vectors[at], vectors[at + half]];
        vectors[at] = a * cos - b * sin;
        vectors[at + half] = b * cos + a * sin;
      }
    }
  }

  /** Each head mixes the values of all positions so far; the heads of a group share their keys and values. */
  function attend(keys, values) {
    mixed.fill(0);
    for (let head = 0; head < heads; head++) {
      const from = head * headWidth;
      const shared = Math.floor((head * kvHeads) / heads) * headWidth;
      let most = -Infinity;
      for (let t = 0; t <= position; t++) {
        let product = 0;
        for (let i = 0, k = t * kvWidth + shared; i < headWidth; i++) product += queries[from + i] * keys[k + i];
        scores[t] = product / Math.sqrt(headWidth);
        most = Math.max(most, scores[t]);
      }
      let sum = 0;
      for (let t = 0; t <= position; t++) sum += scores[t] = Math.exp(scores[t] - most);
      for (let t = 0; t <= position; t++) {
        const share = scores[t] / sum;
        for (let i = 0, v = t * kvWidth + shared; i < headWidth; i++) mixed[from + i] += share * values[v + i];
      }
    }
  }

  return {
    config,
    simd: memory.simd,
    get length() {
      return position;
    },

    /** Forgets all but the first `length` tokens. */
    forget(length = 0) {
      position = Math.min(position, length);
    },

    /** Reads a token; returns the logits of the next, in an array that the next call overwrites, if they are wanted. */
    read(token, wanted = true) {
      if (!(Number.isInteger(token) && token >= 0 && token < vocabSize)) {
        throw new RangeError(`there is no token ${token} among ${vocabSize}`);
      }
      if (position >= context) throw new RangeError(`the model reads at most ${context} tokens`);
      x.set(weights["tokens.weight"].subarray(token * width, (token + 1) * width));
      for (const { weight, keys, values } of blocks) {
        const key = keys.subarray(position * kvWidth, (position + 1) * kvWidth);
        const value = values.subarray(position * kvWidth, (position + 1) * kvWidth);
        normalise(weight("attention_norm"));
        matvec(queries, weight("attention.query"), y);
        matvec(key, weight("attention.key"), y);
        matvec(value, weight("attention.value"), y);
        rotate(queries);
        rotate(key);
        attend(keys, values);
        matvec(y, weight("attention.out"), mixed);
        addToStream();
        normalise(weight("feed_forward_norm"));
        matvec(gate, weight("feed_forward.gate"), y);
        matvec(up, weight("feed_forward.up"), y);
        for (let i = 0; i < hidden; i++) gate[i] = (gate[i] / (1 + Math.exp(-gate[i]))) * up[i];
        matvec(y, weight("feed_forward.down"), gate);
        addToStream();
      }
      position++;
      if (!wanted) return undefined;
      normalise(weights["final_norm.weight"]);
      matvec(logits, output, y);
      return logits;
    },
  };
}

/** The header: how long it is, itself in JSON, and where the numbers start. */
function readHeader(data) {
  const length = new DataView(data.buffer, data.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data.buffer, data.byteOffset + 4, length)));
  return { ...header, start: 4 + length };
}

/** A vector is in 32-bit numbers; of a matrix, each row is a 32-bit scale and whole numbers of a byte. */
function unpack(into, shape, data, at) {
  const view = new DataView(data.buffer, data.byteOffset + at);
  if (shape.length === 1) return into.map((_, i, all) => (all[i] = view.getFloat32(4 * i, true)));
  const [rows, width] = shape;
  const whole = new Int8Array(data.buffer, data.byteOffset + at + 4 * rows, rows * width);
  for (let row = 0; row < rows; row++) {
    const scale = view.getFloat32(4 * row, true);
    for (let i = row * width; i < (row + 1) * width; i++) into[i] = whole[i] * scale;
  }
  return into;
}
