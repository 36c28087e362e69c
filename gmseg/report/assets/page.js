// The list of scans, the way from scan to scan, and the keys.
"use strict";

(function () {
  const { byId, element } = gmseg;
  const page = gmseg.scanPage;
  const natural = new Intl.Collator("en", { numeric: true }).compare;
  const shown = { by: "name", up: true, search: "", flag: "", verdict: "" };
  const names = new Map(); // how many scans have a name
  for (const scan of gmseg.report.scans) names.set(scan.name, (names.get(scan.name) || 0) + 1);
  let listed = []; // as sorted and filtered
  let cursor = null; // key of the scan that is pointed at
  let open = null; // key of the scan that is shown, or null where the list is

  // ---------------------------------------------------------------- the list

  const verdictOf = (scan) => gmseg.verdicts.get(scan).verdict;
  const COLUMNS = {
    name: { text: "Scan", value: (scan) => scan.name, cell: (scan) => nameCell(scan) },
    verdict: { text: "Verdict", value: verdictOf, cell: verdictCell },
    flags: { text: "Flags", value: (scan) => scan.flags.length, cell: flagCell, down: true },
    slices: {
      text: "Slices", value: (scan) => scan.slices,
      cell: (scan) => `${scan.gm_slices} of ${scan.slices}`,
    },
    mean_area_mm2: {
      text: "Mean area, mm²", value: (scan) => scan.mean_area_mm2,
      cell: (scan) => gmseg.fixed(scan.mean_area_mm2, 1),
    },
    expected_dice: {
      text: "expected Dice", value: (scan) => scan.expected_dice,
      cell: (scan) => gmseg.fixed(scan.expected_dice, 2),
    },
  };

  function nameCell(scan) {
    const link = element("a", { href: `#scan=${scan.key}` }, scan.name);
    if (names.get(scan.name) === 1) return link;
    return element("span", {}, link, element("small", {}, ` ${scan.key.slice(-8)}`));
  }

  function verdictCell(scan) {
    const { verdict, note } = gmseg.verdicts.get(scan);
    const earlier = verdict ? null : gmseg.verdicts.earlier(scan);
    const made = element("span", {});
    if (verdict) {
      const { sign, text } = gmseg.VERDICTS[verdict];
      made.append(element("b", { class: `verdict ${verdict}` }, `${sign} ${text}`));
    } else if (earlier) {
      made.append(element("small", {}, `earlier mask: ${gmseg.VERDICTS[earlier.verdict].text}`));
    }
    if (note) made.append(element("small", { class: "note" }, note));
    return made;
  }

  function flagCell(scan) {
    return element("span", { class: "chips" }, ...scan.flags.map((flag) =>
      element("span", { class: "chip", title: flag.text }, `▲ ${flag.name}`)));
  }

  function row(scan) {
    const thumb = element("img", {
      src: `scans/${scan.key}/thumb.png`, loading: "lazy", width: 288, height: 96, alt: "",
    });
    const cells = Object.entries(COLUMNS).map(([by, column]) =>
      element("td", { class: by }, column.cell(scan)));
    const made = element("tr", {}, element("td", { class: "thumb" }, thumb), ...cells);
    made.addEventListener("click", (event) => {
      if (!event.target.closest("a")) location.hash = `scan=${scan.key}`;
    });
    return made;
  }

  const rows = new Map(gmseg.report.scans.map((scan) => [scan.key, row(scan)]));

  function fits(scan) {
    const text = `${scan.name} ${scan.key}`.toLowerCase();
    if (!shown.search.toLowerCase().split(/\s+/).every((word) => text.includes(word))) return false;
    if (shown.verdict && shown.verdict !== (verdictOf(scan) || "none")) return false;
    const flags = scan.flags.map((flag) => `flag-${flag.name}`);
    if (shown.flag === "any") return flags.length > 0;
    if (shown.flag === "none") return flags.length === 0;
    return !shown.flag || flags.includes(shown.flag);
  }

  function compare(a, b) {
    const [x, y] = [a, b].map(COLUMNS[shown.by].value);
    if (x === null || y === null) return (x === null) - (y === null); // what is missing comes last
    const order = typeof x === "string" ? natural(x, y) : x - y;
    return (shown.up ? order : -order) || natural(a.name, b.name) || natural(a.key, b.key);
  }

  function list() {
    listed = gmseg.report.scans.filter(fits).sort(compare);
    byId("rows").replaceChildren(...listed.map((scan) => rows.get(scan.key)));
    byId("nothing").hidden = listed.length > 0;
    for (const head of byId("heads").children) {
      const sorted = head.dataset.by === shown.by;
      head.setAttribute("aria-sort", !sorted ? "none" : shown.up ? "ascending" : "descending");
    }
    count();
  }

  function count() {
    const all = gmseg.report.scans;
    const judged = all.filter(verdictOf).length;
    const flagged = all.filter((scan) => scan.flags.length).length;
    const part = listed.length < all.length ? `${listed.length} of ` : "";
    byId("counts").textContent = `${part}${all.length} scans · ${flagged} with flags · ${judged} judged`;
    byId("forgetful").hidden = gmseg.verdicts.isKept();
  }

  /** What was judged meanwhile, here or in another window. */
  function refresh(scan) {
    rows.get(scan.key).querySelector("td.verdict").replaceChildren(verdictCell(scan));
  }

  function sortBy(by) {
    shown.up = shown.by === by ? !shown.up : !COLUMNS[by].down;
    shown.by = by;
    list();
  }

  function drawHeads() {
    byId("heads").append(element("th", {}, ""));
    for (const [by, column] of Object.entries(COLUMNS)) {
      const head = element("th", { class: by, scope: "col" },
        element("button", { type: "button", onclick: () => sortBy(by) }, column.text));
      head.dataset.by = by;
      byId("heads").append(head);
    }
  }

  function drawFilters() {
    const counts = new Map();
    for (const scan of gmseg.report.scans) {
      for (const name of new Set(scan.flags.map((flag) => flag.name))) {
        counts.set(name, (counts.get(name) || 0) + 1);
      }
    }
    const option = (value, text) => element("option", { value }, text);
    const often = [...counts].sort((a, b) => b[1] - a[1]);
    byId("by-flag").append(option("", "all"), option("any", "any flag"), option("none", "no flag"),
      ...often.map(([name, n]) => option(`flag-${name}`, `${name} (${n})`)));
    byId("by-verdict").append(option("", "all"), option("none", "not yet"),
      ...Object.entries(gmseg.VERDICTS).map(([verdict, how]) => option(verdict, how.text)));
    for (const [id, what] of [["search", "search"], ["by-flag", "flag"], ["by-verdict", "verdict"]]) {
      byId(id).addEventListener("input", () => {
        shown[what] = byId(id).value;
        list();
      });
    }
    byId("exports").append("Save ", ...Object.keys(gmseg.exports.files).map((name) =>
      element("button", { type: "button", onclick: () => gmseg.exports.save(name) }, name)));
  }

  function point(key, scroll = true) {
    if (cursor) rows.get(cursor)?.classList.remove("at");
    cursor = key;
    const made = rows.get(key);
    if (!made) return;
    made.classList.add("at");
    if (scroll) {
      made.scrollIntoView({ block: "nearest" });
      made.querySelector("a").focus({ preventScroll: true });
    }
  }

  // ---------------------------------------------------------------- from scan to scan

  function keyInHash() {
    const key = location.hash.startsWith("#scan=") ? location.hash.slice(6) : null;
    return scanOf(key) ? key : null;
  }

  const scanOf = (key) => gmseg.report.scans.find((scan) => scan.key === key);

  function show() {
    const key = keyInHash();
    open = key;
    const dialog = document.querySelector("dialog[open]");
    if (dialog) dialog.close();
    document.title = key ? `${scanOf(key).name} – gmseg` : "gmseg: masks to look at";
    byId("index").hidden = Boolean(key);
    byId("scan").hidden = !key;
    if (key) {
      const scan = scanOf(key);
      const at = listed.indexOf(scan);
      point(key, false);
      window.scrollTo(0, 0);
      page.open(scan, at < 0 ? "" : `${at + 1} of ${listed.length}`);
    } else {
      page.close();
      for (const scan of gmseg.report.scans) refresh(scan);
      list();
      if (cursor) point(cursor);
    }
  }

  /** Go up or down the list, in the index and among open scans alike. */
  function step(by) {
    const at = listed.findIndex((scan) => scan.key === (open || cursor));
    const next = listed[at < 0 ? 0 : at + by];
    if (!next) return;
    if (open) location.replace(`#scan=${next.key}`); // the browser's way back leads to the list
    else point(next.key);
  }

  function back() {
    if (open) location.hash = "";
    else byId("search").blur();
  }

  // ---------------------------------------------------------------- keys and buttons

  const KEYS = [
    ["j ↓ →", "next scan"], ["k ↑ ←", "previous scan"], ["Enter", "open the scan"],
    ["Esc", "back to all scans"], ["/", "search"],
    ["o", "mask on and off: outline and fill"], ["s", "soft segmentation"], ["u", "uncertainty"],
    ["+ −", "size of the slices"], ["v", "viewer"],
    ["p", "pass"], ["f", "fail"], ["x", "needs fixing"], ["n", "note"], ["?", "these keys"],
  ];
  const help = () => byId("help").showModal();
  const actions = {
    help, back, previous: () => step(-1), next: () => step(1), viewer: page.view,
    overlay: () => page.toggle("overlay"), soft: () => page.toggle("soft"),
    spread: () => page.toggle("spread"), smaller: () => page.resize(-1), larger: () => page.resize(1),
  };
  const anywhere = {
    "?": help, j: actions.next, k: actions.previous, ArrowDown: actions.next, ArrowUp: actions.previous,
    Escape: back,
  };
  const inIndex = { "/": () => byId("search").focus() };
  const inScan = {
    ArrowRight: actions.next, ArrowLeft: actions.previous, o: actions.overlay, s: actions.soft,
    u: actions.spread, v: actions.viewer, "+": actions.larger, "=": actions.larger, "-": actions.smaller,
    p: () => page.judge("pass"), f: () => page.judge("fail"), x: () => page.judge("needs-fixing"),
    n: () => byId("note")?.focus(), "/": () => { back(); setTimeout(() => byId("search").focus()); },
  };

  /** Whether a key is for what has the focus: texts, lists, and a slider's arrows. */
  function typing({ target, key }) {
    if (target.matches("textarea, input[type=search]")) return true;
    if (target.matches("select")) return key.startsWith("Arrow") || key.length === 1;
    return target.matches("input") && key.startsWith("Arrow");
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (typing(event)) {
      if (event.key === "Escape") event.target.blur();
      else if (event.key !== "Enter" || !event.target.matches("[type=search]")) return;
      else step(0);
      event.preventDefault();
      return;
    }
    const action = anywhere[event.key] || (open ? inScan : inIndex)[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button) actions[button.dataset.do]();
  });
  window.addEventListener("hashchange", show);
  window.addEventListener("storage", () => gmseg.report.scans.forEach(refresh));

  for (const [key, what] of KEYS) {
    const keys = key.split(" ").map((one) => element("kbd", {}, one));
    byId("keys").append(element("dt", {}, ...keys), element("dd", {}, what));
  }
  drawHeads();
  drawFilters();
  list();
  show();
})();
