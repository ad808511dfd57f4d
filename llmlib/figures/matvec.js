// y = W x on a matrix of 32-bit numbers, four at a time: a WebAssembly function, assembled here from its instructions.

const LOCALS = "y w x rows width row end next at a b c d x0 x1".split(" ");
const FIRST_VECTOR = 9; // a, b, c, d, x0, x1 hold four numbers each; the five first are the arguments

// Two rows at a time, eight columns at a time. `next` points to the second row, `at` walks through x up to `end`.
const INSTRUCTIONS = `
  get width  const 2  shl  tee width  get x  add  set end
  loop
    get w  get width  add  set next
    get x  set at
    zero set a  zero set b  zero set c  zero set d
    loop
      get at  load 0  set x0
      get at  load 16  set x1
      get x0  get w  load 0  mul  get a  plus  set a
      get x1  get w  load 16  mul  get b  plus  set b
      get x0  get next  load 0  mul  get c  plus  set c
      get x1  get next  load 16  mul  get d  plus  set d
      get w  const 32  add  set w
      get next  const 32  add  set next
      get at  const 32  add  tee at  get end  less  repeat
    end
    get a  get b  plus  set a
    get c  get d  plus  set c
    get y  get a lane 0  get a lane 1  sum  get a lane 2  sum  get a lane 3  sum  store 0
    get y  get c lane 0  get c lane 1  sum  get c lane 2  sum  get c lane 3  sum  store 4
    get next  set w
    get y  const 8  add  set y
    get row  const 2  add  tee row  get rows  less  repeat
  end
end`;

// The bytes of each instruction (WebAssembly 2.0, section 5.4), and what follows: a local, a number, or an offset.
const BYTES = {
  get: [0x20], set: [0x21], tee: [0x22], const: [0x41], add: [0x6a], shl: [0x74], less: [0x49],
  loop: [0x03, 0x40], end: [0x0b], repeat: [0x0d, 0],
  zero: [0x43, 0, 0, 0, 0, 0xfd, 0x13], load: [0xfd, 0x00, 2], lane: [0xfd, 0x1f],
  mul: [0xfd, 0xe6, 0x01], plus: [0xfd, 0xe4, 0x01], sum: [0x92], store: [0x38, 2],
};
const TAKES = new Set(["get", "set", "tee", "const", "load", "lane", "store"]);

function assemble() {
  const words = INSTRUCTIONS.trim().split(/\s+/);
  const code = [];
  while (words.length) {
    const name = words.shift();
    code.push(...BYTES[name]);
    if (!TAKES.has(name)) continue;
    const word = words.shift();
    code.push(LOCALS.includes(word) ? LOCALS.indexOf(word) : Number(word)); // all are below 64: one byte
  }
  const i32 = 0x7f;
  const vectors = LOCALS.length - FIRST_VECTOR;
  const body = [2, FIRST_VECTOR - 5, i32, vectors, 0x7b, ...code];
  const section = (id, ...content) => [id, ...length(content), ...content];
  const text = (word) => [word.length, ...new TextEncoder().encode(word)];
  return Uint8Array.of(
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, 1, 0x60, 5, i32, i32, i32, i32, i32, 0), // the type of a function with five numbers
    ...section(2, 1, ...text("page"), ...text("memory"), 2, 0, 1), // its memory comes from outside
    ...section(3, 1, 0),
    ...section(7, 1, ...text("matvec"), 0, 0),
    ...section(10, 1, ...length(body), ...body),
  );
}

/** How many bytes follow, in WebAssembly's way: seven bits to a byte. */
function length(content) {
  const size = content.length;
  return size < 128 ? [size] : [(size & 127) | 128, size >> 7];
}

/**
 * A memory for numbers, and products on it. `take(count)` gives a Float32Array of it; `matvec(y, w, x)` writes W x into
 * y for three of these. The width of W must be a multiple of 8. An odd number of rows is as if there were one more: its
 * product falls into the gap behind y, so y must then be all of what was taken. Without SIMD it is plain JavaScript.
 */
export function numbers(count, simd = true) {
  const pages = Math.ceil((4 * count) / 65536) + 1;
  const memory = new WebAssembly.Memory({ initial: pages });
  let used = 0;
  const take = (size) => {
    const array = new Float32Array(memory.buffer, 4 * used, size);
    used += 4 * Math.ceil((size + 1) / 4); // to whole vectors, with a gap
    return array;
  };
  let matvec = plainMatvec;
  if (simd) {
    try {
      const instance = new WebAssembly.Instance(new WebAssembly.Module(assemble()), { page: { memory } });
      matvec = (y, w, x) => instance.exports.matvec(y.byteOffset, w.byteOffset, x.byteOffset, y.length, x.length);
    } catch {
      // a browser without SIMD: three times as slow
    }
  }
  return { take, matvec, simd: matvec !== plainMatvec };
}

function plainMatvec(y, w, x) {
  const width = x.length;
  for (let row = 0, at = 0; row < y.length; row++, at += width) {
    let a = 0, b = 0, c = 0, d = 0;
    for (let i = 0; i < width; i += 4) {
      a += w[at + i] * x[i];
      b += w[at + i + 1] * x[i + 1];
      c += w[at + i + 2] * x[i + 2];
      d += w[at + i + 3] * x[i + 3];
    }
    y[row] = a + b + c + d;
  }
}
