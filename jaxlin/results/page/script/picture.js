const COLOURS = ["--paper", "--ink", "--dim", "--line", "--panel", "--warm", "--cold", "--full", "--a", "--b", "--c", "--d", "--e"];
const FONT = "system-ui, sans-serif";

/** A picture in SVG, in the colours of the page. */
class Drawing {
  constructor(width, height) {
    [this.width, this.height] = [width, height];
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.size(width, height);
  }

  size(width, height) {
    [this.width, this.height] = [width, height];
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  }

  add(name, attributes, text) {
    const made = document.createElementNS(this.svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = String(text).replace(/[\ufffe\uffff]/g, "�"); // which XML has not
    this.svg.append(made);
    return made;
  }
}

let ruler = null;

/** How wide a text is. */
function widthOf(text, size) {
  ruler ??= document.createElement("canvas").getContext("2d");
  ruler.font = `${size}px ${FONT}`;
  return ruler.measureText(text).width;
}

/** A drawing as PNG, under its title and what it is of. */
async function png(drawing, title, caption) {
  const lines = wrapped(caption, drawing.width - 16, 11);
  const top = 30 + 15 * lines.length;
  const whole = new Drawing(drawing.width, drawing.height + top + 8);
  const root = getComputedStyle(document.documentElement);
  const values = COLOURS.map((name) => `${name}:${root.getPropertyValue(name)}`).join(";");
  whole.add("style", {}, `:root{${values}} text{font-family:${FONT};fill:var(--dim);font-size:12px}`);
  whole.add("rect", { width: whole.width, height: whole.height, fill: "var(--paper)" });
  whole.add("text", { x: 8, y: 21, style: "fill:var(--ink);font-size:15px;font-weight:600" }, title);
  lines.forEach((line, i) => whole.add("text", { x: 8, y: 38 + 15 * i, style: "font-size:11px" }, line));
  const inner = drawing.svg.cloneNode(true);
  for (const [key, value] of Object.entries({ x: 0, y: top, width: drawing.width, height: drawing.height })) inner.setAttribute(key, value);
  whole.svg.append(inner);
  const scale = Math.min(2, 16000 / Math.max(whole.width, whole.height), Math.sqrt(1e8 / (whole.width * whole.height)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(whole.width * scale), Math.round(whole.height * scale)];
  whole.svg.setAttribute("width", canvas.width);
  whole.svg.setAttribute("height", canvas.height);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(whole.svg))}`;
  await image.decode();
  canvas.getContext("2d").drawImage(image, 0, 0);
  return new Promise((done, failed) => canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("it is too large"))), "image/png"));
}

/** A text in lines of a width. */
function wrapped(text, width, size) {
  const lines = [""];
  for (const word of spelled(text).split(/\s+/)) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (widthOf(longer, size) <= width || !lines.at(-1)) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines.filter(Boolean);
}

/** The prompt with its shades, in lines of tokens. */
function drawingOfPrompt(tokens, values, said) {
  const [width, size, step] = [1000, 15, 27];
  const drawing = new Drawing(width, step);
  const most = largest(values);
  let [x, y] = [8, step];
  const put = (whole, value) => {
    const wraps = x + widthOf(whole, size) > width - 8 && x > 8;
    if (wraps) [x, y] = [8, y + step];
    const text = wraps ? whole.trimStart() : whole;
    if (!text) return;
    const wide = widthOf(text, size);
    const shade = colour(value, most);
    if (shade) drawing.add("rect", { x, y: y - 17, width: wide, height: 22, rx: 3, style: `fill:${shade}` });
    drawing.add("text", { x, y, style: `fill:var(--ink);font-size:${size}px;white-space:pre` }, text);
    x += wide;
  };
  tokens.forEach(([, text], i) => {
    const lines = spelled(text).replaceAll("\t", "    ").split("\n");
    lines.forEach((line, j) => {
      if (j) [x, y] = [8, y + step];
      put(line, values[i]);
    });
    if (!said.has(i)) return;
    drawing.add("text", { x: x + 1, y: y - 8, style: "fill:var(--ink);font-size:10px;font-weight:600" }, said.get(i));
    x += widthOf(said.get(i), 10) + 3;
  });
  drawing.size(width, y + 14);
  return drawing;
}

/** Signed bars, one below the other, with their numbers. */
function drawingOfBars(part) {
  const [width, step, left, right] = [720, 22, 270, 80];
  const drawing = new Drawing(width, step * (part.rows.length + 1) + 12);
  const span = (width - left - right - 12) / 100;
  drawing.add("line", { x1: left + right + part.zero * span, x2: left + right + part.zero * span, y1: 0, y2: step * part.rows.length, stroke: "var(--dim)" });
  [...part.rows, { name: "together", text: part.total }].forEach(({ name, text, side, start, width: long }, i) => {
    const y = i * step + 15;
    let title = spelled(name);
    while (widthOf(title, 12) > left - 16) title = `${title.slice(0, -2)}…`;
    drawing.add("text", { x: 8, y, style: "fill:var(--ink);white-space:pre" }, title);
    drawing.add("text", { x: left + right - 12, y, "text-anchor": "end", style: "fill:var(--ink)" }, text);
    const fill = `fill:rgb(var(${side === "minus" ? "--cold" : "--warm"}) / 0.8)`;
    if (side) drawing.add("rect", { x: left + right + start * span, y: y - 11, width: Math.max(0.5, long * span), height: 13, style: fill });
  });
  return drawing;
}

/** A grid of numbers, warm and cold. */
function drawingOfSigned(part) {
  const few = part.columns.length <= 13;
  const [wide, high, left, top] = [few ? 58 : 22, 20, 44, 24];
  const drawing = new Drawing(left + wide * part.columns.length + 8, top + high * part.rows.length + 8);
  const most = largest(part.cells.flat());
  part.columns.forEach((name, j) => {
    drawing.add("text", { x: left + wide * (j + 0.5), y: 16, "text-anchor": "middle", style: "font-size:10px" }, few ? name : name.replace("head ", ""));
  });
  part.cells.forEach((row, i) => {
    drawing.add("text", { x: left - 8, y: top + high * i + 14, "text-anchor": "end", style: "font-size:10px" }, part.rows[i]);
    row.forEach((value, j) => {
      const place = { x: left + wide * j, y: top + high * i, width: wide - 1, height: high - 1 };
      drawing.add("rect", { ...place, style: `fill:${colour(value, most) || "var(--panel)"}` });
      const at = { x: place.x + wide - 5, y: place.y + 14, "text-anchor": "end", style: "fill:var(--ink);font-size:10px" };
      if (few) drawing.add("text", at, value === null ? "not finite" : withSign(value));
    });
  });
  return drawing;
}
