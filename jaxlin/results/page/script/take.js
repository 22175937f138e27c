/** A cell of a CSV: text spelled out, and so that no spreadsheet computes it. */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const plain = spelled(value).replaceAll("\u00a0", " "); // which keeps a score beside its token on the page
  const text = /^[=+\-@\t\r\n＝＋－＠']/.test(value) ? `'${plain}` : plain;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const csv = ({ columns, rows }) => [columns, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");

/** The summary of a result as result.json has it. */
async function unpacked(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

/** Says for a moment what was done. */
function say(text) {
  const box = document.querySelector(".said");
  box.textContent = text;
  box.classList.add("now");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => box.classList.remove("now"), 2500);
}

function save(name, blob) {
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say(`saved ${name}`);
}

/** Text, also where a page that was opened from disk has no clipboard. */
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const box = element("textarea", text);
  document.body.append(box);
  box.select();
  const done = document.execCommand("copy");
  box.remove();
  if (!done) throw new Error("there is no clipboard");
}

async function copyPicture(blob) {
  if (!navigator.clipboard || !window.ClipboardItem) throw new Error("there is no clipboard for pictures");
  return navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
}

/** What can be had as a file or in the clipboard: its ending, how it is made, its type. */
const TYPES = { CSV: ["csv", "text/csv;charset=utf-8"], JSON: ["json", "application/json"], PNG: ["png", "image/png"] };

/** Buttons that copy and save something in some formats: format -> what makes it, text or a picture. */
function offer(box, result, what, formats) {
  for (const [format, make] of Object.entries(formats)) {
    const [ending, type] = TYPES[format];
    const name = `${result}-${what}.${ending}`.replace(/[^\p{L}\p{N}._-]+/gu, "_");
    const part = element("span", format);
    const button = (verb, act) => {
      const made = element("button", verb);
      made.type = "button";
      made.setAttribute("aria-label", `${verb} ${what} as ${format}`);
      made.addEventListener("click", async () => {
        try {
          await act(await make());
        } catch (error) {
          say(`cannot ${verb} it: ${error.message}`);
        }
      });
      part.append(made);
    };
    button("copy", async (made) => {
      await (made instanceof Blob ? copyPicture(made) : copyText(made));
      say(`copied ${what} as ${format}`);
    });
    button("save", (made) => save(name, made instanceof Blob ? made : new Blob([made], { type })));
    box.append(part);
  }
}
