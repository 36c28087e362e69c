// Areas of all listed scans: per scan and along the cord. A click on a scan opens it.
"use strict";

gmseg.overview = (function () {
  const WIDTH = 620, HEIGHT = 250, LEFT = 40, RIGHT = 12, TOP = 24, BOTTOM = 36;
  const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];
  const LEAST_SCANS = 5; // for outliers
  const LIMIT = 3.5; // of the modified z-score (Iglewicz and Hoaglin, 1993)
  const natural = new Intl.Collator("en", { numeric: true }).compare;

  const ticks = (most) => {
    const step = STEPS.find((s) => most / s <= 5) || STEPS[STEPS.length - 1];
    return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
  };
  const median = (values) => {
    const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  };

  /** Return the keys of the scans whose mean area lies far from the median of all scans. */
  function outliers(scans) {
    if (scans.length < LEAST_SCANS) return new Set();
    const middle = median(scans.map((scan) => scan.mean_area_mm2));
    const deviation = (scan) => Math.abs(scan.mean_area_mm2 - middle);
    const all = scans.map(deviation);
    const mean = all.reduce((sum, value) => sum + value) / all.length;
    const spread = 1.4826 * median(all) || 1.2533 * mean; // the median is 0 if most are equal
    return new Set(scans.filter((scan) => deviation(scan) > LIMIT * spread).map((scan) => scan.key));
  }

  /** Return an empty plot with an axis of areas, and the function that maps an area to y. */
  function axes(most, title, below) {
    const svg = gmseg.svg("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "chart", "aria-label": title,
    });
    const y = (area) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - area / (1.05 * most));
    const text = (x, top, content, anchor) =>
      svg.append(gmseg.svg("text", { x, y: top, "text-anchor": anchor }, content));
    for (const area of ticks(most)) {
      svg.append(gmseg.svg("path", { d: `M${LEFT} ${y(area)}H${WIDTH - RIGHT}`, class: "grid" }));
      text(LEFT - 6, y(area) + 4, `${area}`, "end");
    }
    text(4, TOP - 10, title, "start");
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, below, "middle");
    return { svg, y, text };
  }

  /** Return a link to a scan that holds the given shapes; the list has the same links for keys. */
  function link(scan, isOutlier, ...shapes) {
    const node = gmseg.svg("a", {
      href: `#scan=${scan.key}`, tabindex: -1, class: isOutlier ? "outlier" : "",
    });
    const mean = `mean ${gmseg.fixed(scan.mean_area_mm2, 1)} mm²`;
    const note = isOutlier ? ", outlier" : "";
    node.append(gmseg.svg("title", {}, `${scan.name}: ${mean}${note}`), ...shapes);
    return node;
  }

  const dot = (x, y) => `M${(x - 2).toFixed(1)} ${y.toFixed(1)}a2 2 0 1 0 4 0a2 2 0 1 0 -4 0`;

  function perScan(scans, most, far) {
    const { svg, y } = axes(most, "area of the slices, mm²", "scan, in the order of names");
    const width = (WIDTH - LEFT - RIGHT) / scans.length;
    scans.forEach((scan, i) => {
      const x = LEFT + (i + 0.5) * width, half = Math.min(8, width / 2);
      const dots = scan.areas_mm2.filter((area) => area > 0).map((area) => dot(x, y(area)));
      const mean = `M${x - half} ${y(scan.mean_area_mm2)}h${2 * half}`;
      svg.append(link(scan, far.has(scan.key),
        gmseg.svg("rect", {
          x: x - width / 2, y: TOP, width, height: HEIGHT - TOP - BOTTOM, class: "target",
        }),
        gmseg.svg("path", { d: dots.join(""), class: "dot" }),
        gmseg.svg("path", { d: mean, class: "mean" }),
        gmseg.svg("text", { x, y: TOP + 4, "text-anchor": "middle" }, far.has(scan.key) ? "▲" : "")));
    });
    return svg;
  }

  function alongCord(scans, most, far) {
    const { svg, y, text } = axes(most, "area along the cord, mm²", "inferior — mm — superior");
    const longest = Math.max(...scans.map((scan) => (scan.areas_mm2.length - 1) * scan.step_mm), 1);
    const x = (mm) => LEFT + ((WIDTH - LEFT - RIGHT) * mm) / longest;
    for (const mm of ticks(longest)) text(x(mm), HEIGHT - BOTTOM + 15, `${mm}`, "middle");
    const last = [...scans].sort((a, b) => far.has(a.key) - far.has(b.key)); // outliers on top
    for (const scan of last) {
      let d = "", pen = "M";
      scan.areas_mm2.forEach((area, k) => {
        if (area > 0) d += `${pen}${x(k * scan.step_mm).toFixed(1)} ${y(area).toFixed(1)}`;
        pen = area > 0 ? "L" : "M";
      });
      svg.append(link(scan, far.has(scan.key),
        gmseg.svg("path", { d, class: "target" }), gmseg.svg("path", { d, class: "line" })));
    }
    return svg;
  }

  function notes(scans, far, left) {
    const line = gmseg.element("p", { class: "remark" });
    const found = scans.filter((scan) => far.has(scan.key));
    if (scans.length < LEAST_SCANS) line.append(`Outliers are marked from ${LEAST_SCANS} scans on`);
    else line.append(found.length ? "▲ Mean area far from the median: " : "No mean area is an outlier");
    found.forEach((scan, i) => line.append(i ? ", " : "",
      gmseg.element("a", { href: `#scan=${scan.key}` }, scan.name),
      ` (${gmseg.fixed(scan.mean_area_mm2, 1)} mm²)`));
    if (left) line.append(` · Not shown, without gray matter: ${left}`);
    return line;
  }

  /** Return the plots of scans, or null if there are fewer than two with gray matter. */
  return function (listed) {
    const scans = listed.filter((scan) => scan.areas_mm2 && scan.mean_area_mm2);
    if (scans.length < 2) return null;
    scans.sort((a, b) => natural(a.name, b.name));
    const most = scans.reduce((top, scan) => Math.max(top, ...scan.areas_mm2), 10);
    const far = outliers(scans);
    return gmseg.element("div", { class: "plots overview" },
      gmseg.element("div", { class: "pair" }, perScan(scans, most, far), alongCord(scans, most, far)),
      notes(scans, far, listed.length - scans.length));
  };
})();
