/** The table of directions: a row chooses its direction, which shades the prompt. */
function directions(article, view, prompt) {
  const section = article.querySelector(".directions");
  const part = view.directions;
  offer(section.querySelector(".take"), view.name, "directions", { CSV: () => csv(numbersOf(part)) });
  if (!prompt) return [];
  const shades = view.shades.filter(({ key }) => Object.keys(key).join() === "direction");
  const rows = new Map([...section.querySelectorAll("tbody tr")].map((row) => [row.dataset.direction, row]));
  const buttons = [];
  for (const shade of shades) {
    const row = rows.get(shade.key.direction);
    const choose = () => prompt.choose(canonical(shade.key));
    const button = radio(row.firstElementChild.textContent, choose);
    button.setAttribute("aria-label", shade.name);
    row.firstElementChild.replaceChildren(button);
    row.classList.add("choice");
    row.addEventListener("click", (event) => event.target !== button && !String(getSelection()) && choose());
    buttons.push(button);
    prompt.add(shade, (chosen) => {
      row.classList.toggle("chosen", chosen);
      check(buttons, chosen ? button : null);
    });
  }
  section.setAttribute("role", "radiogroup");
  section.setAttribute("aria-label", "shade the prompt by a direction");
  section.querySelector("tbody").addEventListener("keydown", (event) => prompt.key(event));
  check(buttons, null);
  return shades;
}

/** The table with all its digits, for a CSV. */
function numbersOf(part) {
  const listed = (tokens, figure) => tokens.map((token) => `${token.text} ${token[figure]}`).join("  ");
  return {
    columns: ["direction", "sigma", "residual", "converged", ...part.columns, "writes", "writes against", "strongest tokens"],
    rows: part.rows.map((row) => [
      row.number, row.s, row.residual, String(row.converged), ...row.figures.map(({ value }) => value),
      row.remark || listed(row.plus, "score"), listed(row.minus, "score"),
      row.from.map(({ position, text, figure }) => `${position} ${text} ${figure}`).join("  "),
    ]),
  };
}
