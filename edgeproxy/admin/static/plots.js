// Plots as SVG, drawn anew with each look at the figures.

import { clock, percent, sized, span } from "./words.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const LEFT = 58, RIGHT = 40, TOP = 8, BOTTOM = 22;

function shape(name, attributes, text) {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function canvas(place, about) {
  const { width, height } = place.getBoundingClientRect();
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": about });
  return { svg, width, height, show: () => place.replaceChildren(svg) };
}

// The least round number that is not below the highest: 1, 2 or 5 with zeros.
function ceiling(highest) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, highest)));
  return [1, 2, 5, 10].map((step) => step * power).find((edge) => edge >= highest);
}

function scale({ svg, width, height }, most, right) {
  for (const share of [0, 0.5, 1]) {
    const y = TOP + (1 - share) * (height - TOP - BOTTOM);
    svg.append(shape("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }));
    svg.append(shape("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, share ? sized(share * most) : "0"));
    if (right) svg.append(shape("text", { x: width - RIGHT + 8, y: y + 4 }, `${100 * share} %`));
  }
}

// Bars of two parts, what came from here upon what came from upstream.
function bars(plot, items, most, titles) {
  const { svg, width, height } = plot;
  const step = (width - LEFT - RIGHT) / items.length, room = height - TOP - BOTTOM;
  items.forEach(({ served, fetched }, place) => {
    const above = Math.min(served, fetched), here = Math.max(0, served - fetched);
    const x = LEFT + place * step, wide = Math.max(1, step - Math.min(3, step * 0.25));
    const group = shape("g", { class: "bar" });
    group.append(shape("title", {}, titles(items[place])));
    const low = height - BOTTOM - room * above / most;
    group.append(shape("rect", { class: "fill-above", x, y: low, width: wide, height: room * above / most }));
    group.append(shape("rect", { class: "fill-here", x, y: low - room * here / most, width: wide, height: room * here / most }));
    svg.append(group);
  });
  return step;
}

// As many as there will be, so that a bar is as wide on the first day as on the last.
function padded(items, count, earlier) {
  const missing = Math.max(0, count - items.length);
  const empty = { requests: 0, hits: 0, served: 0, fetched: 0 };
  return [...Array.from({ length: missing }, (_, place) => ({ ...empty, ...earlier(items[0], missing - place) })), ...items];
}

export function recent(place, known) {
  const minutes = padded(known, 120, (first, back) => ({ time: first.time - 60 * back }));
  const plot = canvas(place, "Bytes a minute from here and from upstream, and the share of hits");
  const { svg, height } = plot;
  const most = ceiling(Math.max(...minutes.map((each) => Math.max(each.served, each.fetched)), 1000));
  scale(plot, most, true);
  const step = bars(plot, minutes, most, (each) =>
    `${clock(each.time)}: ${sized(each.served)} served, ${sized(each.fetched)} from upstream, ${each.hits} of ${each.requests} hits`);
  let path = "", drawing = false;
  minutes.forEach(({ requests, hits }, index) => {
    if (requests) {
      const y = TOP + (1 - hits / requests) * (height - TOP - BOTTOM);
      path += `${drawing ? "L" : "M"}${(LEFT + (index + 0.5) * step).toFixed(1)},${y.toFixed(1)}h0.01`;
    }
    drawing = requests > 0;
  });
  svg.append(shape("path", { class: "ratio", d: path }));
  const every = Math.max(1, Math.ceil(minutes.length / 6));
  minutes.forEach(({ time }, index) => {
    if (index % every === 0) svg.append(shape("text", { x: LEFT + index * step, y: height - 5 }, clock(time)));
  });
  plot.show();
}

export function days(place, known) {
  const items = padded(known, 31, (first, back) => ({ day: new Date(Date.parse(first.day) - 86400000 * back).toISOString().slice(0, 10) }));
  const plot = canvas(place, "Bytes saved and fetched, day by day");
  const most = ceiling(Math.max(...items.map((each) => Math.max(each.served, each.fetched)), 1000));
  scale(plot, most, false);
  const step = bars(plot, items, most, (each) =>
    `${each.day}: ${sized(each.served - each.fetched)} saved of ${sized(each.served)}, ${percent(each.hits, each.requests) ?? "0"} % hits`);
  const every = Math.max(1, Math.ceil(items.length / 6));
  items.forEach(({ day }, index) => {
    if (index % every === 0) plot.svg.append(shape("text", { x: LEFT + index * step, y: plot.height - 5 }, day.slice(5)));
  });
  plot.show();
}

export function sparkline(place, seconds) {
  const plot = canvas(place, seconds.length ? `Latency, last ${span(seconds[seconds.length - 1])}` : "No latency measured yet");
  const most = Math.max(...seconds, 0.001), step = plot.width / Math.max(1, seconds.length - 1);
  const points = seconds.map((each, index) => `${(index * step).toFixed(1)},${(plot.height - 2 - (plot.height - 4) * each / most).toFixed(1)}`);
  if (points.length === 1) points.push(`${plot.width},${points[0].split(",")[1]}`);
  if (points.length) plot.svg.append(shape("path", { d: `M${points.join("L")}` }));
  plot.show();
}

// How often what was held likely was asked for: right on the diagonal is right.
export function calibration(place, points) {
  const plot = canvas(place, "What the model expected, and what came");
  const { svg, width, height } = plot;
  const x = (share) => LEFT + share * (width - LEFT - RIGHT), y = (share) => TOP + (1 - share) * (height - TOP - BOTTOM);
  for (const share of [0, 0.5, 1]) {
    svg.append(shape("line", { class: "grid", x1: x(0), x2: x(1), y1: y(share), y2: y(share) }));
    svg.append(shape("text", { x: LEFT - 8, y: y(share) + 4, "text-anchor": "end" }, `${100 * share} %`));
    svg.append(shape("text", { x: x(share), y: height - 5, "text-anchor": "middle" }, `${100 * share} %`));
  }
  svg.append(shape("line", { class: "ideal", x1: x(0), x2: x(1), y1: y(0), y2: y(1) }));
  for (const { expected, came } of points) {
    svg.append(shape("circle", { class: "dot", cx: x(expected), cy: y(came), r: 4 }));
  }
  plot.show();
}
