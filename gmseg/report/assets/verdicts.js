// Verdicts and notes, stored in this browser by report, scan and mask, and their export.
"use strict";

gmseg.VERDICTS = {
  pass: { text: "Pass", symbol: "✓", key: "p" },
  fail: { text: "Fail", symbol: "✗", key: "f" },
  "needs-fixing": { text: "Needs fixing", symbol: "✎", key: "x" },
};

gmseg.verdicts = (function () {
  const PREFIX = `gmseg:${gmseg.report.id}:`;
  const NONE = { verdict: null, note: "" };
  const memory = new Map();
  let stored = true;
  try {
    localStorage.setItem(PREFIX, "");
    localStorage.removeItem(PREFIX);
  } catch {
    stored = false;
  }

  const slotOf = (scan) => `${PREFIX}${scan.key}:${scan.mask_sha256}`;

  function read(slot) {
    let entry = memory.get(slot);
    try {
      // other pages opened from disk may share this storage
      if (stored) entry = JSON.parse(localStorage.getItem(slot) || "null");
    } catch {
      entry = null;
    }
    if (!entry || typeof entry !== "object") return null;
    const verdict = Object.hasOwn(gmseg.VERDICTS, entry.verdict) ? entry.verdict : null;
    const note = typeof entry.note === "string" ? entry.note : "";
    return { verdict, note, when: Number(entry.when) || 0 };
  }

  function slots() {
    return stored ? Object.keys(localStorage) : [...memory.keys()];
  }

  /** Return the verdict on the mask of a scan. */
  const get = (scan) => read(slotOf(scan)) || NONE;

  /** Return the last verdict on another mask of the scan, or null. */
  function earlier(scan) {
    const start = `${PREFIX}${scan.key}:`;
    const others = slots().filter((slot) => slot.startsWith(start) && slot !== slotOf(scan));
    const given = others.map(read).filter((entry) => entry && entry.verdict);
    return given.sort((a, b) => b.when - a.when)[0] || null;
  }

  function set(scan, change) {
    const entry = { ...get(scan), ...change, when: Date.now() };
    const slot = slotOf(scan);
    const empty = !entry.verdict && !entry.note;
    if (empty) memory.delete(slot);
    else memory.set(slot, entry);
    if (!stored) return;
    try {
      if (empty) localStorage.removeItem(slot);
      else localStorage.setItem(slot, JSON.stringify(entry));
    } catch { // storage is full
      stored = false;
    }
  }

  return { get, set, earlier, isStored: () => stored };
})();

gmseg.exports = (function () {
  // replaces line breaks and invisible characters, so that a comment stays on its line
  const oneLine = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}\s]+/gu, " ").trim();

  // a spreadsheet would run such a text as a formula
  const isFormula = (text) => /^["=+@\-\uff1d\uff0b\uff0d\uff20]./u.test(text);

  function cell(text) {
    const line = oneLine(text);
    return isFormula(line) ? `'${line}` : line;
  }

  /** Return a text as YAML: plain where it cannot be misread, else quoted. */
  function yamlText(text) {
    if (/^[A-Za-z0-9][A-Za-z0-9_.-]*\.nii(\.gz)?$/.test(text)) return text;
    const escaped = [...text].map((c) => {
      const code = c.codePointAt(0);
      if (c === '"' || c === "\\") return "\\" + c;
      if (code >= 0x20 && code <= 0x7e) return c;
      const hex = code.toString(16);
      return code > 0xffff ? "\\U" + hex.padStart(8, "0") : "\\u" + hex.padStart(4, "0");
    });
    return `"${escaped.join("")}"`;
  }

  /** Return the scans with a verdict in the format of the Spinal Cord Toolbox's manual correction. */
  function yaml(verdict) {
    const given = gmseg.report.scans.filter((scan) => gmseg.verdicts.get(scan).verdict === verdict);
    const lines = given.map((scan) => {
      const note = oneLine(gmseg.verdicts.get(scan).note);
      return `- ${yamlText(scan.name)}${note ? "  # " + note : ""}\n`;
    });
    return lines.length ? "FILES_GMSEG:\n" + lines.join("") : "FILES_GMSEG: []\n";
  }

  function tsv() {
    const rows = gmseg.report.scans.map((scan) => {
      const { verdict, note } = gmseg.verdicts.get(scan);
      const row = [scan.name, verdict || "", note, scan.flags.map((flag) => flag.name).join(",")];
      const measures = ["mean_area_mm2", "mean_cord_area_mm2", "gm_cord_ratio"];
      return gmseg.hasCord ? [...row, ...measures.map((name) => String(scan[name] ?? ""))] : row;
    });
    const measured = gmseg.hasCord ? ["gm_area_mm2", "cord_area_mm2", "gm_cord_ratio"] : [];
    const lines = [["scan", "verdict", "note", "flags", ...measured], ...rows];
    return lines.map((row) => row.map(cell).join("\t") + "\n").join("");
  }

  function download(name, text) {
    const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    const link = gmseg.element("a", { href: url, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  const files = {};
  for (const verdict of ["fail", "needs-fixing", "pass"]) {
    files[`qc_${verdict.replace("-", "_")}.yml`] = () => yaml(verdict);
  }
  files["qc_verdicts.tsv"] = tsv;
  return { files, save: (name) => download(name, files[name]()) };
})();
