/** Puts life into one result. */
function awake(article, view, whole) {
  const box = (name) => article.querySelector(name);
  if (whole) offer(box(".take.whole"), view.name, "result", { JSON: () => unpacked(whole) });
  else box(".take.whole").textContent = "JSON: too long for this page, see result.json";
  const prompt = view.tokens.length ? new Prompt(article, view) : null;
  const tabled = view.directions ? directions(article, view, prompt) : [];
  prompt?.buttons(view.shades.filter((shade) => !tabled.includes(shade)));
  article.querySelectorAll(".bars section").forEach((section) => {
    const part = view.bars[Number(section.dataset.index)];
    offer(section.querySelector(".take"), view.name, part.title, {
      CSV: () => csv({ columns: ["name", "contribution"], rows: part.rows.map(({ name, value }) => [name, value]) }),
      PNG: () => png(drawingOfBars(part), part.title, view.caption),
    });
  });
  article.querySelectorAll(".table").forEach((section) => {
    const part = view.tables[Number(section.dataset.index)];
    offer(section.querySelector(".take"), view.name, part.title, { CSV: () => csv(part) });
  });
  for (const part of view.signed) box(".signed").append(signed(view, part, prompt));
  for (const part of view.grid ?? []) box(".grids").append(grid(view, part, prompt));
  const room = article.clientWidth;
  for (const part of view.charts) box(".charts").append(chart(part, view, room));
  if (!prompt) return;
  if (view.grid || view.signed.some((part) => part.through)) box(".prompt").classList.add("beside-grid");
  if (view.first) prompt.first = canonical(view.first);
  if (view.grid) prompt.first = canonical({ part: view.grid[0].part, layer: view.grid[0].rows.at(-1).layer, direction: 1 });
  box(".shades").hidden = prompt.choices.size < 2;
  if (prompt.choices.size) prompt.restore();
}

document.querySelectorAll("article").forEach((article) => {
  const i = Number(article.dataset.index);
  awake(article, views[i], saved[i]);
});
for (const link of document.querySelectorAll("nav a")) {
  // The address is that of what is chosen, which a jump would forget.
  link.addEventListener("click", (event) => {
    event.preventDefault();
    document.querySelector(link.getAttribute("href")).scrollIntoView();
  });
}

/** On paper certificates are open. */
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll(".badge:not([open])")];
  closed.forEach((badge) => (badge.open = true));
});
addEventListener("afterprint", () => closed.forEach((badge) => (badge.open = false)));
