// Area, and the expected Dice, along the cord: drawn once, read by mouse and by arrow keys.
"use strict";

gmseg.plot = (function () {
  const WIDTH = 400, LEFT = 40, RIGHT = 12;
  const AREA = { top: 24, height: 124 }, DICE = { top: 178, height: 62 };
  const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];
  const LEAST_DICE = 0.8; // below it, the summary's flag is raised

  const ticks = (most, wanted) => {
    const step = STEPS.find((s) => most / s <= wanted) || STEPS[STEPS.length - 1];
    return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
  };

  /** One line through the points, broken where a value is missing. */
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

  const each = (xs, ys, chosen, shape) =>
    chosen.filter((k) => ys[k] !== null).map((k) => shape(xs[k], ys[k])).join("");
  const dot = (x, y) => `M${(x - 2.5).toFixed(1)} ${y.toFixed(1)}a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0`;
  const triangle = (x, y) => `M${(x - 5).toFixed(1)} ${(y + 4).toFixed(1)}l5 -9l5 9z`;

  /**
   * Draw a scan's plot.
   *
   * seen(k) is called as the cursor moves to slice k, chosen(k) on a click or on Enter.
   * Returns the element, and what moves its cursor.
   */
  return function (facts, seen, chosen) {
    const count = facts.slices;
    const length = Math.max((count - 1) * facts.step_mm, facts.step_mm);
    const dice = facts.expected_dice;
    const bottom = (dice ? DICE : AREA).top + (dice ? DICE : AREA).height;
    const height = bottom + 36;
    const xOf = (mm) => LEFT + ((WIDTH - LEFT - RIGHT) * mm) / length;
    const xs = facts.area_mm2.map((_, k) => xOf(k * facts.step_mm));
    const top = 1.08 * Math.max(10, ...facts.area_mm2);
    const areaY = (area) => AREA.top + AREA.height * (1 - area / top);
    const diceY = (d) => (d === null ? null : DICE.top + DICE.height * (1 - d));
    const at = new Map(facts.numbers.map((number, k) => [number, k]));
    const flagged = new Set(facts.flags.flatMap((flag) => flag.slices.map((n) => at.get(n))));
    const all = facts.area_mm2.map((_, k) => k);
    const few = count <= 100;

    const svg = gmseg.svg("svg", {
      viewBox: `0 0 ${WIDTH} ${height}`, tabindex: 0, role: "img", class: "plot",
      "aria-label": "Area along the cord. Left and right move the cursor, Enter shows the slice.",
    });
    const add = (tag, attributes, text) => svg.append(gmseg.svg(tag, attributes, text));
    const text = (x, y, content, anchor) => add("text", { x, y, "text-anchor": anchor }, content);
    for (const value of ticks(top, 5)) {
      add("path", { d: `M${LEFT} ${areaY(value)}H${WIDTH - RIGHT}`, class: "grid" });
      text(LEFT - 6, areaY(value) + 4, `${value}`, "end");
    }
    for (const mm of ticks(length, 6)) text(xOf(mm), bottom + 16, `${mm}`, "middle");
    text((LEFT + WIDTH - RIGHT) / 2, bottom + 32, "foot — mm along the cord — head", "middle");
    text(4, AREA.top - 10, "area, mm²", "start");
    const areas = facts.area_mm2.map(areaY);
    add("path", { d: line(xs, areas), class: "line area" });
    const plain = all.filter((k) => !flagged.has(k));
    if (few) add("path", { d: each(xs, areas, plain, dot), class: "dot area" });
    add("path", { d: each(xs, areas, [...flagged], triangle), class: "flagged" });
    if (dice) {
      for (const value of [0, 0.5, 1]) {
        add("path", { d: `M${LEFT} ${diceY(value)}H${WIDTH - RIGHT}`, class: "grid" });
        text(LEFT - 6, diceY(value) + 4, `${value}`, "end");
      }
      add("path", { d: `M${LEFT} ${diceY(LEAST_DICE)}H${WIDTH - RIGHT}`, class: "limit" });
      text(4, DICE.top - 10, "expected Dice", "start");
      add("path", { d: line(xs, dice.map(diceY)), class: "line dice" });
      if (few) add("path", { d: each(xs, dice.map(diceY), all, dot), class: "dot dice" });
    }
    const cursor = gmseg.svg("path", { class: "cursor" });
    svg.append(cursor);
    const says = gmseg.element("p", { class: "says", "aria-live": "polite" });
    let now = null;

    function move(k) {
      now = k;
      cursor.setAttribute("d", `M${xs[k].toFixed(1)} ${AREA.top}V${bottom}`);
      const number = facts.numbers[k];
      const why = facts.flags.filter((flag) => flag.slices.includes(number));
      says.textContent = [
        `slice ${number}`,
        `${(k * facts.step_mm).toFixed(1)} mm`,
        `${facts.area_mm2[k].toFixed(1)} mm²`,
        ...(dice && dice[k] !== null ? [`Dice ${dice[k].toFixed(2)} expected`] : []),
        ...why.map((flag) => flag.name),
      ].join(" · ");
    }
    const nearest = (event) => {
      const box = svg.getBoundingClientRect();
      const mm = (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
      return Math.min(count - 1, Math.max(0, Math.round((mm * length) / facts.step_mm)));
    };
    const go = (k) => { move(k); seen(k); };
    svg.addEventListener("mousemove", (event) => go(nearest(event)));
    svg.addEventListener("click", (event) => chosen(nearest(event)));
    svg.addEventListener("focus", () => { if (now === null) go(0); });
    svg.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -count, End: count }[event.key];
      if (event.key === "Enter") chosen(now);
      else if (steps) go(Math.min(count - 1, Math.max(0, now + steps)));
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    says.textContent = "▲ a slice that a flag names";
    return { element: gmseg.element("div", { class: "plots" }, svg, says), move };
  };
})();
