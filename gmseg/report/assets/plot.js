// Area, expected Dice and cord area along the cord; the cursor follows the mouse and the arrow keys.
"use strict";

gmseg.plot = (function () {
  const WIDTH = 400, LEFT = 40, RIGHT = 12;
  const AREA = { top: 24, height: 124 }, BELOW = { gap: 30, height: 62 };
  const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];
  const LEAST_DICE = 0.8; // a lower expected Dice raises a QC flag

  const ticks = (most, wanted) => {
    const step = STEPS.find((s) => most / s <= wanted) || STEPS[STEPS.length - 1];
    return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
  };

  /** Return a path through the points, broken where a value is missing. */
  function line(xs, ys) {
    let path = "", pen = "M";
    xs.forEach((x, i) => {
      if (ys[i] === null) pen = "M";
      else {
        path += `${pen}${x.toFixed(1)} ${ys[i].toFixed(1)}`;
        pen = "L";
      }
    });
    return path;
  }

  const symbols = (xs, ys, slices, shape) =>
    slices.filter((k) => ys[k] !== null).map((k) => shape(xs[k], ys[k])).join("");
  const dot = (x, y) => `M${(x - 2.5).toFixed(1)} ${y.toFixed(1)}a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0`;
  const triangle = (x, y) => `M${(x - 5).toFixed(1)} ${(y + 4).toFixed(1)}l5 -9l5 9z`;

  /**
   * Draw the plot of a scan.
   *
   * onMove(k) is called when the cursor moves to slice k, onSelect(k) on a click or on Enter.
   * Returns the element, and the function that moves its cursor.
   */
  return function (facts, onMove, onSelect) {
    const count = facts.slices;
    const length = Math.max((count - 1) * facts.step_mm, facts.step_mm);
    const dice = facts.expected_dice;
    const cord = facts.cord_area_mm2;
    let bottom = AREA.top + AREA.height;
    /** Return the next panel below. */
    const panel = () => {
      const top = bottom + BELOW.gap;
      bottom = top + BELOW.height;
      return { top, height: BELOW.height };
    };
    const CORD = cord && panel(), DICE = dice && panel();
    const height = bottom + 36;
    const xOf = (mm) => LEFT + ((WIDTH - LEFT - RIGHT) * mm) / length;
    const xs = facts.area_mm2.map((_, k) => xOf(k * facts.step_mm));
    const top = 1.08 * Math.max(10, ...facts.area_mm2);
    const areaY = (area) => AREA.top + AREA.height * (1 - area / top);
    const mostCord = 1.08 * Math.max(10, ...(cord || []));
    const cordY = (area) => (area ? CORD.top + CORD.height * (1 - area / mostCord) : null);
    const diceY = (d) => (d === null ? null : DICE.top + DICE.height * (1 - d));
    const positions = new Map(facts.numbers.map((number, k) => [number, k]));
    const flagged = new Set(facts.flags.flatMap((flag) => flag.slices.map((n) => positions.get(n))));
    const all = facts.area_mm2.map((_, k) => k);
    const showDots = count <= 100;

    const svg = gmseg.svg("svg", {
      viewBox: `0 0 ${WIDTH} ${height}`, tabindex: 0, role: "img", class: "plot",
      "aria-label": "Area along the cord. The left and right arrow keys move the cursor, Enter shows the slice.",
    });
    const add = (tag, attributes, text) => svg.append(gmseg.svg(tag, attributes, text));
    const text = (x, y, content, anchor) => add("text", { x, y, "text-anchor": anchor }, content);
    for (const value of ticks(top, 5)) {
      add("path", { d: `M${LEFT} ${areaY(value)}H${WIDTH - RIGHT}`, class: "grid" });
      text(LEFT - 6, areaY(value) + 4, `${value}`, "end");
    }
    for (const mm of ticks(length, 6)) text(xOf(mm), bottom + 16, `${mm}`, "middle");
    text((LEFT + WIDTH - RIGHT) / 2, bottom + 32, "inferior — mm along the cord — superior", "middle");
    text(4, AREA.top - 10, "area, mm²", "start");
    const areas = facts.area_mm2.map(areaY);
    add("path", { d: line(xs, areas), class: "line area" });
    const plain = all.filter((k) => !flagged.has(k));
    if (showDots) add("path", { d: symbols(xs, areas, plain, dot), class: "dot area" });
    add("path", { d: symbols(xs, areas, [...flagged], triangle), class: "flagged" });
    if (cord) {
      for (const value of ticks(mostCord, 3)) {
        const y = CORD.top + CORD.height * (1 - value / mostCord);
        add("path", { d: `M${LEFT} ${y}H${WIDTH - RIGHT}`, class: "grid" });
        text(LEFT - 6, y + 4, `${value}`, "end");
      }
      text(4, CORD.top - 10, "cord, mm²", "start");
      add("path", { d: line(xs, cord.map(cordY)), class: "line cord" });
      if (showDots) add("path", { d: symbols(xs, cord.map(cordY), all, dot), class: "dot cord" });
    }
    if (dice) {
      for (const value of [0, 0.5, 1]) {
        add("path", { d: `M${LEFT} ${diceY(value)}H${WIDTH - RIGHT}`, class: "grid" });
        text(LEFT - 6, diceY(value) + 4, `${value}`, "end");
      }
      add("path", { d: `M${LEFT} ${diceY(LEAST_DICE)}H${WIDTH - RIGHT}`, class: "limit" });
      text(4, DICE.top - 10, "expected Dice", "start");
      add("path", { d: line(xs, dice.map(diceY)), class: "line dice" });
      if (showDots) add("path", { d: symbols(xs, dice.map(diceY), all, dot), class: "dot dice" });
    }
    const cursor = gmseg.svg("path", { class: "cursor" });
    svg.append(cursor);
    const readout = gmseg.element("p", { class: "readout", "aria-live": "polite" });
    let current = null;

    function move(k) {
      current = k;
      cursor.setAttribute("d", `M${xs[k].toFixed(1)} ${AREA.top}V${bottom}`);
      const number = facts.numbers[k];
      const flags = facts.flags.filter((flag) => flag.slices.includes(number));
      const here = gmseg.cordOf(facts, k);
      readout.textContent = [
        `slice ${number}`,
        `${(k * facts.step_mm).toFixed(1)} mm`,
        `${facts.area_mm2[k].toFixed(1)} mm²`,
        ...(here ? [`cord ${here.area.toFixed(1)} mm²`, `GM/cord ${gmseg.fixed(here.ratio, 3)}`] : []),
        ...(dice && dice[k] !== null ? [`expected Dice ${dice[k].toFixed(2)}`] : []),
        ...flags.map((flag) => flag.name),
      ].join(" · ");
    }
    const nearest = (event) => {
      const box = svg.getBoundingClientRect();
      const mm = (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
      return Math.min(count - 1, Math.max(0, Math.round((mm * length) / facts.step_mm)));
    };
    const go = (k) => { move(k); onMove(k); };
    svg.addEventListener("mousemove", (event) => go(nearest(event)));
    svg.addEventListener("click", (event) => onSelect(nearest(event)));
    svg.addEventListener("focus", () => { if (current === null) go(0); });
    svg.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -count, End: count }[event.key];
      if (event.key === "Enter") onSelect(current);
      else if (steps) go(Math.min(count - 1, Math.max(0, current + steps)));
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    readout.textContent = "▲ slice with a QC flag";
    return { element: gmseg.element("div", { class: "plots" }, svg, readout), move };
  };
})();
