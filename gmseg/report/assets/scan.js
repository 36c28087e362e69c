// One scan: its slices with outline and layers, area along the cord, facts, verdict and note.
"use strict";

gmseg.scanPage = (function () {
  const { byId, element, svg } = gmseg;
  const tiles = byId("tiles");
  const GAP = 4, LEAST = 120, MOST = 480; // sizes of tiles, multiples of 4 (see report_pictures.py)
  const AT_A_GLANCE = [160, 300], GOOD = 220;
  // what is switched on stays so from scan to scan
  const look = { overlay: true, soft: false, spread: false, fill: 0, strength: 70, tile: null };
  let named = null; // the scan whose name is shown: verdicts and notes are given to it
  let current = null; // {key, facts, plot}, once its facts are there

  // ---------------------------------------------------------------- slices

  function layer(kind, source, facts, at) {
    const column = at % facts.columns, row = Math.floor(at / facts.columns);
    const made = element("div", { class: `layer ${kind}` });
    const step = 1 + 1 / facts.gap; // a tile and the gap beside it
    const columns = Math.min(facts.tiles.length, facts.columns) * step;
    made.style.backgroundImage = `url("${source}")`;
    made.style.backgroundSize = `calc(var(--tile) * ${columns})`;
    made.style.backgroundPosition =
      `calc(var(--tile) * ${-column * step}) calc(var(--tile) * ${-row * step})`;
    return made;
  }

  function outline(tile, facts) {
    const size = facts.tile_px;
    const made = svg("svg", { viewBox: `0 0 ${size} ${size}`, class: "layer outline" });
    for (const kind of ["halo", "line"]) {
      made.append(svg("path", { d: tile.path, class: kind, "fill-rule": "evenodd" }));
    }
    return made;
  }

  function drawTile(tile, at, facts, folder) {
    const number = facts.numbers[tile.k];
    const why = facts.flags.filter((flag) => flag.slices.includes(number));
    const area = `${facts.area_mm2[tile.k].toFixed(1)} mm²`;
    const letters = at ? [] : ["A", "P", "R", "L"].map((l) => element("b", { class: `side ${l}` }, l));
    const notes = [...why.map((flag) => flag.name), ...(tile.beyond ? ["more mask beyond"] : [])];
    const picture = element("div", { class: "picture" },
      layer("slice", `${folder}/mosaic.png`, facts, at),
      ...facts.layers.map((kind) => layer(kind, `${folder}/${kind}.png`, facts, at)),
      outline(tile, facts), ...letters,
      element("span", { class: "number" }, `${notes.length ? "▲ " : ""}${number}`),
      element("span", { class: "area" }, area));
    if (notes.length) picture.append(element("span", { class: "why" }, notes.join(", ")));
    const made = element("div", { class: notes.length ? "tile flagged" : "tile", id: `slice-${number}` },
      picture);
    made.addEventListener("mouseenter", () => mark(tile.k, true));
    return made;
  }

  /** Mark a slice in the plot and among the tiles. */
  function mark(k, inPlot) {
    for (const old of tiles.querySelectorAll(".at")) old.classList.remove("at");
    byId(`slice-${current.facts.numbers[k]}`)?.classList.add("at");
    if (inPlot) current.plot.move(k);
  }

  function goTo(k) {
    const shown = current.facts.tiles.map((tile) => tile.k);
    const nearest = shown.reduce((a, b) => (Math.abs(b - k) < Math.abs(a - k) ? b : a));
    mark(nearest, true);
    byId(`slice-${current.facts.numbers[nearest]}`).scrollIntoView({ block: "center" });
  }

  /** The size of so many tiles side by side. */
  const sizeOf = (columns) => Math.floor(((tiles.clientWidth + GAP) / columns - GAP) / 4) * 4;

  /** The largest tiles with which all slices are seen at a glance; else what fills the width. */
  function fitted() {
    const high = window.innerHeight - tiles.offsetTop - 16;
    const [least, most] = AT_A_GLANCE;
    for (let columns = 1; sizeOf(columns) >= least; columns++) {
      const size = Math.min(sizeOf(columns), most);
      if (Math.ceil(current.facts.tiles.length / columns) * (size + GAP) <= high) return size;
    }
    return sizeOf(Math.max(1, Math.round(tiles.clientWidth / GOOD)));
  }

  function resize(step = 0) {
    if (!current) return;
    if (step) look.tile = Math.min(MOST, Math.max(LEAST, (look.tile || fitted()) + 20 * step));
    tiles.style.setProperty("--tile", `${Math.min(look.tile || fitted(), sizeOf(1))}px`);
  }

  /** Show and hide the layers as they are switched. */
  function update() {
    if (!current) return;
    const there = { overlay: true };
    for (const kind of ["soft", "spread"]) {
      there[kind] = current.facts.layers.includes(kind);
      byId(kind).disabled = !there[kind];
      const option = kind === "soft" ? "--soft" : "--tta N";
      byId(kind).title = there[kind] ? "" : `this scan came without (gmseg segment ${option})`;
      byId(`${kind}-scale`).hidden = !(look[kind] && there[kind]);
    }
    for (const kind of ["overlay", "soft", "spread"]) {
      byId(kind).setAttribute("aria-pressed", String(look[kind] && there[kind]));
      tiles.classList.toggle(`no-${kind}`, !look[kind]);
    }
    byId("fill").value = look.fill;
    byId("strength").value = look.strength;
    tiles.style.setProperty("--fill", look.fill / 100);
    tiles.style.setProperty("--strength", look.strength / 100);
  }

  function toggle(kind) {
    if (byId(kind).disabled) return;
    look[kind] = !look[kind];
    if (look[kind] && kind === "soft") look.spread = false; // one colour scale at a time
    if (look[kind] && kind === "spread") look.soft = false;
    update();
  }

  // ---------------------------------------------------------------- facts

  function table(rows) {
    return element("dl", { class: "facts" }, ...rows.flatMap(([name, value]) =>
      [element("dt", {}, name), element("dd", {}, value)]));
  }

  const part = (title, ...content) => element("section", {}, element("h2", {}, title), ...content);

  function flagList(facts) {
    if (!facts.flags.length) return element("p", {}, "none raised");
    return element("ul", { class: "flags" }, ...facts.flags.map((flag) =>
      element("li", {}, element("b", {}, `▲ ${flag.name}`), ` ${flag.text}`)));
  }

  function context(facts, folder) {
    const { size, box: [x, y, side], number } = facts.context;
    const image = element("img", {
      src: `${folder}/context.png`, width: size[0], height: size[1],
      alt: `slice ${number} as a whole, with the tiles' field`,
    });
    const frame = svg("svg", { viewBox: `0 0 ${size[0]} ${size[1]}` });
    for (const kind of ["halo", "line"]) {
      frame.append(svg("rect", { x, y, width: side, height: side, class: kind }));
    }
    return element("div", { class: "context" }, image, frame);
  }

  function drawFacts(facts, folder) {
    const areas = facts.area_mm2.filter((area) => area > 0);
    const mean = areas.length ? areas.reduce((a, b) => a + b) / areas.length : 0;
    const measured = [
      ["Slices with gray matter", `${areas.length} of ${facts.slices}`],
      ["Mean area in them", `${mean.toFixed(1)} mm²`],
      ["Volume", `${facts.volume_mm3.toFixed(0)} mm³`],
    ];
    const made = [...facts.made];
    if (facts.command) made.push(["Command", element("code", {}, facts.command)]);
    made.push(["Mask's voxels, SHA-256", element("code", {}, facts.mask_sha256)]);
    byId("facts").append(
      part("Flags", flagList(facts)),
      part("Along the cord", current.plot.element, table(measured)),
      part(`Slice ${facts.context.number} as a whole`, context(facts, folder),
        element("p", { class: "small" }, `The square of ${facts.field_mm} mm is what the slices show.`)),
      part("Header", table([["Scan", facts.name], ...facts.header, ...facts.header_text])),
      part("How it was made", table(made)),
    );
  }

  // ---------------------------------------------------------------- verdict and note

  function noteOf(scan) {
    const earlier = gmseg.verdicts.earlier(scan);
    const note = element("textarea", { id: "note", rows: 2, placeholder: "what is wrong, and where" });
    note.value = gmseg.verdicts.get(scan).note;
    note.addEventListener("input", () => gmseg.verdicts.set(scan, { note: note.value }));
    const label = element("label", { for: "note" }, "kept in this browser ", element("kbd", {}, "n"));
    const made = part("Note", label, note);
    if (earlier && !gmseg.verdicts.get(scan).verdict) {
      const said = gmseg.VERDICTS[earlier.verdict].text + (earlier.note ? `: ${earlier.note}` : "");
      made.append(element("p", { class: "warning" }, `Given to an earlier mask: ${said}`));
    }
    return made;
  }

  function drawVerdicts(scan) {
    const given = gmseg.verdicts.get(scan).verdict;
    byId("verdict").replaceChildren(...Object.entries(gmseg.VERDICTS).map(([verdict, how]) =>
      element("button", {
        type: "button", class: `verdict ${verdict}`, "aria-pressed": String(given === verdict),
        onclick: () => judge(verdict),
      }, `${how.sign} ${how.text} `, element("kbd", {}, how.key))));
  }

  /** Give a verdict, or take it back. */
  function judge(verdict) {
    const given = gmseg.verdicts.get(named).verdict;
    gmseg.verdicts.set(named, { verdict: given === verdict ? null : verdict });
    const focused = document.activeElement.classList.contains(verdict);
    drawVerdicts(named);
    if (focused) byId("verdict").querySelector(`.${verdict}`).focus();
  }

  // ---------------------------------------------------------------- all of it

  function told(facts) {
    const shown = facts.tiles.length;
    const which = shown < facts.slices
      ? `${shown} of ${facts.slices} slices, evenly chosen and flagged ones`
      : `all ${shown} slices`;
    const where = facts.area_mm2.some((area) => area > 0)
      ? "around the cord"
      : "in the middle, for the mask is empty";
    return `${which}, from foot to head, numbered as they are stored; ${facts.field_mm} mm ` +
      `${where}; front (A) at the top, the patient's left (L) on the right.`;
  }

  /** Show a scan; place is what to say of where it stands in the list. */
  async function open(scan, place) {
    const folder = `scans/${scan.key}`;
    named = scan;
    current = null;
    byId("name").textContent = byId("name").title = scan.name;
    byId("place").textContent = place;
    drawVerdicts(scan);
    byId("tiles").replaceChildren();
    byId("facts").replaceChildren(noteOf(scan));
    byId("which").textContent = "";
    try {
      await gmseg.load(`${folder}/facts.js`);
    } catch (error) {
      byId("which").textContent = `This scan cannot be shown: ${error.message}`;
      return;
    }
    if (named !== scan) return; // it went on meanwhile
    const facts = gmseg.scans[scan.key];
    current = { key: scan.key, facts, plot: gmseg.plot(facts, (k) => mark(k, false), goTo) };
    tiles.replaceChildren(...facts.tiles.map((tile, at) => drawTile(tile, at, facts, folder)));
    byId("which").textContent = told(facts);
    drawFacts(facts, folder);
    update();
    resize();
  }

  function close() {
    named = current = null;
  }

  for (const kind of ["fill", "strength"]) {
    byId(kind).addEventListener("input", () => {
      look[kind] = Number(byId(kind).value);
      if (kind === "fill") look.overlay = true;
      update();
    });
  }
  window.addEventListener("resize", () => resize());

  return {
    open, close, toggle, resize, judge,
    view: () => current && gmseg.viewer.open(current.key, current.facts),
  };
})();
