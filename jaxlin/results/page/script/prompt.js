/** Strongest tokens that are listed, and those whose numbers stand in the prompt. */
const [LISTED, SAID] = [8, 5];

/** The prompt of one result: shades it by what is chosen, and says what is known of that and of a pinned token. */
class Prompt {
  constructor(article, view) {
    this.view = view;
    for (const name of ["tokens", "label", "detail", "strip", "shades", "measures"]) this[name] = article.querySelector(`.prompt .${name}`);
    this.address = new Address(Number(article.dataset.index) + 1, () => this.restore());
    this.choices = new Map(); // canonical key -> what it shades by, and what shows that it is chosen
    this.order = view.shades.map((shade) => canonical(shade.key)); // what the arrows go through
    const all = document.createDocumentFragment();
    this.spans = view.tokens.map(([, text], i) => {
      const span = element("span", spelled(text));
      span.dataset.i = i;
      all.append(span);
      return span;
    });
    this.tokens.append(all);
    for (const [place, act] of [[this.tokens, (i) => this.pin(i)], [this.strip, (i) => this.go(i)], [this.detail, (i) => this.go(i)]]) {
      place.addEventListener("click", (event) => {
        const i = event.target.closest("[data-i]")?.dataset.i;
        if (i !== undefined) act(Number(i));
      });
    }
    for (const box of [this.tokens, this.shades, this.measures]) box.addEventListener("keydown", (event) => this.key(event));
    offer(article.querySelector(".prompt .take"), view.name, "prompt", {
      CSV: () => csv(this.numbers()),
      PNG: () => png(drawingOfPrompt(view.tokens, this.measure.values, this.said), `${this.shade.name}: ${this.measure.label}`, view.caption),
    });
  }

  /** Adds something to choose: what it shades the prompt by, and what is called with whether it is chosen. */
  add(shade, mark) {
    this.choices.set(canonical(shade.key), { shade, mark });
  }

  /** Buttons for shades that are chosen nowhere else. */
  buttons(shades) {
    const buttons = shades.map((shade) => radio(shade.name, () => this.choose(canonical(shade.key))));
    this.shades.append(...buttons);
    shades.forEach((shade, i) => this.add(shade, (chosen) => chosen && check(buttons, buttons[i])));
    this.unchecked = () => check(buttons, null);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const count = this.order.length;
    const at = this.order.indexOf(this.chosen);
    let next = null;
    if (count && ["ArrowRight", "ArrowDown"].includes(event.key)) next = at < 0 ? 0 : (at + 1) % count;
    else if (count && ["ArrowLeft", "ArrowUp"].includes(event.key)) next = at < 0 ? count - 1 : (at + count - 1) % count;
    else if (/^[1-9]$/.test(event.key) && Number(event.key) <= count) next = Number(event.key) - 1;
    else if (event.key === "Escape") return this.pin(null);
    const scrolls = event.currentTarget === this.tokens && ["ArrowUp", "ArrowDown"].includes(event.key);
    if (next === null || scrolls) return;
    event.preventDefault();
    if (event.currentTarget === this.measures) return this.other();
    this.choose(this.order[next], event.repeat);
    const group = event.currentTarget;
    if (group !== this.tokens) document.querySelector(`#${group.closest("article").id} [role=radio][aria-checked=true]`)?.focus();
  }

  /** The measure that is not shown. */
  other() {
    const { measures } = this.shade;
    this.by = measures[(measures.indexOf(this.measure) + 1) % measures.length].name;
    this.choose(this.chosen);
    this.measures.querySelector("[aria-checked=true]").focus();
  }

  choose(key, quietly = false) {
    this.show(key);
    this.note(quietly);
  }

  /** Writes what is chosen into the address. */
  note(quietly = false) {
    const choices = { ...this.shade.key };
    if (this.measure !== this.shade.measures[0]) choices.by = this.measure.name;
    if (this.pinned !== null) choices.token = String(this.view.tokens[this.pinned][0]);
    this.address.write(choices, quietly);
  }

  /** Shows what the address says; without a choice in it, the first one. */
  restore() {
    const { by, token, ...key } = this.address.read();
    const wanted = canonical(key);
    this.by = by;
    this.mark(this.view.tokens.findIndex(([position]) => String(position) === token));
    this.show([wanted, this.first, ...this.order, ...this.choices.keys()].find((each) => this.choices.has(each)));
    if (this.pinned !== null) this.reveal(this.pinned);
  }

  show(key) {
    if (!this.choices.has(key)) return;
    if (this.chosen !== key) this.choices.get(this.chosen)?.mark(false);
    this.chosen = key;
    this.unchecked?.();
    const { shade, mark } = this.choices.get(key);
    mark(true);
    this.shade = shade;
    this.measure = shade.measures.find(({ name }) => name === this.by) ?? shade.measures[0];
    this.showMeasures();
    const { values } = this.measure;
    const most = largest(values);
    const order = values.map((_, i) => i).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
    this.strongest = order.slice(0, LISTED);
    this.said = new Map(order.slice(0, SAID).filter((i) => Math.abs(values[i]) > 0.02 * most).map((i) => [i, this.spell(values[i])]));
    this.legend(most);
    this.spans.forEach((span, i) => {
      span.style.background = colour(values[i], most);
      span.title = `${this.view.tokens[i][0]}: ${this.spell(values[i])}`;
      if (this.said.has(i)) span.dataset.said = this.said.get(i);
      else if (span.dataset.said !== undefined) delete span.dataset.said;
    });
    this.overview(most);
    this.reveal(order[0]);
    this.describe();
  }

  /** A value of the measure in words; with its sign where the measure has signs. */
  spell(value, measure = this.measure) {
    return measure.values.some((each) => each < 0) ? withSign(value) : short(value);
  }

  showMeasures() {
    const { measures } = this.shade;
    const buttons = measures.length < 2 ? [] : measures.map(({ name }) => radio(name, () => ((this.by = name), this.choose(this.chosen))));
    check(buttons, buttons[measures.indexOf(this.measure)]);
    this.measures.replaceChildren(...buttons);
  }

  legend(most) {
    const { label, values } = this.measure;
    const { name } = this.shade;
    this.label.replaceChildren(element("span", `${name}: ${label}`));
    if (values.every((value) => !value)) return this.label.append(element("span", "there is nothing to shade: every value is 0"));
    const signed = values.some((value) => value < 0);
    const scale = element("span", undefined, signed ? "scale signed" : "scale plain");
    scale.append(signed ? short(-most) : "0", element("i"), signed ? withSign(most) : short(most));
    this.label.append(scale);
  }

  /** A prompt that does not fit into its box, in one line: the strongest token of each stretch of it. */
  overview(most) {
    this.strip.replaceChildren();
    const { values } = this.measure;
    if (this.tokens.scrollHeight <= this.tokens.clientHeight) return;
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
    if (i >= 0) this.tokens.scrollTop = this.spans[i].offsetTop - this.tokens.clientHeight / 2;
  }

  go(i) {
    if (i !== this.pinned) this.pin(i);
    this.reveal(i);
  }

  pin(i) {
    this.mark(i === null || i === this.pinned ? -1 : i);
    this.describe();
    this.note();
  }

  mark(i) {
    if (this.pinned !== null && this.pinned !== undefined) this.spans[this.pinned].classList.remove("pinned");
    this.pinned = i < 0 ? null : i;
    if (this.pinned !== null) this.spans[this.pinned].classList.add("pinned");
  }

  describe() {
    const { shade, view } = this;
    this.detail.replaceChildren(this.list());
    const sides = [["writes", shade.outputs], ["writes against", shade.against]].filter(([, pairs]) => pairs?.length);
    const about = shade.facts?.length ? [element("div", shade.facts.map(([name, value]) => `${name} ${spelled(value)}`).join(" · "), "legend")] : [];
    if (sides.length || about.length) {
      const box = element("div", undefined, "wide");
      for (const [title, pairs] of sides) box.append(element("h4", title), words(pairs));
      box.append(...about);
      this.detail.append(box);
    }
    if (this.pinned === null) return;
    const [position, text] = view.tokens[this.pinned];
    const lines = shade.measures.map((measure) => element("div", `${measure.name} ${this.spell(measure.values[this.pinned], measure)}`));
    if (view.words) lines.push(element("div", "its own map writes", "legend"), words(view.words[this.pinned]));
    const box = this.box(`token ${position}: ${visible(text)}`, ...lines);
    box.classList.add("pin");
    this.detail.prepend(box);
  }

  box(title, ...inside) {
    const box = element("div");
    box.append(element("h4", title), ...inside);
    return box;
  }

  /** The strongest tokens with all their numbers; each leads to its place in the prompt. */
  list() {
    const table = element("table");
    const { measures } = this.shade;
    if (measures.length > 1) {
      const head = table.createTHead().insertRow();
      for (const name of ["", "", ...measures.map((measure) => measure.name)]) head.append(element("td", name, "figure"));
    }
    const body = table.createTBody();
    for (const i of this.strongest) {
      const row = body.insertRow();
      const [position, text] = this.view.tokens[i];
      const button = element("button", visible(text));
      button.dataset.i = i;
      row.insertCell().textContent = position;
      row.insertCell().append(button);
      for (const measure of measures) {
        const figure = row.insertCell();
        figure.className = "figure";
        figure.textContent = this.spell(measure.values[i], measure);
      }
    }
    return this.box("strongest tokens", table);
  }

  /** Everything that shades the prompt, as columns. */
  numbers() {
    const shades = this.order.map((key) => this.choices.get(key).shade);
    const shown = shades.includes(this.shade) ? shades : [...shades, this.shade];
    const columns = shown.flatMap(({ name, measures }) => measures.map((measure) => ({ name: `${name} ${measure.name}`, values: measure.values })));
    return {
      columns: ["position", "token", ...columns.map(({ name }) => name)],
      rows: this.view.tokens.map(([position, text], i) => [position, text, ...columns.map(({ values }) => values[i])]),
    };
  }
}
