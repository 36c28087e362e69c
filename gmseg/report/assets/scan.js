// One scan: slices with outline and layers, area along the cord, facts, verdict and note.
"use strict";

gmseg.scanPage = (function () {
  const { byId, element, svg } = gmseg;
  const tiles = byId("tiles");
  const GAP = 4, LEAST = 120, MOST = 480; // sizes of tiles, multiples of 4 (see qc_slices.py)
  const ALL_VISIBLE = [160, 300], PREFERRED = 220; // sizes of tiles
  // settings stay from scan to scan
  const settings = { overlay: true, cord: true, soft: false, spread: false, fill: 0, strength: 70, tile: null };
  let shown = null; // scan whose name is shown; verdicts and notes go to it
  let current = null; // {key, facts, plot}, once the facts are loaded

  // ---------------------------------------------------------------- slices

  function layer(kind, source, facts, position) {
    const column = position % facts.columns, row = Math.floor(position / facts.columns);
    const node = element("div", { class: `layer ${kind}` });
    const step = 1 + 1 / facts.gap; // a tile and the gap beside it
    const columns = Math.min(facts.tiles.length, facts.columns) * step;
    node.style.backgroundImage = `url("${source}")`;
    node.style.backgroundSize = `calc(var(--tile) * ${columns})`;
    node.style.backgroundPosition =
      `calc(var(--tile) * ${-column * step}) calc(var(--tile) * ${-row * step})`;
    return node;
  }

  function outline(path, of, facts) {
    const size = facts.tile_px;
    const node = svg("svg", { viewBox: `0 0 ${size} ${size}`, class: `layer outline ${of}` });
    for (const kind of ["halo", "line"]) {
      node.append(svg("path", { d: path, class: kind, "fill-rule": "evenodd" }));
    }
    return node;
  }

  function drawTile(tile, position, facts, folder) {
    const number = facts.numbers[tile.k];
    const flags = facts.flags.filter((flag) => flag.slices.includes(number));
    const cord = gmseg.cordOf(facts, tile.k);
    const area = `${facts.area_mm2[tile.k].toFixed(1)} mm²${cord ? `\ncord ${cord.area.toFixed(1)}` : ""}`;
    const letters = position ? [] : ["A", "P", "R", "L"].map((l) => element("b", { class: `side ${l}` }, l));
    const notes = [...flags.map((flag) => flag.name), ...(tile.beyond ? ["mask extends beyond the tile"] : [])];
    const image = element("div", { class: "image" },
      layer("slice", `${folder}/mosaic.png`, facts, position),
      ...facts.layers.map((kind) => layer(kind, `${folder}/${kind}.png`, facts, position)),
      ...(tile.cord_path ? [outline(tile.cord_path, "cord", facts)] : []),
      outline(tile.path, "mask", facts), ...letters,
      element("span", { class: "number" }, `${notes.length ? "▲ " : ""}${number}`),
      element("span", { class: "area" }, area));
    if (notes.length) image.append(element("span", { class: "reason" }, notes.join(", ")));
    const node = element("div", { class: notes.length ? "tile flagged" : "tile", id: `slice-${number}` },
      image);
    node.addEventListener("mouseenter", () => mark(tile.k, true));
    return node;
  }

  /** Mark a slice in the plot and among the tiles. */
  function mark(k, inPlot) {
    for (const old of tiles.querySelectorAll(".current")) old.classList.remove("current");
    byId(`slice-${current.facts.numbers[k]}`)?.classList.add("current");
    if (inPlot) current.plot.move(k);
  }

  function goTo(k) {
    const slices = current.facts.tiles.map((tile) => tile.k);
    const nearest = slices.reduce((a, b) => (Math.abs(b - k) < Math.abs(a - k) ? b : a));
    mark(nearest, true);
    byId(`slice-${current.facts.numbers[nearest]}`).scrollIntoView({ block: "center" });
  }

  /** Return the size of tiles for a number of columns. */
  const sizeOf = (columns) => Math.floor(((tiles.clientWidth + GAP) / columns - GAP) / 4) * 4;

  /** Return the largest size at which all slices are visible, else one that fills the width. */
  function fitted() {
    const height = window.innerHeight - tiles.offsetTop - 16;
    const [least, most] = ALL_VISIBLE;
    for (let columns = 1; sizeOf(columns) >= least; columns++) {
      const size = Math.min(sizeOf(columns), most);
      if (Math.ceil(current.facts.tiles.length / columns) * (size + GAP) <= height) return size;
    }
    return sizeOf(Math.max(1, Math.round(tiles.clientWidth / PREFERRED)));
  }

  function resize(step = 0) {
    if (!current) return;
    if (step) settings.tile = Math.min(MOST, Math.max(LEAST, (settings.tile || fitted()) + 20 * step));
    tiles.style.setProperty("--tile", `${Math.min(settings.tile || fitted(), sizeOf(1))}px`);
  }

  /** Show and hide the layers according to the settings. */
  function update() {
    if (!current) return;
    const available = { overlay: true, cord: current.facts.tiles.some((tile) => tile.cord_path) };
    byId("cord").hidden = !available.cord;
    for (const kind of ["soft", "spread"]) {
      available[kind] = current.facts.layers.includes(kind);
      byId(kind).disabled = !available[kind];
      const option = kind === "soft" ? "--soft" : "--tta N";
      byId(kind).title = available[kind] ? "" : `not available for this scan; add it with gmseg segment ${option}`;
      byId(`${kind}-scale`).hidden = !(settings[kind] && available[kind]);
    }
    for (const kind of ["overlay", "cord", "soft", "spread"]) {
      byId(kind).setAttribute("aria-pressed", String(settings[kind] && available[kind]));
      tiles.classList.toggle(`no-${kind}`, !settings[kind]);
    }
    byId("fill").value = settings.fill;
    byId("strength").value = settings.strength;
    tiles.style.setProperty("--fill", settings.fill / 100);
    tiles.style.setProperty("--strength", settings.strength / 100);
  }

  function toggle(kind) {
    if (byId(kind).disabled || byId(kind).hidden) return;
    settings[kind] = !settings[kind];
    if (settings[kind] && kind === "soft") settings.spread = false; // one colour scale at a time
    if (settings[kind] && kind === "spread") settings.soft = false;
    update();
  }

  // ---------------------------------------------------------------- facts

  function table(rows) {
    return element("dl", { class: "facts" }, ...rows.flatMap(([name, value]) =>
      [element("dt", {}, name), element("dd", {}, value)]));
  }

  const part = (title, ...content) => element("section", {}, element("h2", {}, title), ...content);

  function flagList(facts) {
    if (!facts.flags.length) return element("p", {}, "none");
    return element("ul", { class: "flags" }, ...facts.flags.map((flag) =>
      element("li", {}, element("b", {}, `▲ ${flag.name}`), ` ${flag.text}`)));
  }

  function context(facts, folder) {
    const { size, box: [x, y, side], number } = facts.context;
    const image = element("img", {
      src: `${folder}/context.png`, width: size[0], height: size[1],
      alt: `whole slice ${number}, with the field of the tiles`,
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
      ["Mean area of these slices", `${mean.toFixed(1)} mm²`],
      ["Volume", `${facts.volume_mm3.toFixed(0)} mm³`],
    ];
    const cords = facts.area_mm2.map((area, k) => (area > 0 ? gmseg.cordOf(facts, k) : null)).filter(Boolean);
    if (cords.length) {
      const meanOf = (name) => cords.reduce((sum, cord) => sum + cord[name], 0) / cords.length;
      measured.push(["Mean cord area of these slices", `${meanOf("area").toFixed(1)} mm²`],
        ["Mean GM/cord ratio", meanOf("ratio").toFixed(3)]);
    }
    const origin = [...facts.made];
    if (facts.command) origin.push(["Command", element("code", {}, facts.command)]);
    origin.push(["SHA-256 of the mask's voxels", element("code", {}, facts.mask_sha256)]);
    byId("facts").append(
      part("QC flags", flagList(facts)),
      part("Along the cord", current.plot.element, table(measured)),
      part(`Whole slice ${facts.context.number}`, context(facts, folder),
        element("p", { class: "small" }, `The square is the field of the tiles, ${facts.field_mm} mm wide.`)),
      part("Header", table([["Scan", facts.name], ...facts.header, ...facts.header_text])),
      part("Origin of the mask", table(origin)),
    );
  }

  // ---------------------------------------------------------------- verdict and note

  function noteSection(scan) {
    const earlier = gmseg.verdicts.earlier(scan);
    const note = element("textarea", { id: "note", rows: 2, placeholder: "What is wrong, and where?" });
    note.value = gmseg.verdicts.get(scan).note;
    note.addEventListener("input", () => gmseg.verdicts.set(scan, { note: note.value }));
    const label = element("label", { for: "note" }, "stored in this browser ", element("kbd", {}, "n"));
    const section = part("Note", label, note);
    if (earlier && !gmseg.verdicts.get(scan).verdict) {
      const text = gmseg.VERDICTS[earlier.verdict].text + (earlier.note ? `: ${earlier.note}` : "");
      section.append(element("p", { class: "warning" }, `Verdict on an earlier mask: ${text}`));
    }
    return section;
  }

  function drawVerdicts(scan) {
    const given = gmseg.verdicts.get(scan).verdict;
    byId("verdict").replaceChildren(...Object.entries(gmseg.VERDICTS).map(([verdict, { symbol, text, key }]) =>
      element("button", {
        type: "button", class: `verdict ${verdict}`, "aria-pressed": String(given === verdict),
        onclick: () => setVerdict(verdict),
      }, `${symbol} ${text} `, element("kbd", {}, key))));
  }

  /** Give a verdict, or withdraw it if it was given. */
  function setVerdict(verdict) {
    const given = gmseg.verdicts.get(shown).verdict;
    gmseg.verdicts.set(shown, { verdict: given === verdict ? null : verdict });
    const focused = document.activeElement.classList.contains(verdict);
    drawVerdicts(shown);
    if (focused) byId("verdict").querySelector(`.${verdict}`).focus();
  }

  // ---------------------------------------------------------------- the whole page

  function captionOf(facts) {
    const count = facts.tiles.length;
    const slices = count < facts.slices
      ? `${count} of ${facts.slices} slices, flagged and evenly spaced ones`
      : `All ${count} slices`;
    const centre = facts.area_mm2.some((area) => area > 0)
      ? "around the cord"
      : "in the middle, because the mask is empty";
    return `${slices}, from inferior to superior, numbered as stored. Each shows ${facts.field_mm} mm ` +
      `${centre}. Anterior (A) is at the top, the patient's left (L) on the right.`;
  }

  /** Show a scan, and its position in the list as a text. */
  async function open(scan, position) {
    const folder = `scans/${scan.key}`;
    shown = scan;
    current = null;
    byId("name").textContent = byId("name").title = scan.name;
    byId("position").textContent = position;
    drawVerdicts(scan);
    byId("tiles").replaceChildren();
    byId("facts").replaceChildren(noteSection(scan));
    byId("caption").textContent = "";
    try {
      await gmseg.load(`${folder}/facts.js`);
    } catch (error) {
      byId("caption").textContent = `This scan cannot be shown: ${error.message}.`;
      return;
    }
    if (shown !== scan) return; // another scan was opened meanwhile
    const facts = gmseg.scans[scan.key];
    current = { key: scan.key, facts, plot: gmseg.plot(facts, (k) => mark(k, false), goTo) };
    tiles.replaceChildren(...facts.tiles.map((tile, i) => drawTile(tile, i, facts, folder)));
    byId("caption").textContent = captionOf(facts);
    drawFacts(facts, folder);
    update();
    resize();
  }

  function close() {
    shown = current = null;
  }

  for (const kind of ["fill", "strength"]) {
    byId(kind).addEventListener("input", () => {
      settings[kind] = Number(byId(kind).value);
      if (kind === "fill") settings.overlay = true;
      update();
    });
  }
  window.addEventListener("resize", () => resize());

  return {
    open, close, toggle, resize, setVerdict,
    view: () => current && gmseg.viewer.open(current.key, current.facts),
  };
})();
