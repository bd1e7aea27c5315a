"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const MOST_ROWS = 500;
  const finite = (value) => typeof value === "number" && Number.isFinite(value);
  const show = (value, digits = 5) => (finite(value) ? String(+value.toPrecision(digits)) : value === null || value === undefined ? "-" : String(value));
  const signed = (value) => (finite(value) && value >= 0 ? "+" : "") + show(value);
  document.body.classList.remove("plain");

  // -- drawing: text only ever becomes a text node or an attribute --------------------------------
  const element = (name, attributes = {}, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const scale = (values, from, to) => {
    const least = Math.min(...values), most = Math.max(...values);
    const pad = (most - least || Math.abs(most) || 1) * 0.06;
    const low = least - pad, high = most + pad;
    const at = (value) => from + ((value - low) / (high - low)) * (to - from);
    at.ticks = ticks(low, high);
    return at;
  };
  const ticks = (low, high) => {
    const raw = (high - low) / 6, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].find((each) => each * power >= raw) * power;
    const found = [];
    for (let at = Math.ceil(low / step); at * step <= high && found.length < 12; at++) found.push(+(at * step).toPrecision(10));
    return found;
  };
  const WIDTH = 520, HEIGHT = 270, LEFT = 64, RIGHT = 14, TOP = 12, BOTTOM = 38;
  const frame = (figure, label, x, y, names = {}) => {
    const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
    for (const tick of y.ticks) {
      svg.append(element("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) }));
      svg.append(element("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, names.y ? names.y(tick) : show(tick)));
    }
    for (const tick of x.ticks) svg.append(element("text", { x: x(tick), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, show(tick)));
    svg.append(element("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, names.x || ""));
    figure.querySelector(".plot").replaceChildren(svg);
    return svg;
  };
  const dot = (svg, side, x, y, tip) => {
    const shape = side === "candidate"
      ? element("path", { d: `M${x} ${y - 6}l6 6l-6 6l-6 -6z` }) : element("circle", { cx: x, cy: y, r: 5 });
    shape.setAttribute("class", `mark ${side}`);
    shape.setAttribute("data-tip", tip);
    shape.setAttribute("tabindex", "0");
    svg.append(shape);
  };

  const drawSeeds = (metric) => {
    const figure = byId("seeds-plot"), both = [...metric.baseline, ...metric.candidate].filter(finite);
    figure.hidden = both.length === 0;
    if (figure.hidden) return;
    const places = data.seeds.map((_, at) => at);
    const x = scale(places.length > 1 ? places : [-1, 0, 1], LEFT, WIDTH - RIGHT), y = scale(both, HEIGHT - BOTTOM, TOP);
    x.ticks = [];
    const svg = frame(figure, `Values of ${metric.name} by seed`, x, y, { x: "seed" });
    data.seeds.forEach((seed, at) => {
      const old = metric.baseline[at], fresh = metric.candidate[at];
      svg.append(element("text", { x: x(at), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, seed));
      if (finite(old) && finite(fresh)) svg.append(element("line", { class: "pair", x1: x(at), x2: x(at), y1: y(old), y2: y(fresh) }));
      if (finite(old)) dot(svg, "baseline", x(at), y(old), `seed ${seed}: baseline ${show(old)}`);
      if (finite(fresh)) dot(svg, "candidate", x(at), y(fresh), `seed ${seed}: candidate ${show(fresh)}\ndifference ${signed(metric.differences[at])}`);
    });
  };

  const drawCurves = (metric) => {
    const figure = byId("curves-plot"), own = data.curves.filter((curve) => curve.metric === metric.name);
    const points = own.map((curve) => curve.steps.map((step, at) => [step, curve.values[at]]).filter((point) => point.every(finite)));
    const all = points.flat();
    figure.hidden = all.length === 0;
    if (figure.hidden) return;
    const x = scale(all.map((point) => point[0]), LEFT, WIDTH - RIGHT), y = scale(all.map((point) => point[1]), HEIGHT - BOTTOM, TOP);
    const svg = frame(figure, `Learning curves of ${metric.name}`, x, y, { x: "step" });
    own.forEach((curve, at) => {
      if (!points[at].length) return;
      const [step, value] = points[at][points[at].length - 1];
      svg.append(element("path", {
        class: curve.side, tabindex: "0", d: points[at].map(([a, b], n) => `${n ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join(""),
        "data-tip": `${curve.side}, seed ${curve.seed}\nlast: ${show(value)} at step ${show(step)}`,
      }));
    });
  };

  const drawLooks = (metric) => {
    const figure = byId("looks-plot"), looks = metric.looks.filter((look) => finite(look.p_fail));
    figure.hidden = looks.length === 0;
    if (figure.hidden) return;
    const log = (p) => Math.log10(Math.max(p, 1e-12));
    const lines = [["p_pass", "pass_level", "pass"], ["p_fail", "fail_level", "fail"]];
    const shown = looks.flatMap((look) => lines.flatMap(([p, level]) => [look[p], look[level]])).filter((p) => finite(p)).map(log);
    const places = looks.map((look) => look.n);
    const x = scale(places.length > 1 ? places : [places[0] - 1, places[0] + 1], LEFT, WIDTH - RIGHT), y = scale([...shown, 0], HEIGHT - BOTTOM, TOP);
    x.ticks = places;
    y.ticks = y.ticks.filter((tick) => Number.isInteger(tick));
    const svg = frame(figure, `Tests of ${metric.name} after each pair`, x, y, { x: "pairs", y: (tick) => (tick === 0 ? "1" : `1e${tick}`) });
    for (const [p, level, kind] of lines) {
      const stairs = looks.filter((look) => finite(look[level])).map((look, n) => `${n ? "L" : "M"}${x(look.n)} ${y(log(look[level]))}`).join("");
      if (stairs) svg.append(element("path", { class: `bar ${kind}`, d: stairs, fill: "none", "fill-opacity": 0, "stroke-dasharray": "5 4" }));
      for (const look of looks) {
        if (!finite(look[p])) continue;
        svg.append(element("circle", {
          class: `mark ${kind}`, cx: x(look.n), cy: y(log(look[p])), r: 5, tabindex: "0",
          "data-tip": `after ${look.n} pairs, test for ${kind}\np ${show(look[p], 3)}, level ${show(look[level], 3)}`,
        }));
      }
    }
  };

  const chosen = byId("metric");
  const draw = () => {
    const metric = data.metrics[chosen.selectedIndex];
    if (metric) for (const each of [drawSeeds, drawCurves, drawLooks]) each(metric);
  };
  if (chosen) {
    chosen.addEventListener("change", draw);
    draw();
  }

  // -- slices: filter, sort, show the first rows --------------------------------------------------
  const table = byId("slices"), search = byId("search"), only = byId("only");
  let column = null, direction = 1;
  const refill = () => {
    const wanted = search.value.toLowerCase();
    const found = data.slices.filter((row) => (!only.value || row[8] === only.value) && (!wanted || `${data.metrics[row[0]].name} ${row[1]}`.toLowerCase().includes(wanted)));
    const valueOf = (row) => (column === 0 ? data.metrics[row[0]].name : row[column]);
    if (column !== null) found.sort((a, b) => compare(valueOf(a), valueOf(b)) || 0);
    table.tBodies[0].replaceChildren(...found.slice(0, MOST_ROWS).map(rowOf));
    byId("count").textContent = `${Math.min(found.length, MOST_ROWS)} of ${found.length} slices shown`;
  };
  const compare = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null); // none comes last either way
    return direction * (typeof a === "number" ? a - b : a < b ? -1 : a > b ? 1 : 0);
  };
  const SIGNS = { pass: "✓", fail: "✕", undecided: "?", reported: "·" };
  const rowOf = (row) => {
    const made = document.createElement("tr");
    const cells = [data.metrics[row[0]].name, row[1], row[2].toLocaleString("en"), show(row[3]), show(row[4]), signed(row[5]), row[6] || "-", show(row[7], 2)];
    cells.forEach((text, at) => {
      const cell = made.insertCell();
      cell.className = at > 1 ? "number" : "text";
      cell.textContent = text === "+-" ? "-" : text;
    });
    const word = document.createElement("b");
    word.className = row[8];
    word.textContent = `${SIGNS[row[8]]} ${row[8]}`;
    made.insertCell().append(word);
    return made;
  };
  if (table) {
    search.addEventListener("input", refill);
    only.addEventListener("change", refill);
    [...table.tHead.rows[0].cells].forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        direction = column === at ? -direction : 1;
        column = at;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        refill();
      });
    });
    refill();
  }

  // -- tips: for the pointer and for the keyboard --------------------------------------------------
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);
  const tell = (event) => {
    const text = event.target.getAttribute && event.target.getAttribute("data-tip");
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const box = event.target.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(box.left + box.width / 2 + 12, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, Math.min(box.top - tip.offsetHeight - 6, innerHeight - tip.offsetHeight - 8))}px`;
  };
  for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, tell);
  document.addEventListener("focusout", () => { tip.hidden = true; });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
})();
