const views = JSON.parse(document.getElementById("views").textContent);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Text with what acts and is not seen spelled out: controls, reversals of direction, halves of pairs. */
const spelled = (text) =>
  text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (c) => ("\n\t\u200c\u200d".includes(c) ? c : `\\u{${c.codePointAt(0).toString(16)}}`));

/** A token as one word: its blanks as ▁, line breaks and the like escaped. */
const visible = (text) => spelled(JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll(" ", "▁"));

/** A number in few letters; null stands for one that is not finite. */
function short(value) {
  if (value === null) return "not finite";
  const size = Math.abs(value);
  return size >= 1e4 || (size !== 0 && size < 1e-3) ? value.toExponential(1) : Number(value.toPrecision(3)).toString();
}

/** The same with its sign. */
const withSign = (value) => (value > 0 ? "+" : "") + short(value);

/** The largest size among numbers, of which some may be null; never 0. */
const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), Number.MIN_VALUE);

/** The shade of a value: warm or cold by its sign, and the fuller the nearer it is to the most. */
function colour(value, most) {
  const part = Math.abs(value) / most;
  return part < 0.02 ? "" : `rgb(var(${value < 0 ? "--cold" : "--warm"}) / calc(var(--full) * ${part.toFixed(3)}))`;
}

/** That no token stands out, where all scores are of one sign: the highest is not above 0. */
const nothing = (pairs) => (pairs.length && pairs[0][1] <= 0 ? "no token stands out: all scores are below 0" : "");

/** Tokens as words, each with its score. */
function words(pairs) {
  if (nothing(pairs)) return element("div", nothing(pairs));
  const box = element("div");
  for (const [text, score] of pairs) {
    const word = element("span", undefined, "word");
    word.append(element("bdi", visible(text)), element("small", short(score)));
    box.append(word, " ");
  }
  return box;
}

/** One of several buttons that exclude each other. */
function radio(text, act) {
  const button = element("button", text);
  button.setAttribute("role", "radio");
  button.addEventListener("click", act);
  return button;
}

/** Marks the chosen one of such buttons, which is the one that Tab reaches. */
function check(buttons, chosen) {
  buttons.forEach((button, i) => {
    button.setAttribute("aria-checked", button === chosen);
    button.tabIndex = button === chosen || (!buttons.includes(chosen) && i === 0) ? 0 : -1;
  });
}

/** The arrow keys move among the cells of a table, of which Tab reaches one. */
function roving(table, selector) {
  const at = (cell) => [cell.closest("tr").rowIndex, cell.closest("td").cellIndex];
  const cells = [...table.querySelectorAll(selector)];
  const places = new Map(cells.map((cell) => [at(cell).join(), cell]));
  cells.forEach((cell, i) => (cell.tabIndex = i ? -1 : 0));
  table.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    const cell = event.target.closest(selector);
    if (!step || !cell) return;
    const [row, column] = at(cell);
    const next = places.get([row + step[0], column + step[1]].join());
    event.preventDefault();
    event.stopPropagation();
    if (!next) return;
    cells.forEach((one) => (one.tabIndex = one === next ? 0 : -1));
    next.focus();
  });
}
