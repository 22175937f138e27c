const LINES = ["--a", "--b", "--c", "--d", "--e"];

/** Round numbers between two ends, some five; on a logarithmic scale 1, 2 and 5 in every decade, or decades alone. */
function ticks(low, high, log) {
  if (log) {
    const decades = high - low;
    const steps = decades > 3 ? [1] : decades > 1.5 ? [1, 3] : decades > 0.6 ? [1, 2, 5] : null;
    if (steps) {
      const made = [];
      for (let e = Math.floor(low); e <= high; e++) for (const step of steps) made.push(step * 10 ** e);
      const inside = made.filter((value) => Math.log10(value) >= low - 1e-9 && Math.log10(value) <= high + 1e-9);
      const every = Math.ceil(inside.length / 7);
      return inside.filter((_, i) => i % every === 0);
    }
    return ticks(10 ** low, 10 ** high, false).filter((value) => value > 0);
  }
  const raw = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= raw);
  const made = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) made.push(i * step);
  return made;
}

/** Lines over a number, a layer or a position, with error bars where there are errors and numbers at the points. */
function chart(part, view, room) {
  const { title, across, labels, series, log, note } = part;
  const section = element("section", undefined, "chart");
  const top = element("div", undefined, "top");
  const take = element("div", undefined, "take");
  top.append(element("h3", title), take);
  section.append(top);
  if (!series.some((one) => one.values.some((value) => value !== null && (!log || value > 0)))) {
    section.append(element("p", `there is nothing to draw: no value is ${log ? "above 0" : "known"}`, "legend"));
    return section;
  }
  const plot = new Plot(part, Math.min(736, room));
  const { svg } = plot.drawing;
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${title}; left and right read its points`);
  svg.setAttribute("tabindex", "0");
  const read = element("div", undefined, "legend read");
  const show = (i) => {
    plot.mark(i);
    read.textContent = `${across} ${plot.label(i)}: ${series.filter((one) => i < one.values.length).map((one) => `${one.name} ${short(one.values[i])}`).join(" · ")}`;
  };
  let at = -1;
  svg.addEventListener("pointermove", (event) => {
    const { left, width } = svg.getBoundingClientRect();
    show((at = plot.nearest(((event.clientX - left) * plot.drawing.width) / width)));
  });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show((at = Math.max(0, Math.min(plot.count - 1, at + step))));
  });
  const legend = element("div", undefined, "legend");
  series.forEach((one, k) => {
    const dot = element("i");
    dot.style.background = `var(${LINES[k % LINES.length]})`;
    legend.append(dot, one.name);
  });
  if (note) legend.append(element("span", ` · ${note}`));
  section.append(svg, read, legend);
  offer(take, view.name, title, {
    CSV: () => csv({
      columns: [across, ...series.flatMap((one) => (one.errors ? [one.name, `${one.name} error`] : [one.name]))],
      rows: Array.from({ length: plot.count }, (_, i) => [plot.label(i), ...series.flatMap((one) => (one.errors ? [one.values[i], one.errors[i]] : [one.values[i]]))]),
    }),
    PNG: () => png(plot.drawing, title, [view.caption, series.map(({ name }) => name).join(", "), note].filter(Boolean).join(" · ")),
  });
  return section;
}

/** The lines of a chart, drawn. */
class Plot {
  constructor({ across, labels, series, log }, width) {
    Object.assign(this, { labels, series, log, whole: across === "number" ? 1 : 0 });
    [this.left, this.right, this.above, this.below] = [58, 24, 18, 34];
    this.drawing = new Drawing(width, 280);
    this.count = Math.max(...series.map((one) => one.values.length));
    this.wide = across === "number" && this.count > 64; // few of very many points: a logarithm spreads them
    const every = series.flatMap((one) => one.values).filter((value) => value !== null && (!log || value > 0)).map((value) => this.to(value));
    const [low, high] = [every.reduce((a, b) => Math.min(a, b)), every.reduce((a, b) => Math.max(a, b))];
    this.low = log ? Math.max(low, high - 8) : Math.min(low, 0);
    this.high = high === this.low ? high + 1 : high;
    this.axes(across);
    this.taken = [];
    series.forEach((one, k) => this.line(one, k));
    series.forEach((one, k) => this.numbers(one, k));
  }

  to(value) {
    return this.log ? Math.log10(value) : value;
  }

  x(i) {
    const { left, right, count, drawing } = this;
    const part = this.wide ? Math.log10(i + 1) / Math.log10(count) : count === 1 ? 0.5 : i / (count - 1);
    return left + 14 + (drawing.width - left - right - 14) * part;
  }

  y(value) {
    const { above, below, low, high, drawing } = this;
    return drawing.height - below - ((drawing.height - below - above) * (Math.max(this.to(value), low) - low)) / (high - low);
  }

  label(i) {
    return this.labels ? this.labels[i] : i + this.whole;
  }

  nearest(at) {
    let best = 0;
    for (let i = 1; i < this.count; i++) if (Math.abs(this.x(i) - at) < Math.abs(this.x(best) - at)) best = i;
    return best;
  }

  axes(across) {
    const { drawing, left, below } = this;
    for (const value of ticks(this.low, this.high, this.log)) {
      drawing.add("line", { x1: left, x2: drawing.width - 8, y1: this.y(value), y2: this.y(value), stroke: "var(--line)" });
      drawing.add("text", { x: left - 6, y: this.y(value) + 4, "text-anchor": "end" }, short(value));
    }
    let end = -Infinity;
    for (let i = 0; i < this.count; i++) {
      const half = widthOf(String(this.label(i)), 12) / 2;
      if (this.x(i) - half < end + 8) continue;
      end = this.x(i) + half;
      drawing.add("text", { x: this.x(i), y: drawing.height - below + 16, "text-anchor": "middle" }, this.label(i));
    }
    drawing.add("text", { x: (left + drawing.width) / 2, y: drawing.height - 4, "text-anchor": "middle" }, across);
  }

  points({ values }) {
    return values.map((value, i) => [value, i]).filter(([value]) => value !== null && (!this.log || value > 0));
  }

  line(one, k) {
    const stroke = `var(${LINES[k % LINES.length]})`;
    const drawn = this.points(one);
    const places = drawn.map(([value, i]) => `${this.x(i).toFixed(1)},${this.y(value).toFixed(1)}`);
    this.drawing.add("polyline", { points: places.join(" "), style: `fill:none;stroke:${stroke};stroke-width:1.3` });
    if (one.values.length > 400) return;
    for (const [value, i] of drawn) {
      this.drawing.add("circle", { cx: this.x(i), cy: this.y(value), r: 2.4, style: `fill:${stroke}` });
      if (!one.errors?.[i]) continue;
      const under = Math.max(value - one.errors[i], this.log ? 10 ** this.low : -Infinity);
      this.drawing.add("line", { x1: this.x(i), x2: this.x(i), y1: this.y(value + one.errors[i]), y2: this.y(under), style: `stroke:${stroke}` });
    }
  }

  /** Numbers at the points, the extreme ones first, as far as none lies on another. */
  numbers(one, k) {
    const drawn = this.points(one);
    const by = [...drawn].sort(([a], [b]) => b - a);
    const first = [by[0], by.at(-1), drawn[0], drawn.at(-1)];
    for (const [value, i] of new Set([...first, ...drawn])) {
      const text = short(value);
      const half = widthOf(text, 11) / 2 + 2;
      const x = Math.min(Math.max(this.x(i), this.left + half), this.drawing.width - half);
      for (const y of [this.y(value) - 7, this.y(value) + 15]) {
        const box = [x - half, y - 10, x + half, y + 2];
        if (y > this.drawing.height - this.below || y < 10 || this.taken.some((other) => overlap(box, other)) || this.crossed(box, i)) continue;
        this.taken.push(box);
        this.drawing.add("text", { x, y, "text-anchor": "middle", style: `font-size:11px;fill:var(${LINES[k % LINES.length]});stroke:var(--paper);stroke-width:3px;paint-order:stroke` }, text);
        break;
      }
    }
  }

  /** Whether a box hides the point of another place than its own. */
  crossed([left, top, right, bottom], own) {
    if (this.count > 100) return false;
    return this.series.some((one) => this.points(one).some(([value, i]) => i !== own && this.x(i) > left && this.x(i) < right && this.y(value) > top && this.y(value) < bottom));
  }

  /** A line through one place. */
  mark(i) {
    this.marker ??= this.drawing.add("line", { y1: this.above, y2: this.drawing.height - this.below, style: "stroke:var(--dim);stroke-dasharray:3 3" });
    this.marker.setAttribute("x1", this.x(i));
    this.marker.setAttribute("x2", this.x(i));
  }
}

const overlap = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
