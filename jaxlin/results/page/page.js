"use strict";
const views = JSON.parse(document.getElementById("views").textContent);
const colours = ["--a", "--b", "--c", "--d", "--e"];

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
const short = (value) => (value === null ? "not finite" : Math.abs(value) >= 1e4 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(1) : Number(value.toPrecision(3)).toString());

/** The shade of a value: warm or cold by its sign, and the fuller the nearer it is to the most. */
function colour(value, most) {
  const alpha = (0.85 * Math.abs(value)) / most;
  return alpha < 0.02 ? "" : `rgb(var(${value < 0 ? "--cold" : "--warm"}) / ${alpha.toFixed(3)})`;
}

function words(pairs) {
  const box = element("div");
  for (const [text, score] of pairs) {
    const word = element("span", visible(text), "word");
    word.title = `score ${score}`;
    box.append(word);
  }
  return box;
}

/** The prompt of one result: shades it, says what is known of the shade, and of the token that is pinned. */
class Prompt {
  constructor(article, view) {
    this.view = view;
    this.box = article.querySelector(".tokens");
    this.label = article.querySelector(".label");
    this.detail = article.querySelector(".detail");
    this.strip = article.querySelector(".strip");
    this.group = article.querySelector(".shades");
    this.pinned = null;
    this.chosen = 0;
    const all = document.createDocumentFragment();
    this.spans = view.tokens.map(([position, text], i) => {
      const span = element("span", spelled(text));
      span.dataset.i = i;
      all.append(span);
      return span;
    });
    this.box.append(all);
    for (const [place, act] of [[this.box, (i) => this.pin(i)], [this.strip, (i) => this.go(i)], [this.detail, (i) => this.go(i)]]) {
      place.addEventListener("click", (event) => {
        const i = event.target.dataset.i;
        if (i !== undefined) act(Number(i));
      });
    }
    this.buttons = view.shades.map((shade, i) => {
      const button = element("button", shade.name);
      button.setAttribute("role", "radio");
      button.addEventListener("click", () => this.choose(i));
      this.group.append(button);
      return button;
    });
    for (const box of [this.box, this.group]) box.addEventListener("keydown", (event) => this.key(event));
    if (view.shades.length) this.choose(0);
  }

  key(event) {
    const count = this.view.shades.length;
    if (!count || event.ctrlKey || event.metaKey || event.altKey) return;
    let next = null;
    if (event.key === "ArrowRight") next = (this.chosen + 1) % count;
    else if (event.key === "ArrowLeft") next = (this.chosen + count - 1) % count;
    else if (/^[1-9]$/.test(event.key) && Number(event.key) <= count) next = Number(event.key) - 1;
    else if (event.key === "Escape") return this.pin(null);
    if (next === null) return;
    event.preventDefault();
    this.choose(next);
    if (this.group.contains(document.activeElement)) this.buttons[next].focus();
  }

  choose(i) {
    this.chosen = i;
    this.buttons.forEach((button, j) => {
      button.setAttribute("aria-checked", i === j);
      button.tabIndex = i === j ? 0 : -1;
    });
    this.show(this.view.shades[i]);
  }

  show(shade) {
    this.shade = shade;
    const most = Math.max(...shade.values.map(Math.abs), Number.MIN_VALUE);
    const nothing = shade.values.every((value) => value === 0);
    this.label.textContent = nothing ? `${shade.label}; there is nothing to shade: every value is 0` : `${shade.label}; strongest: ${short(most)}`;
    this.spans.forEach((span, i) => {
      const value = shade.values[i];
      span.classList.toggle("strong", Math.abs(value) > 0.6 * most);
      span.style.background = colour(value, most);
      span.title = `${this.view.tokens[i][0]}: ${short(value)}`;
    });
    this.overview(most);
    this.reveal(shade.values.findIndex((value) => Math.abs(value) === most));
    this.describe();
  }

  /** A prompt that does not fit into its box, in one line: the strongest token of each stretch of it. */
  overview(most) {
    this.strip.replaceChildren();
    const { values } = this.shade;
    if (this.box.scrollHeight <= this.box.clientHeight) return;
    const stretch = Math.ceil(values.length / 300);
    for (let start = 0; start < values.length; start += stretch) {
      let best = start;
      for (let i = start; i < Math.min(start + stretch, values.length); i++) if (Math.abs(values[i]) > Math.abs(values[best])) best = i;
      const mark = element("i");
      mark.dataset.i = best;
      mark.title = this.spans[best].title;
      mark.style.background = colour(values[best], most);
      this.strip.append(mark);
    }
  }

  reveal(i) {
    if (i >= 0) this.box.scrollTop = this.spans[i].offsetTop - this.box.clientHeight / 2;
  }

  go(i) {
    if (i !== this.pinned) this.pin(i);
    this.reveal(i);
  }

  pin(i) {
    if (this.pinned !== null) this.spans[this.pinned].classList.remove("pinned");
    this.pinned = i === this.pinned ? null : i;
    if (this.pinned !== null) this.spans[this.pinned].classList.add("pinned");
    this.describe();
  }

  describe() {
    const { shade, view } = this;
    this.detail.replaceChildren();
    if (shade.outputs.length) {
      const box = element("div");
      box.append(element("h3", "writes"), words(shade.outputs));
      box.append(element("div", shade.facts.map((fact) => fact.join(" ")).join(" · "), "legend"));
      this.detail.append(box);
    }
    const order = shade.values.map((_, i) => i).sort((a, b) => Math.abs(shade.values[b]) - Math.abs(shade.values[a]));
    const strongest = element("div");
    strongest.append(element("h3", "strongest tokens"));
    const list = element("table");
    for (const i of order.slice(0, 5)) {
      const row = list.insertRow();
      const button = element("button", visible(view.tokens[i][1]));
      button.dataset.i = i;
      row.insertCell().textContent = view.tokens[i][0];
      row.insertCell().append(button);
      row.insertCell().textContent = short(shade.values[i]);
      if (shade.shares) row.insertCell().textContent = `contributes ${short(shade.shares[i])}`;
    }
    strongest.append(list);
    this.detail.append(strongest);
    if (this.pinned === null) return;
    const [position, text] = view.tokens[this.pinned];
    const box = element("div", undefined, "pin");
    box.append(element("h3", `token ${position}: ${visible(text)}`));
    box.append(element("div", `${shade.name}: ${short(shade.values[this.pinned])}`));
    if (shade.shares) box.append(element("div", `contributes ${short(shade.shares[this.pinned])} along ${shade.name}`));
    if (shade.notes) box.append(element("div", "its own map writes", "legend"), words(shade.notes[this.pinned]));
    this.detail.append(box);
  }
}

/** Layers by directions; a cell that is pinned shades the prompt with its right vector. */
function grid(view, part, prompt) {
  const section = element("section", undefined, "grid");
  section.append(element("h3", `${part.part}: ${part.meaning}`));
  const scroll = element("div", undefined, "scroll");
  const table = element("table");
  const head = table.createTHead().insertRow();
  const count = Math.max(...part.rows.map((row) => row.cells.length));
  for (const name of ["layer", "stable rank", ...Array.from({ length: count }, (_, j) => `direction ${j + 1}`)]) head.append(element("th", name));
  const body = table.createTBody();
  const pin = (cell, row, j) => {
    document.querySelectorAll(".grid td.cell[aria-selected=true]").forEach((one) => one.setAttribute("aria-selected", "false"));
    cell.setAttribute("aria-selected", "true");
    const { s, outputs, values } = row.cells[j];
    const whole = part.last_only ? [...Array(view.tokens.length - values.length).fill(0), ...values] : values;
    const name = `${part.part}, layer ${row.layer}, direction ${j + 1}`;
    prompt.show({ name, values: whole, label: `${name}: ‖v_t‖`, outputs, facts: [["σ", short(s)]] });
  };
  for (const row of part.rows) {
    const line = body.insertRow();
    line.append(element("th", row.layer));
    line.insertCell().textContent = row.rank;
    row.cells.forEach((one, j) => {
      const cell = line.insertCell();
      cell.className = "cell";
      cell.tabIndex = 0;
      cell.setAttribute("aria-selected", "false");
      cell.append(element("span", visible(one.outputs[0][0])), element("small", short(one.s)));
      cell.title = one.outputs.map(([text]) => visible(text)).join("  ");
      cell.addEventListener("click", () => pin(cell, row, j));
      cell.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        pin(cell, row, j);
      });
    });
  }
  scroll.append(table);
  section.append(scroll);
  return section;
}

/** Lines over a number, a layer or a position, with error bars where there are errors. */
function chart({ title, across, labels, series, log, note }) {
  const width = Math.min(640, document.documentElement.clientWidth - 32); // so that letters keep their size on a phone
  const [height, left, bottom] = [260, 56, 34];
  const section = element("section", undefined, "chart");
  section.append(element("h3", title));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  const draw = (name, attributes, text) => {
    const made = document.createElementNS(svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    svg.append(made);
  };
  const every = series.flatMap((one) => one.values).filter((value) => !log || value > 0);
  if (every.length === 0) {
    section.append(element("p", `there is nothing to draw: no value is ${log ? "above 0" : "known"}`, "legend"));
    return section;
  }
  const to = (value) => (log ? Math.log10(value) : value);
  let [low, high] = [Math.min(...every.map(to)), Math.max(...every.map(to))];
  if (log) low = Math.max(low, high - 8);
  else low = Math.min(low, 0);
  if (high === low) high = low + 1;
  const count = Math.max(...series.map((one) => one.values.length));
  const x = (i) => left + ((width - left - 12) * (i + 0.5)) / count;
  const y = (value) => height - bottom - ((height - bottom - 12) * (Math.max(to(value), low) - low)) / (high - low);
  for (let tick = 0; tick <= 4; tick++) {
    const at = low + ((high - low) * tick) / 4;
    const value = log ? 10 ** at : at;
    draw("line", { x1: left, x2: width - 12, y1: y(value), y2: y(value), stroke: "var(--line)" });
    draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value));
  }
  const label = (i) => (labels ? labels[i] : across === "position" || across === "layer" ? i : i + 1);
  const step = Math.max(1, Math.ceil((count * 50) / width));
  for (let i = 0; i < count; i += step) draw("text", { x: x(i), y: height - bottom + 16, "text-anchor": "middle" }, label(i));
  draw("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, across);
  series.forEach((one, k) => {
    const stroke = `var(${colours[k % colours.length]})`;
    const drawn = one.values.map((value, i) => [x(i), value, i]).filter(([, value]) => !log || value > 0);
    draw("polyline", { points: drawn.map(([at, value]) => `${at.toFixed(1)},${y(value).toFixed(1)}`).join(" "), fill: "none", stroke, "stroke-width": 1.2 });
    if (one.values.length > 400) return;
    for (const [at, value, i] of drawn) {
      draw("circle", { cx: at, cy: y(value), r: 2.2, fill: stroke });
      if (!one.errors) continue;
      const below = Math.max(value - one.errors[i], log ? 10 ** low : -Infinity);
      draw("line", { x1: at, x2: at, y1: y(value + one.errors[i]), y2: y(below), stroke });
    }
  });
  section.append(svg);
  const legend = element("div", undefined, "legend");
  series.forEach((one, k) => {
    const dot = element("i");
    dot.style.background = `var(${colours[k % colours.length]})`;
    legend.append(dot, one.name);
  });
  if (note) legend.append(element("span", ` · ${note}`));
  section.append(legend);
  return section;
}

/** Numbers in a grid, warm or cold; a cell that holds a shade of the prompt shows it when it is chosen. */
function signed(article, view, part, prompt) {
  const section = element("section");
  section.append(element("h3", part.title));
  const most = Math.max(...part.cells.flat().map(Math.abs), Number.MIN_VALUE);
  const spoken = part.columns.length <= 13;
  const note = part.through && prompt ? "; choose a cell to see which tokens it comes from" : "";
  section.append(element("div", `warm adds, cold takes away; strongest: ${short(most)}${note}`, "legend"));
  const scroll = element("div", undefined, "scroll");
  const table = element("table");
  const head = table.createTHead().insertRow();
  head.append(element("th", "layer"));
  part.columns.forEach((name) => head.append(element("th", spoken ? name : name.replace("head ", ""))));
  const body = table.createTBody();
  part.cells.forEach((row, i) => {
    const line = body.insertRow();
    line.append(element("th", part.rows[i]));
    row.forEach((value, j) => {
      const cell = line.insertCell();
      const name = `layer ${part.rows[i]} ${part.columns[j]}`;
      const said = value === null ? "not finite" : `${value > 0 ? "+" : ""}${short(value)}`;
      const shade = colour(value, most);
      if (shade) cell.style.backgroundImage = `linear-gradient(${shade}, ${shade})`;
      cell.title = `${name}: ${said}`;
      if (!part.through || !prompt) {
        cell.textContent = spoken ? said : "";
        return;
      }
      const button = element("button", spoken ? said : "");
      button.setAttribute("aria-label", cell.title);
      button.addEventListener("click", () => {
        article.querySelectorAll(".signed td[aria-selected=true]").forEach((one) => one.removeAttribute("aria-selected"));
        cell.setAttribute("aria-selected", "true");
        prompt.show({ name, values: part.through[i][j], label: `contribution of each token through ${name} (${said})`, outputs: [], facts: [] });
      });
      cell.append(button);
    });
  });
  scroll.append(table);
  section.append(scroll);
  return section;
}

document.querySelectorAll("article").forEach((article) => {
  const view = views[Number(article.dataset.index)];
  const prompt = view.tokens.length ? new Prompt(article, view) : null;
  for (const one of view.charts) article.querySelector(".charts").append(chart(one));
  if (prompt && view.signed.some((part) => part.through)) article.querySelector(".prompt").classList.add("beside-grid");
  for (const part of view.signed) article.querySelector(".signed").append(signed(article, view, part, prompt));
  if (!view.grid) return;
  for (const part of view.grid) article.querySelector(".grids").append(grid(view, part, prompt));
  article.querySelector(".prompt").classList.add("beside-grid");
  const rows = article.querySelectorAll(".grid:first-child tbody tr");
  if (rows.length) rows[rows.length - 1].querySelector("td.cell").click();
});
