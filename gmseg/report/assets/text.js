// Helpers that the page's scripts share. Texts come from file names and headers, which may be
// hostile, so they enter the page only as text.
"use strict";

const gmseg = {
  report: JSON.parse(document.getElementById("report").textContent),
  scans: Object.create(null), // key to facts, filled by scans/KEY/facts.js
  volumes: Object.create(null), // key to scan and mask, filled by scans/KEY/volumes.js
};

gmseg.byId = (id) => document.getElementById(id);

/** Create an element with attributes and children, which are elements or texts. */
gmseg.element = function (tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};

gmseg.svg = function (tag, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
};

/** Load a script of the report once; a page opened from disk cannot use fetch. */
gmseg.load = (function () {
  const loading = new Map();
  return function (source) {
    if (!loading.has(source)) {
      loading.set(source, new Promise((resolve, reject) => {
        const script = gmseg.element("script", { src: source });
        script.onload = resolve;
        script.onerror = () => {
          loading.delete(source); // it may exist next time
          reject(new Error(source + " is missing from the folder of the report"));
        };
        document.head.append(script);
      }));
    }
    return loading.get(source);
  };
})();

gmseg.fixed = (value, digits) => (value == null ? "–" : value.toFixed(digits));

/** Return cord area and GM/cord ratio of a slice, null where there is no cord. */
gmseg.cordOf = function (facts, k) {
  const area = facts.cord_area_mm2 ? facts.cord_area_mm2[k] : 0;
  if (!area) return null;
  return { area, ratio: facts.area_mm2[k] ? facts.area_mm2[k] / area : null };
};

/** Whether the page has the cord of any scan. */
gmseg.hasCord = gmseg.report.scans.some((scan) => "gm_cord_ratio" in scan);
