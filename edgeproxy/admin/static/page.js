// The page: takes a look at the figures as they come, and draws them. Nothing is asked of any other host.

import * as plots from "./plots.js";
import { clock, count, percent, short, size, sized, span } from "./words.js";

const $ = (id) => document.getElementById(id);

// An element with text, a class, and what is in it; text is never read as HTML.
function make(name, { text, kind, title } = {}, ...inside) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  if (title) element.title = title;
  element.append(...inside);
  return element;
}

function figure(id, parts) {
  const [number, unit] = parts;
  $(id).replaceChildren(number, make("small", { text: unit }));
}

const row = (first, ...others) => make("div", { kind: "row" }, first, ...others.map((text) => make("span", { text, kind: "faint" })));

function track(share, kind = "") {
  const bar = make("div");
  bar.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  return make("div", { kind: `track ${kind}` }, bar);
}

function list(id, items, none) {
  $(id).replaceChildren(...(items.length ? items : [make("li", { text: none, kind: "none" })]));
}

function drawTiles({ saved }) {
  const today = saved.days.at(-1) ?? { requests: 0, hits: 0, served: 0, fetched: 0 };
  figure("today", size(saved.today));
  $("today-about").textContent = `${sized(today.served)} served, ${sized(today.fetched)} from upstream`;
  figure("month", size(saved.month));
  $("month-about").textContent = `that did not cross the link`;
  figure("hits", [percent(today.hits, today.requests) ?? "–", today.requests ? "%" : ""]);
  $("hits-about").textContent = `${count(today.hits)} of ${count(today.requests)} requests today`;
  figure("bytes", [percent(Math.max(0, today.served - today.fetched), today.served) ?? "–", today.served ? "%" : ""]);
  $("bytes-about").textContent = today.served ? "of what was served today" : "nothing served yet today";
}

function drawCache({ cache, repositories, others }) {
  $("fill").textContent = `${sized(cache.bytes)} of ${sized(cache.budget)}, ${count(cache.blobs)} blobs; ${sized(cache.disk_free)} free on the disk`;
  $("budget").replaceChildren(track(cache.bytes / Math.max(1, cache.budget)));
  const most = Math.max(1, ...repositories.map((each) => each.bytes));
  const items = repositories.map((each) => make("li", { title: `${each.images} images` },
    row(make("span", { text: each.name }), sized(each.bytes)), track(each.bytes / most)));
  if (others?.repositories) items.push(make("li", {}, row(make("span", { text: `${others.repositories} more`, kind: "faint" }), sized(others.bytes))));
  list("repositories", items, "Nothing yet: the first pull fills it.");
}

function drawFlights({ flights, now }, before) {
  const earlier = new Map((before?.flights ?? []).map((each) => [each.reference, each.received]));
  list("flights", flights.map((each) => {
    const name = make("span", { text: short(each.reference), title: each.reference });
    const done = each.size ? `${sized(each.received)} of ${sized(each.size)}` : sized(each.received);
    const since = earlier.has(each.reference) ? now - before.now : 0;
    const rate = since > 0 ? `${sized((each.received - earlier.get(each.reference)) / since)}/s` : "";
    return make("li", {}, row(name, done, rate), track(each.size ? each.received / each.size : 0));
  }), "Nothing is being fetched.");
}

function upstream(each, now) {
  const rests = each.rests_until && each.rests_until > now;
  const state = rests ? `rests for ${span(each.rests_until - now)}` : each.failures ? `${each.failures} failures in a row` : each.role;
  const granted = each.remaining === null ? "" : ` · ${count(each.remaining)}${each.limit ? ` of ${count(each.limit)}` : ""} requests left`;
  const spark = make("div", { kind: "spark" });
  const item = make("li", { kind: "upstream" },
    make("div", {}, make("strong", { text: each.name, title: `${each.registry}, number ${each.rank}` }),
      make("span", { text: state + granted, kind: rests || each.failures ? "warn about" : "about" })),
    spark,
    make("div", { kind: "right" }, make("strong", { text: each.latency === null ? "–" : span(each.latency) }),
      make("span", { text: each.rate === null ? "" : `${sized(each.rate)}/s`, kind: "about" })));
  return { item, spark, latencies: each.latencies };
}

function drawUpstreams({ upstreams, now }) {
  const known = upstreams.filter((each) => each.latencies.length || each.failures || each.rests_until);
  const made = known.map((each) => upstream(each, now));
  const others = upstreams.filter((each) => !known.includes(each)).map((each) => each.name);
  const quiet = make("li", { text: `not asked yet: ${others.join(", ")}`, kind: "about" });
  list("upstreams", [...made.map(({ item }) => item), ...(others.length ? [quiet] : [])], "There are none.");
  for (const { spark, latencies } of made) plots.sparkline(spark, latencies);
}

function drawEvictions({ evictions, cache, now }) {
  const left = evictions.begins_at - cache.bytes;
  $("pressure").textContent = left > 0 ? `Nothing leaves before ${sized(left)} more have come.` : "Room is being made.";
  list("evictions", evictions.next.map((each) => make("li", {},
    row(make("span", { text: short(each.name), title: each.digest }), sized(each.bytes)),
    make("p", { text: each.reason || `used ${span(Math.max(1, now - each.used))} ago`, kind: "about" }))), "Nothing may leave.");
}

function drawPrefetch({ prefetch = [] }) {
  list("prefetch", prefetch.map((each) => {
    const ended = each.done + each.failed, words = [`${ended} of ${each.images} images`];
    if (each.failed) words.push(`${each.failed} failed`);
    const share = each.size ? each.bytes / each.size : ended / Math.max(1, each.images);
    return make("li", {}, row(make("span", { text: `${each.state}, from ${clock(each.submitted)}` }), ...words, sized(each.bytes)),
      track(each.state === "done" ? 1 : share, each.failed ? "failed" : ""));
  }), "No jobs: edgeproxy prefetch IMAGE… makes one.");
}

function drawReplication({ replication }) {
  $("replicated").hidden = !replication.length;
  list("replication", replication.map((each) => make("li", {}, row(make("span", { text: each.target }),
    each.up ? "takes what is sent" : "does not answer", each.lag_seconds ? `${sized(each.lag_bytes)} behind, ${span(each.lag_seconds)}` : "up to date"))), "");
}

function drawModel({ model }) {
  $("learned").hidden = !model;
  if (!model) return;
  $("model").textContent = model.summary ?? model.state ?? "";
  $("calibration").hidden = $("calibrated").hidden = !model.calibration?.length;
  if (model.calibration?.length) plots.calibration($("calibration"), model.calibration);
  $("shadows").replaceChildren(...Object.entries(model.shadows ?? {}).flatMap(([name, share]) => [
    make("dt", { text: name, kind: name === model.governs ? "governs" : "" }), make("dd", { text: `${(100 * share).toFixed(1)} % of bytes missed` })]));
}

function drawState(status) {
  $("site").textContent = status.name;
  $("trouble").hidden = !status.trouble;
  $("trouble").textContent = status.trouble;
  say(status.trouble ? "in trouble" : status.offline ? "offline" : "live", Boolean(status.trouble));
  $("footer").textContent = `edgeproxy ${status.version}, up for ${span(Math.max(1, status.now - status.started))}`;
}

function say(word, bad) {
  $("state").textContent = word;
  $("state").className = bad ? "pill bad" : "pill";
}

let latest = null;

function draw(status, before = latest) {
  latest = status;
  for (const part of [drawState, drawTiles, drawCache, drawFlights, drawUpstreams, drawEvictions, drawPrefetch, drawReplication, drawModel]) part(status, before);
  plots.recent($("recent"), status.recent);
  plots.days($("days"), status.saved.days);
  document.documentElement.dataset.drawn = String(status.now);
}

function follow() {
  const events = new EventSource("api/v1/events");
  events.addEventListener("status", ({ data }) => draw(JSON.parse(data)));
  events.onerror = () => say("connection lost, trying again", true);
}

function theme(chosen) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.documentElement.dataset.theme = chosen ?? (dark.matches ? "dark" : "light");
  dark.onchange = () => { if (!localStorage.getItem("theme")) theme(null); };
}

theme(localStorage.getItem("theme"));
$("theme").onclick = () => {
  const other = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", other);
  theme(other);
};
addEventListener("resize", () => { if (latest) draw(latest); });
follow();
