// What the page's scripts share. Texts come from file names and headers, which may be hostile:
// they reach the page as text alone.
"use strict";

const gmseg = {
  report: JSON.parse(document.getElementById("report").textContent),
  scans: Object.create(null), // key to facts, filled by scans/KEY/facts.js
  volumes: Object.create(null), // key to scan and mask, filled by scans/KEY/volumes.js
};

gmseg.byId = (id) => document.getElementById(id);

/** Make an element: its attributes, and its children, which are elements or texts. */
gmseg.element = function (tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
};

gmseg.svg = function (tag, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
};

/** Load a script of the report once: no page that is opened from disk may fetch. */
gmseg.load = (function () {
  const loading = new Map();
  return function (source) {
    if (!loading.has(source)) {
      loading.set(source, new Promise((resolve, reject) => {
        const script = gmseg.element("script", { src: source });
        script.onload = resolve;
        script.onerror = () => {
          loading.delete(source); // it may be there the next time
          reject(new Error(source + " is missing from the report's folder"));
        };
        document.head.append(script);
      }));
    }
    return loading.get(source);
  };
})();

gmseg.fixed = (value, digits) => (value === null ? "–" : value.toFixed(digits));
