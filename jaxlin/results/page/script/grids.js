/** Layers by directions; a cell that holds a shade shades the prompt by it. */
function grid(view, part, prompt) {
  const section = element("section", undefined, "grid");
  const top = element("div", undefined, "top");
  const take = element("div", undefined, "take");
  top.append(element("h3", `${part.part}: ${part.meaning}`), take);
  const scroll = element("div", undefined, "scroll");
  const table = element("table");
  const head = table.createTHead().insertRow();
  const count = Math.max(...part.rows.map((row) => row.cells.length));
  for (const name of ["layer", "stable rank", ...Array.from({ length: count }, (_, j) => `direction ${j + 1}`)]) head.append(element("th", name));
  const body = table.createTBody();
  for (const row of part.rows) {
    const line = body.insertRow();
    line.append(element("th", row.layer));
    line.insertCell().textContent = short(row.rank);
    row.cells.forEach((one, j) => layerCell(line.insertCell(), view, part, prompt, row, one, j));
  }
  roving(table, "td.choice");
  scroll.append(table);
  section.append(top, element("p", `each cell: the token that the left vector scores highest, its score, and σ; – where no token stands out${part.note ? `; ${part.note}` : ""}`, "legend"), scroll);
  const most = (cells) => cells.flatMap(({ s, outputs: [[text, score] = ["", null]] }) => [s, text, score]);
  offer(take, view.name, part.part, {
    CSV: () => csv({
      columns: ["layer", "stable rank", ...Array.from({ length: count }, (_, j) => [`sigma ${j + 1}`, `writes ${j + 1}`, `score ${j + 1}`]).flat()],
      rows: part.rows.map((row) => [row.layer, row.rank, ...most(row.cells)]),
    }),
  });
  return section;
}

function layerCell(cell, view, part, prompt, row, { s, outputs, shares, weights }, j) {
  cell.className = "cell";
  const named = outputs.length && !nothing(outputs);
  cell.append(element("bdi", named ? visible(outputs[0][0]) : "–"));
  cell.append(element("small", `${named ? `${short(outputs[0][1])} · ` : ""}σ ${short(s)}`));
  cell.title = nothing(outputs) || outputs.map(([text, score]) => `${visible(text)} ${short(score)}`).join("  ");
  if (!shares) return;
  const whole = (values) => (part.last_only ? [...Array(view.tokens.length - values.length).fill(0), ...values] : values);
  const key = { part: part.part, layer: String(row.layer), direction: String(j + 1) };
  const measures = [
    { name: "contribution", label: part.shares, values: whole(shares) },
    { name: "weight", label: part.weights, values: whole(weights) },
  ];
  const shade = { name: `${part.part}, layer ${row.layer}, direction ${j + 1}`, key, measures, outputs, facts: [["σ", short(s)]] };
  choosable(cell, cell, shade, prompt);
}

/** Makes a cell choose a shade, by click, Enter and blank. */
function choosable(cell, target, shade, prompt) {
  const choose = () => prompt.choose(canonical(shade.key));
  cell.classList.add("choice");
  cell.setAttribute("aria-selected", "false");
  prompt.add(shade, (chosen) => cell.setAttribute("aria-selected", String(chosen)));
  target.addEventListener("click", choose);
  if (target === cell) {
    cell.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose();
    });
  }
}

/** Numbers in a grid, warm or cold; a cell that holds a shade of the prompt shows it when it is chosen. */
function signed(view, part, prompt) {
  const section = element("section");
  const top = element("div", undefined, "top");
  const take = element("div", undefined, "take");
  top.append(element("h3", part.title), take);
  const most = largest(part.cells.flat());
  const spoken = part.columns.length <= 13;
  const through = part.through && prompt;
  const note = through ? "; choose a cell to see which tokens it comes from" : "";
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
      const said = value === null ? "not finite" : withSign(value);
      const shade = colour(value, most);
      if (shade) cell.style.backgroundImage = `linear-gradient(${shade}, ${shade})`;
      cell.title = `${name}: ${said}`;
      if (!through) return (cell.textContent = spoken ? said : "");
      const button = element("button", spoken ? said : "");
      button.setAttribute("aria-label", cell.title);
      cell.append(button);
      const key = { ...part.key, layer: part.rows[i], branch: part.columns[j].replace(" ", "-").toLowerCase() };
      const measures = [{ name: "contribution", label: `contribution of each token through it (${said})`, values: part.through[i][j] }];
      choosable(cell, button, { name, key, measures, outputs: [], facts: [] }, prompt);
    });
  });
  roving(table, "td button");
  scroll.append(table);
  section.append(top, element("p", `warm adds, cold takes away; strongest: ${short(most)}${note}`, "legend"), scroll);
  offer(take, view.name, part.title, {
    CSV: () => csv({ columns: ["layer", ...part.columns], rows: part.cells.map((row, i) => [part.rows[i], ...row]) }),
    PNG: () => png(drawingOfSigned(part), part.title, view.caption),
  });
  return section;
}
