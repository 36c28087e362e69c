// The list of scans, navigation between scans, and keyboard shortcuts.
"use strict";

(function () {
  const { byId, element } = gmseg;
  const page = gmseg.scanPage;
  const natural = new Intl.Collator("en", { numeric: true }).compare;
  const view = { by: "name", up: true, search: "", flag: "", verdict: "" };
  const names = new Map(); // number of scans with each name
  for (const scan of gmseg.report.scans) names.set(scan.name, (names.get(scan.name) || 0) + 1);
  let listed = []; // scans as sorted and filtered
  let cursor = null; // key of the selected scan
  let open = null; // key of the open scan, null in the list

  // ---------------------------------------------------------------- the list

  const verdictOf = (scan) => gmseg.verdicts.get(scan).verdict;
  const COLUMNS = {
    name: { text: "Scan", value: (scan) => scan.name, cell: (scan) => nameCell(scan) },
    verdict: { text: "Verdict", value: verdictOf, cell: verdictCell },
    flags: { text: "QC flags", value: (scan) => scan.flags.length, cell: flagCell, down: true },
    slices: {
      text: "Slices", value: (scan) => scan.slices,
      cell: (scan) => `${scan.gm_slices} of ${scan.slices}`,
    },
    mean_area_mm2: {
      text: "Mean area, mm²", value: (scan) => scan.mean_area_mm2,
      cell: (scan) => gmseg.fixed(scan.mean_area_mm2, 1),
    },
    ...(gmseg.hasCord && {
      mean_cord_area_mm2: {
        text: "Cord, mm²", value: (scan) => scan.mean_cord_area_mm2 ?? null,
        cell: (scan) => gmseg.fixed(scan.mean_cord_area_mm2, 1),
      },
      gm_cord_ratio: {
        text: "GM/cord", value: (scan) => scan.gm_cord_ratio ?? null,
        cell: (scan) => gmseg.fixed(scan.gm_cord_ratio, 3),
      },
    }),
    expected_dice: {
      text: "Expected Dice", value: (scan) => scan.lowest_expected_dice ?? scan.expected_dice,
      cell: diceCell,
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
    const cell = element("span", {});
    if (verdict) {
      const { symbol, text } = gmseg.VERDICTS[verdict];
      cell.append(element("b", { class: `verdict ${verdict}` }, `${symbol} ${text}`));
    } else if (earlier) {
      cell.append(element("small", {}, `earlier mask: ${gmseg.VERDICTS[earlier.verdict].text}`));
    }
    if (note) cell.append(element("small", { class: "note" }, note));
    return cell;
  }

  function diceCell(scan) {
    const lowest = scan.lowest_expected_dice ?? null;
    const cell = element("span", {}, gmseg.fixed(scan.expected_dice, 2));
    if (lowest !== null) cell.append(element("small", {}, ` lowest ${gmseg.fixed(lowest, 2)}`));
    return cell;
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
    const node = element("tr", {}, element("td", { class: "thumb" }, thumb), ...cells);
    node.addEventListener("click", (event) => {
      if (!event.target.closest("a")) location.hash = `scan=${scan.key}`;
    });
    return node;
  }

  const rows = new Map(gmseg.report.scans.map((scan) => [scan.key, row(scan)]));

  function matches(scan) {
    const text = `${scan.name} ${scan.key}`.toLowerCase();
    if (!view.search.toLowerCase().split(/\s+/).every((word) => text.includes(word))) return false;
    if (view.verdict && view.verdict !== (verdictOf(scan) || "none")) return false;
    const flags = scan.flags.map((flag) => `flag-${flag.name}`);
    if (view.flag === "any") return flags.length > 0;
    if (view.flag === "none") return flags.length === 0;
    return !view.flag || flags.includes(view.flag);
  }

  function compare(a, b) {
    const [x, y] = [a, b].map(COLUMNS[view.by].value);
    if (x === null || y === null) return (x === null) - (y === null); // missing values come last
    const order = typeof x === "string" ? natural(x, y) : x - y;
    return (view.up ? order : -order) || natural(a.name, b.name) || natural(a.key, b.key);
  }

  function list() {
    listed = gmseg.report.scans.filter(matches).sort(compare);
    byId("rows").replaceChildren(...listed.map((scan) => rows.get(scan.key)));
    byId("no-match").hidden = listed.length > 0;
    for (const head of byId("heads").children) {
      const sorted = head.dataset.by === view.by;
      head.setAttribute("aria-sort", !sorted ? "none" : view.up ? "ascending" : "descending");
    }
    count();
    const plots = gmseg.overview(listed);
    const overview = byId("overview");
    overview.hidden = !plots;
    overview.replaceChildren(overview.firstElementChild, ...(plots ? [plots] : []));
  }

  function count() {
    const all = gmseg.report.scans;
    const done = all.filter(verdictOf).length;
    const flagged = all.filter((scan) => scan.flags.length).length;
    const part = listed.length < all.length ? `${listed.length} of ` : "";
    byId("counts").textContent = `${part}${all.length} ${all.length === 1 ? "scan" : "scans"} · ${flagged} with QC flags · ${done} with a verdict`;
    byId("not-stored").hidden = gmseg.verdicts.isStored();
  }

  /** Show the present verdict, which another window may have changed. */
  function refresh(scan) {
    rows.get(scan.key).querySelector("td.verdict").replaceChildren(verdictCell(scan));
  }

  function sortBy(by) {
    view.up = view.by === by ? !view.up : !COLUMNS[by].down;
    view.by = by;
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
    const frequent = [...counts].sort((a, b) => b[1] - a[1]);
    byId("by-flag").append(option("", "all"), option("any", "any flag"), option("none", "no flag"),
      ...frequent.map(([name, n]) => option(`flag-${name}`, `${name} (${n})`)));
    byId("by-verdict").append(option("", "all"), option("none", "no verdict"),
      ...Object.entries(gmseg.VERDICTS).map(([verdict, { text }]) => option(verdict, text)));
    for (const [id, field] of [["search", "search"], ["by-flag", "flag"], ["by-verdict", "verdict"]]) {
      byId(id).addEventListener("input", () => {
        view[field] = byId(id).value;
        list();
      });
    }
    byId("exports").append("Export ", ...Object.keys(gmseg.exports.files).map((name) =>
      element("button", { type: "button", onclick: () => gmseg.exports.save(name) }, name)));
  }

  function select(key, scroll = true) {
    if (cursor) rows.get(cursor)?.classList.remove("current");
    cursor = key;
    const node = rows.get(key);
    if (!node) return;
    node.classList.add("current");
    if (scroll) {
      node.scrollIntoView({ block: "nearest" });
      node.querySelector("a").focus({ preventScroll: true });
    }
  }

  // ---------------------------------------------------------------- navigation

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
    document.title = key ? `${scanOf(key).name} – gmseg` : "gmseg: QC of masks";
    byId("index").hidden = Boolean(key);
    byId("scan").hidden = !key;
    if (key) {
      const scan = scanOf(key);
      const position = listed.indexOf(scan);
      select(key, false);
      window.scrollTo(0, 0);
      page.open(scan, position < 0 ? "" : `${position + 1} of ${listed.length}`);
    } else {
      page.close();
      for (const scan of gmseg.report.scans) refresh(scan);
      list();
      if (cursor) select(cursor);
    }
  }

  /** Go up or down the list, or to the next or previous scan if one is open. */
  function step(by) {
    const position = listed.findIndex((scan) => scan.key === (open || cursor));
    const next = listed[position < 0 ? 0 : position + by];
    if (!next) return;
    if (open) location.replace(`#scan=${next.key}`); // the back button leads to the list
    else select(next.key);
  }

  function back() {
    if (open) location.hash = "";
    else byId("search").blur();
  }

  // ---------------------------------------------------------------- shortcuts and buttons

  const SHORTCUTS = [
    ["j ↓ →", "next scan"], ["k ↑ ←", "previous scan"], ["Enter", "open the scan"],
    ["Esc", "back to the list"], ["/", "search"],
    ["o", "show or hide the mask"], ...(gmseg.hasCord ? [["c", "show or hide the cord"]] : []), ["s", "soft segmentation"], ["u", "uncertainty"],
    ["+ −", "larger or smaller slices"], ["v", "viewer"],
    ["p", "pass"], ["f", "fail"], ["x", "needs fixing"], ["n", "note"], ["?", "keyboard shortcuts"],
  ];
  const help = () => byId("help").showModal();
  const actions = {
    help, back, previous: () => step(-1), next: () => step(1), viewer: page.view,
    overlay: () => page.toggle("overlay"), cord: () => page.toggle("cord"), soft: () => page.toggle("soft"),
    spread: () => page.toggle("spread"), smaller: () => page.resize(-1), larger: () => page.resize(1),
  };
  const anywhere = {
    "?": help, j: actions.next, k: actions.previous, ArrowDown: actions.next, ArrowUp: actions.previous,
    Escape: back,
  };
  const inIndex = { "/": () => byId("search").focus() };
  const inScan = {
    ArrowRight: actions.next, ArrowLeft: actions.previous, o: actions.overlay, c: actions.cord, s: actions.soft,
    u: actions.spread, v: actions.viewer, "+": actions.larger, "=": actions.larger, "-": actions.smaller,
    p: () => page.setVerdict("pass"), f: () => page.setVerdict("fail"), x: () => page.setVerdict("needs-fixing"),
    n: () => byId("note")?.focus(), "/": () => { back(); setTimeout(() => byId("search").focus()); },
  };

  /** Return whether the focused element uses a key: texts, lists, and the arrows of a slider. */
  function isInput({ target, key }) {
    if (target.matches("textarea, input[type=search]")) return true;
    if (target.matches("select")) return key.startsWith("Arrow") || key.length === 1;
    return target.matches("input") && key.startsWith("Arrow");
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (isInput(event)) {
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

  for (const [keys, action] of SHORTCUTS) {
    const labels = keys.split(" ").map((key) => element("kbd", {}, key));
    byId("keys").append(element("dt", {}, ...labels), element("dd", {}, action));
  }
  drawHeads();
  drawFilters();
  list();
  show();
})();
