// Verdicts and notes: kept in this browser, told apart by report, scan and mask; and their export.
"use strict";

gmseg.VERDICTS = {
  pass: { text: "Pass", sign: "✓", key: "p" },
  fail: { text: "Fail", sign: "✗", key: "f" },
  "needs-fixing": { text: "Needs fixing", sign: "✎", key: "x" },
};

gmseg.verdicts = (function () {
  const PREFIX = `gmseg:${gmseg.report.id}:`;
  const NONE = { verdict: null, note: "" };
  const memory = new Map();
  let kept = true;
  try {
    localStorage.setItem(PREFIX, "");
    localStorage.removeItem(PREFIX);
  } catch {
    kept = false;
  }

  const placeOf = (scan) => `${PREFIX}${scan.key}:${scan.mask_sha256}`;

  function read(place) {
    let entry = memory.get(place);
    try {
      // other pages that are opened from disk may share this store
      if (kept) entry = JSON.parse(localStorage.getItem(place) || "null");
    } catch {
      entry = null;
    }
    if (!entry || typeof entry !== "object") return null;
    const verdict = Object.hasOwn(gmseg.VERDICTS, entry.verdict) ? entry.verdict : null;
    const note = typeof entry.note === "string" ? entry.note : "";
    return { verdict, note, when: Number(entry.when) || 0 };
  }

  function places() {
    return kept ? Object.keys(localStorage) : [...memory.keys()];
  }

  /** The verdict on a scan's mask. */
  const get = (scan) => read(placeOf(scan)) || NONE;

  /** The last verdict on another mask of the scan, or null. */
  function earlier(scan) {
    const start = `${PREFIX}${scan.key}:`;
    const others = places().filter((p) => p.startsWith(start) && p !== placeOf(scan));
    const given = others.map(read).filter((entry) => entry && entry.verdict);
    return given.sort((a, b) => b.when - a.when)[0] || null;
  }

  function set(scan, change) {
    const entry = { ...get(scan), ...change, when: Date.now() };
    const place = placeOf(scan);
    const empty = !entry.verdict && !entry.note;
    if (empty) memory.delete(place);
    else memory.set(place, entry);
    if (!kept) return;
    try {
      if (empty) localStorage.removeItem(place);
      else localStorage.setItem(place, JSON.stringify(entry));
    } catch { // it is full
      kept = false;
    }
  }

  return { get, set, earlier, isKept: () => kept };
})();

gmseg.exports = (function () {
  // line breaks and all else that no editor shows: a comment must not end before its line does
  const oneLine = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}\s]+/gu, " ").trim();

  /** A text as YAML: as it is where nothing can be misread, else quoted. */
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

  /** The scans with a verdict, as the Spinal Cord Toolbox's manual correction reads them. */
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
      return [scan.name, verdict || "", note, scan.flags.map((flag) => flag.name).join(",")];
    });
    const lines = [["scan", "verdict", "note", "flags"], ...rows];
    return lines.map((row) => row.map(oneLine).join("\t") + "\n").join("");
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
