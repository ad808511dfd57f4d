// Draws the pieces of a tokenised text: one box a piece, the darker the more bytes it holds. Needs controls.js.

const DEEPEST = 8; // bytes at which the colour is full
const SHOWN = 1000; // boxes; a page with very many is slow

/**
 * What is written in a box, as [kind, words] pairs. Spaces and line ends get a sign, characters that do not show get
 * their code point, and bytes that make no whole character their two hexadecimal digits.
 */
function visible({ text, bytes, mark }) {
  const parts = mark ? [["sign", mark]] : [];
  const add = (kind, words) => {
    if (kind === "plain" && parts.at(-1)?.[0] === "plain") parts.at(-1)[1] += words;
    else parts.push([kind, words]);
  };
  for (const character of text === undefined ? characters(bytes) : text) {
    const sign = { " ": "␣", "\n": "↵", "\t": "⇥", "▁": "▁" }[character];
    if (sign) add("sign", sign);
    else if (typeof character === "number") add("byte", hex(character));
    else if (/[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u.test(character)) add("byte", codePoint(character));
    else add("plain", /\p{M}/u.test(character) && parts.length === 0 ? `◌${character}` : character);
  }
  return parts;
}

const hex = (byte) => byte.toString(16).toUpperCase().padStart(2, "0");
const codePoint = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

/** The characters in a string of bytes, and as numbers the bytes that make none. */
function characters(bytes) {
  const found = [];
  for (let start = 0; start < bytes.length; ) {
    const length = [1, 2, 3, 4].find((size) => start + size <= bytes.length && decodes(bytes.slice(start, start + size)));
    found.push(length ? new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.slice(start, start + length)) : bytes[start]);
    start += length ?? 1;
  }
  return found;
}

function decodes(bytes) {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

// SentencePiece writes a space as "▁", which would count as three bytes.
const bytesOf = ({ text, bytes }) => bytes ?? new TextEncoder().encode(text.replaceAll("▁", " "));

/** A piece in one sentence, for the line below the boxes and for the ear. */
function describe(piece) {
  const bytes = bytesOf(piece);
  if (piece.lost) return `id ${piece.id}, unknown: “${piece.lost}” is lost`;
  const words = visible(piece).map(([, part]) => part).join("");
  return `“${words}”, id ${piece.id}, ${plural(bytes.length, "byte")}: ${Array.from(bytes, hex).join(" ")}`;
}

/** A box that shows a piece and does nothing. */
function chip(piece) {
  const parts = visible(piece).map(([kind, words]) => (kind === "plain" ? words : h("span", { class: kind }, words)));
  // <bdi>: a piece that runs from right to left, or tries to turn the text around it, stays in its box.
  const node = h("bdi", { class: piece.lost ? "piece lost" : "piece" }, ...parts);
  node.style.setProperty("--depth", Math.min(bytesOf(piece).length, DEEPEST) / DEEPEST);
  return node;
}

/** A box of a field: it can be pointed at and has the focus in turn. */
function option(piece, isNew) {
  const attributes = { role: "option", tabindex: -1, "data-id": piece.id, "aria-label": describe(piece) };
  const node = fill(chip(piece), attributes, []);
  node.classList.toggle("new", isNew);
  return node;
}

/**
 * A field of boxes: one stop for the Tab key, arrow keys move inside it. The line below describes the piece under the
 * pointer or the focus. `show(pieces, newId)` draws; pieces with the id `newId` are outlined.
 */
function pieceField(label) {
  const field = h("div", { class: "pieces", role: "listbox", "aria-label": label });
  const detail = h("p", { class: "detail muted", "aria-hidden": "true" }); // the box itself speaks it
  const boxes = () => [...field.querySelectorAll(".piece")];
  const describeBox = (event) => {
    const piece = event.target.closest(".piece");
    if (piece) detail.textContent = piece.getAttribute("aria-label");
  };
  field.addEventListener("pointerover", describeBox);
  field.addEventListener("focusin", (event) => {
    describeBox(event);
    for (const piece of boxes()) piece.tabIndex = piece === event.target ? 0 : -1;
  });
  field.addEventListener("keydown", (event) => {
    const all = boxes();
    const here = all.indexOf(document.activeElement);
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || !all[to]) return;
    event.preventDefault();
    all[to].focus();
  });
  return {
    node: h("div", {}, field, detail),
    show(pieces, newId) {
      const nodes = pieces.slice(0, SHOWN).flatMap((piece) => {
        const node = option(piece, piece.id === newId);
        return visible(piece).at(-1)?.[1] === "↵" ? [node, h("br")] : [node];
      });
      if (nodes.length) nodes[0].tabIndex = 0;
      if (pieces.length > SHOWN) nodes.push(h("span", { class: "muted" }, ` … and ${number(pieces.length - SHOWN)} more`));
      field.replaceChildren(...nodes);
      detail.textContent = "";
    },
  };
}

/** What the colours mean. */
function pieceLegend() {
  const steps = Array.from({ length: DEEPEST }, (_, i) => {
    const node = h("bdi", { class: "piece" }, i + 1 === DEEPEST ? `${DEEPEST}+` : String(i + 1));
    node.style.setProperty("--depth", (i + 1) / DEEPEST);
    return node;
  });
  const hint = "Point at a piece, or reach it with the arrow keys, to see its id and bytes.";
  return h("p", { class: "legend muted" }, h("span", {}, "Bytes in a piece: ", ...steps), h("span", {}, hint));
}
