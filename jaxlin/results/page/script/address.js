/** What is chosen of one result, in the address of the page: #direction=2, and #direction.3=2 of the third. */
class Address {
  constructor(number, restore) {
    this.number = number;
    addEventListener("hashchange", restore);
  }

  static all() {
    return [...new URLSearchParams(location.hash.slice(1))].map(([name, value]) => {
      const [, own, number] = /^(.*?)(?:\.(\d+))?$/s.exec(name);
      return { own, number: Number(number ?? 1), value };
    });
  }

  /** The choices of this result by name. */
  read() {
    return Object.fromEntries(Address.all().filter((entry) => entry.number === this.number).map(({ own, value }) => [own, value]));
  }

  /** Notes other choices; ``quietly`` without a step that the back button would undo. */
  write(choices, quietly = false) {
    const others = Address.all().filter(({ own, number, value }) => number !== this.number && value && own);
    const ours = Object.entries(choices).map(([own, value]) => ({ own, number: this.number, value }));
    const entries = [...ours, ...others].sort((a, b) => a.number - b.number);
    const hash = `#${new URLSearchParams(entries.map(({ own, number, value }) => [number > 1 ? `${own}.${number}` : own, value]))}`;
    if (hash !== location.hash) history[quietly ? "replaceState" : "pushState"](null, "", hash);
  }
}

/** A choice in one word, whatever the order of its parts. */
const canonical = (key) => new URLSearchParams(Object.entries(key).sort(([a], [b]) => (a < b ? -1 : 1))).toString();
