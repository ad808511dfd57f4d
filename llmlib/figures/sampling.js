// From logits to the distribution that the next token is drawn from: what llmlib/generation/sampling.py does.

/**
 * The probabilities after every filter. `settings` has temperature, topK, topP, minP and repetitionPenalty; all but the
 * first may be null, which switches them off. `previous` are the tokens so far.
 */
export function distribution(logits, settings, previous = []) {
  const { temperature, topK, topP, minP, repetitionPenalty } = settings;
  const scores = Float64Array.from(logits);
  if (repetitionPenalty != null) {
    for (const token of new Set(previous)) {
      if (scores[token] < 0) scores[token] *= repetitionPenalty;
      else scores[token] /= repetitionPenalty;
    }
  }
  const best = mostProbable(scores);
  const most = scores[best];
  if (!Number.isFinite(most)) throw new RangeError(`the highest logit is ${most}, so there is no distribution`);
  if (temperature === 0) return scores.map((_, token) => Number(token === best));
  // Softmax does not care about a constant, and without it a low temperature does not overflow.
  const kept = scores.map((score) => (score - most) / temperature);
  if (topK != null) exclude(kept, threshold(kept, topK));
  if (topP != null) excludeBeyond(kept, topP);
  if (minP != null) exclude(kept, Math.log(minP));
  return softmax(kept);
}

/** The first of the highest. */
export function mostProbable(scores) {
  let best = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i] > scores[best] || Number.isNaN(scores[i])) best = i;
  return best;
}

/** Scores as probabilities. */
export function softmax(scores) {
  const most = scores[mostProbable(scores)];
  const shares = Float64Array.from(scores, (score) => Math.exp(score - most));
  const sum = shares.reduce((a, b) => a + b, 0);
  return shares.map((share) => share / sum);
}

/** How uncertain a distribution is, in bits. */
export function entropy(probabilities) {
  return probabilities.reduce((sum, p) => (p > 0 ? sum - p * Math.log2(p) : sum), 0);
}

/** The k-th highest score. */
function threshold(scores, k) {
  return Float64Array.from(scores).sort()[Math.max(scores.length - k, 0)];
}

function exclude(scores, least) {
  for (let i = 0; i < scores.length; i++) if (scores[i] < least) scores[i] = -Infinity;
}

/** Top-p: excludes all but the fewest that add up to p; of equal ones, those with higher numbers come first. */
function excludeBeyond(scores, p) {
  const probabilities = softmax(scores);
  const ascending = Uint32Array.from(scores.keys()).sort((a, b) => scores[a] - scores[b] || a - b);
  ascending.subarray(0, -1).reduce((sum, token) => {
    sum += probabilities[token]; // from the least probable one, so that small numbers are not lost beside large ones
    if (sum <= 1 - p) scores[token] = -Infinity;
    return sum;
  }, 0);
}

/** Draws a token: the first at which the probabilities, added up, exceed a number from 0 to 1. */
export function draw(probabilities, number) {
  let sum = 0;
  let last = 0;
  for (let token = 0; token < probabilities.length; token++) {
    if (probabilities[token] === 0) continue;
    sum += probabilities[token];
    last = token;
    if (number < sum) break;
  }
  return last; // where rounding leaves the sum below 1, the last one that is not excluded
}

/** Numbers from 0 to 1 that look random; the same seed gives the same ones (Mulberry32, by Tommy Ettinger). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
