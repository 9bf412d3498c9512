// Numbers as people read them.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

// [number, unit], of bytes; three digits are enough.
export function size(bytes) {
  let left = Math.abs(bytes), unit = 0;
  while (left >= 999.5 && unit < UNITS.length - 1) { left /= 1000; unit += 1; }
  const digits = unit === 0 || left >= 99.95 ? 0 : left >= 9.995 ? 1 : 2;
  return [`${bytes < 0 ? "−" : ""}${left.toFixed(digits)}`, UNITS[unit]];
}

export const sized = (bytes) => size(bytes).join(" ");

export const count = (number) => number.toLocaleString("en-US");

// A share as percent; `null` where there is nothing to share.
export function percent(part, whole) {
  if (!whole) return null;
  const share = 100 * part / whole;
  return share > 0 && share < 99.95 ? share.toFixed(1) : share.toFixed(0);
}

export function span(seconds) {
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  for (const [length, word] of [[86400, "day"], [3600, "hour"], [60, "min"], [1, "s"]]) {
    if (seconds >= length) {
      const whole = Math.floor(seconds / length);
      return `${whole} ${word}${word.length > 3 && whole > 1 || word === "day" && whole > 1 ? "s" : ""}`;
    }
  }
  return "";
}

export const clock = (time) => new Date(time * 1000).toTimeString().slice(0, 5);

// A reference without the middle of its digest.
export const short = (reference) => reference.replace(/(sha(?:256|512):[0-9a-f]{12})[0-9a-f]+/, "$1…");
