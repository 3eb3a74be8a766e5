// One synapse of figure 3, in the browser: the equations of experiments/paper/plasticity_curves.py,
// to whose numbers tests/test_synapse.py holds them. No library.
"use strict";

const synapse = (() => {
  const PHI = { scale: 1, sharpness: 1, shift: 3 };
  const GAIN = 5; // of dis-inhibition
  const EULER_STEP = 1 / 50;
  const N_EULER_STEPS = 600;

  const softplus = (v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));
  const rate = (u) => PHI.scale * softplus(PHI.sharpness * (u - PHI.shift));
  function slope(u) {
    const v = PHI.sharpness * (u - PHI.shift);
    const e = Math.exp(-Math.abs(v));
    return (PHI.scale * PHI.sharpness * (v >= 0 ? 1 : e)) / (1 + e);
  }
  function inverse(r) {
    const ratio = r / PHI.scale;
    const w = ratio > Math.LN2 ? ratio + Math.log1p(-Math.exp(-ratio)) : Math.log(Math.expm1(ratio));
    return PHI.shift + w / PHI.sharpness;
  }

  // What the synapse takes for u_I: by a line {theta, delta}, or exactly (null).
  const estimate = (r_I, line) => (line === null ? inverse(r_I) : line.theta + line.delta * r_I);

  const weightChange = (x, u_E, r_I, line) =>
    x * (rate(u_E) - estimate(r_I, line)) * slope(u_E);

  // Where the pair comes to rest, dis-inhibited towards a target rate, or not (null).
  function atRest(x, target) {
    let u_E = 0;
    let u_I = 0;
    for (let i = 0; i < N_EULER_STEPS; i++) {
      const r_E = rate(u_E);
      const c = target === null ? 0 : GAIN * (target - r_E);
      const du_E = -u_E - rate(u_I) + x;
      const du_I = -u_I + r_E - c;
      u_E += EULER_STEP * du_E;
      u_I += EULER_STEP * du_I;
    }
    return { u_E, u_I };
  }

  // Curves: for each input x the postsynaptic rate and the weight change.
  function circuit(xs, target, lines) {
    const rested = xs.map((x) => ({ x, ...atRest(x, target) }));
    return lines.map((line) => ({
      rate: rested.map(({ u_E }) => rate(u_E)),
      dw: rested.map(({ x, u_E, u_I }) => weightChange(x, u_E, rate(u_I), line)),
    }));
  }
  function isolated(xs, r_I, lines) {
    return lines.map((line) => ({
      rate: xs.map(rate),
      dw: xs.map((x) => weightChange(x, x, r_I, line)),
    }));
  }

  // Where a curve changes sign, between neighbours by a line; changes up to `negligible` have none.
  function signChanges({ rate: r, dw }, negligible = 0) {
    const kept = r.map((_, i) => i).filter((i) => Math.abs(dw[i]) > negligible);
    const found = [];
    for (let k = 1; k < kept.length; k++) {
      const [i, j] = [kept[k - 1], kept[k]];
      if (Math.sign(dw[i]) === Math.sign(dw[j])) continue;
      const part = dw[i] / (dw[i] - dw[j]);
      found.push({ rate: r[i] + part * (r[j] - r[i]), toPotentiation: dw[i] < 0 });
    }
    return found;
  }

  const range = (end, n) => Array.from({ length: n }, (_, i) => (end * i) / (n - 1));

  return { rate, slope, inverse, circuit, isolated, signChanges, range };
})();

if (typeof module !== "undefined") module.exports = synapse;

if (typeof document !== "undefined") {
  const SVG = "http://www.w3.org/2000/svg";
  const W = 340;
  const H = 250;
  const EDGE = { left: 44, right: 10, top: 10, bottom: 38 };
  const SLIDERS = [
    ["target", "target rate r_tar", 1, 5, 0.05, 4],
    ["r_I", "clamped inhibition r_I", 0.01, 4, 0.01, 1],
    ["theta", "θ", -1, 5, 0.05, 1.5],
    ["delta", "δ", 0, 3, 0.05, 1.5],
  ];
  const PRESETS = [
    ["figure 3, first fit", { theta: 1.5, delta: 1.5 }],
    ["figure 3, second fit", { theta: 0.9, delta: 1.8 }],
    ["too flat a line", { theta: 1.5, delta: 0.5 }],
    ["too high a line", { theta: 4, delta: 1 }],
  ];

  const svg = (name, attributes, parent, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const html = (name, attributes, parent, text) => {
    const node = document.createElement(name);
    Object.assign(node, attributes);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };

  // Text in which what follows "_" is lowered: r_E, r_tar.
  const SUBSCRIPT = /_([A-Za-z]+)/;
  function written(node, text, lowered) {
    text.split(SUBSCRIPT).forEach((part, i) => node.append(i % 2 ? lowered(part) : part));
    return node;
  }
  const inHtml = (node, text) => written(node, text, (part) => html("sub", {}, null, part));
  function inSvg(attributes, parent, text) {
    const node = svg("text", attributes, parent);
    text.split(SUBSCRIPT).forEach((part, i) => {
      if (i % 2) svg("tspan", { dy: 3, "font-size": "8px" }, node, part);
      else if (part) svg("tspan", i ? { dy: -3 } : {}, node, part);
    });
    return node;
  }

  // A plot that is drawn anew for each state: axes, curves, marks.
  function plot(parent, title, xLabel, yLabel, [x0, x1], [y0, y1]) {
    const figure = html("figure", { className: "synapse-plot" }, parent);
    html("figcaption", {}, figure, title);
    const root = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": title }, figure);
    const note = html("p", { className: "synapse-note" }, figure);
    note.setAttribute("aria-live", "polite");
    const X = (x) => EDGE.left + ((x - x0) / (x1 - x0)) * (W - EDGE.left - EDGE.right);
    const Y = (y) => H - EDGE.bottom - ((y - y0) / (y1 - y0)) * (H - EDGE.top - EDGE.bottom);
    const ticks = (from, to) => {
      const step = [0.5, 1, 2, 5, 10, 20].find((one) => (to - from) / one <= 6);
      const first = Math.ceil(from / step);
      const n = Math.floor(to / step) - first + 1;
      return Array.from({ length: n }, (_, i) => (first + i) * step);
    };
    const clip = `synapse-${Math.random().toString(36).slice(2)}`;
    const inside = { x: X(x0), y: Y(y1), width: X(x1) - X(x0), height: Y(y0) - Y(y1) };
    svg("rect", inside, svg("clipPath", { id: clip }, svg("defs", {}, root)));
    for (const x of ticks(x0, x1)) {
      svg("line", { x1: X(x), x2: X(x), y1: Y(y0), y2: Y(y0) + 4, class: "axis" }, root);
      svg("text", { x: X(x), y: Y(y0) + 16, class: "tick middle" }, root, String(x));
    }
    for (const y of ticks(y0, y1)) {
      svg("line", { x1: X(x0) - 4, x2: X(x0), y1: Y(y), y2: Y(y), class: "axis" }, root);
      svg("text", { x: X(x0) - 7, y: Y(y) + 4, class: "tick end" }, root, String(y).replace("-", "−"));
    }
    svg("path", { d: `M${X(x0)} ${Y(y1)}V${Y(y0)}H${X(x1)}`, class: "axis" }, root);
    if (y0 < 0) svg("path", { d: `M${X(x0)} ${Y(0)}H${X(x1)}`, class: "zero" }, root);
    inSvg({ x: (X(x0) + X(x1)) / 2, y: H - 6, class: "label middle" }, root, xLabel);
    const turned = `translate(11 ${(Y(y0) + Y(y1)) / 2}) rotate(-90)`;
    inSvg({ transform: turned, class: "label middle" }, root, yLabel);
    const curves = svg("g", { "clip-path": `url(#${clip})` }, root);
    return (drawn, marks, words) => {
      curves.replaceChildren();
      for (const [kind, xs, ys] of drawn) {
        const d = xs.map((x, i) => `${i ? "L" : "M"}${X(x).toFixed(2)} ${Y(ys[i]).toFixed(2)}`);
        svg("path", { d: d.join(""), class: `curve ${kind}` }, curves);
      }
      for (const x of marks) {
        svg("path", { d: `M${X(x)} ${Y(y0)}V${Y(y1)}`, class: "target" }, curves);
      }
      note.replaceChildren();
      inHtml(note, words);
    };
  }

  function told(curve, negligible) {
    const changes = synapse.signChanges(curve, negligible);
    if (!changes.length) return "does not change sign";
    const one = ({ rate, toPotentiation }) =>
      `${toPotentiation ? "LTD to LTP" : "LTP to LTD"} at ${rate.toFixed(2)}`;
    return changes.map(one).join(", then ");
  }

  function start(page) {
    page.replaceChildren();
    const controls = html("div", { className: "synapse-controls" }, page);
    const inputs = {};
    for (const [name, label, min, max, step, value] of SLIDERS) {
      const row = html("label", {}, controls);
      inHtml(html("span", {}, row), label);
      const input = html("input", { type: "range", min, max, step, value }, row);
      const output = html("output", {}, row, String(value));
      inputs[name] = { input, output };
      input.addEventListener("input", draw);
    }
    const buttons = html("div", { className: "synapse-presets" }, controls);
    for (const [name, values] of PRESETS) {
      const button = html("button", { type: "button", className: "btn btn-sm" }, buttons, name);
      button.addEventListener("click", () => {
        for (const [key, value] of Object.entries(values)) inputs[key].input.value = value;
        draw();
      });
    }
    const legend = html("p", { className: "synapse-legend" }, page);
    html("span", { className: "exact" }, legend, "exact inverse");
    inHtml(html("span", { className: "line" }, legend), "linear threshold θ + δ r_I");

    const plots = html("div", { className: "synapse-plots" }, page);
    const draws = {
      inverse: plot(plots, "What the synapse reads", "r_I", "û_I", [0, 6], [-1, 9]),
      controlled: plot(plots, "Under control", "r_E", "Δw", [0, 7], [-40, 70]),
      free: plot(plots, "Without control", "r_E", "Δw", [0, 7], [-10, 10]),
      isolated: plot(plots, "Isolated, inhibition clamped", "r_E", "Δw", [0, 7], [-40, 60]),
    };
    const xs = synapse.range(13, 261);
    const rates = synapse.range(6, 121).map((r) => Math.max(r, 1e-3));

    function draw() {
      const now = {};
      for (const [name, { input, output }] of Object.entries(inputs)) {
        now[name] = Number(input.value);
        output.textContent = now[name].toFixed(2);
      }
      const line = { theta: now.theta, delta: now.delta };
      const both = [null, line];
      const pair = ([exact, linear]) => [
        ["exact", exact.rate, exact.dw],
        ["line", linear.rate, linear.dw],
      ];
      draws.inverse(
        [
          ["exact", rates, rates.map(synapse.inverse)],
          ["line", rates, rates.map((r) => line.theta + line.delta * r)],
        ],
        [],
        "Without control u_I = r_E at rest: a threshold lies where the two cross.",
      );
      const controlled = synapse.circuit(xs, now.target, both);
      draws.controlled(
        pair(controlled),
        [now.target],
        `Exact: ${told(controlled[0], 1e-2)}. Line: ${told(controlled[1], 0)}.`,
      );
      const free = synapse.circuit(xs, null, both);
      draws.free(
        pair(free),
        [],
        `Exact: ${told(free[0], 1e-2)}. Line: ${told(free[1], 0)}.`,
      );
      const isolated = synapse.isolated(xs, now.r_I, both);
      draws.isolated(
        pair(isolated),
        [],
        `Exact: ${told(isolated[0], 0)}. Line: ${told(isolated[1], 0)}; ` +
          `θ + δ r_I = ${(line.theta + line.delta * now.r_I).toFixed(2)}.`,
      );
    }
    draw();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const page = document.getElementById("synapse");
    if (page) start(page);
  });
}
