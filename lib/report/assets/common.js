"use strict";
// Shared by the plots. The files of this folder are one script: common.js, line_plot.js, heatmap.js, depth_plot.js,
// report.js.

const kMissing = 0, kZero = 1, kFirst = 2, kLast = 65534, kNonfinite = 65535;
const kRightGap = 12;
const kNothing = "Nothing was recorded that could be drawn.";
const kRateTitle = "Learning rate";
// Viridis at eight points; colours between them are interpolated.
const kScale = [[68, 1, 84], [70, 50, 126], [54, 92, 141], [39, 127, 142], [31, 161, 135], [74, 193, 109],
                [160, 218, 57], [253, 231, 37]];

const element = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
};
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const show = (value) => {
  if (value === null || Number.isNaN(value)) return "none";
  const rounded = Number(value.toPrecision(4));
  return Math.abs(rounded) >= 1e6 && Number.isFinite(rounded) ? rounded.toExponential() : String(rounded);
};
const leftMargin = (width) => width > 640 ? 170 : 64;

function scaleColour(share) {
  const at = Math.min(Math.max(share, 0), 1) * (kScale.length - 1);
  const i = Math.min(Math.floor(at), kScale.length - 2);
  return kScale[i].map((from, c) => Math.round(from + (kScale[i + 1][c] - from) * (at - i)));
}

// Steps are the axis, not columns: a column reaches to the next one's first step.
function columnAt(steps, step) {
  let low = 0, high = steps.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (steps[middle] <= step) low = middle; else high = middle - 1;
  }
  return low;
}

function drawMarks(context, marks, area, toX, labels) {
  context.save();
  context.setLineDash([4, 3]);
  context.font = "11px system-ui, sans-serif";
  let lastLabel = -Infinity;
  for (const mark of marks) {
    const x = Math.round(toX(mark.step)) + .5;
    if (x < area.x - 1 || x > area.x + area.w + 1) continue;
    context.strokeStyle = context.fillStyle = colour(mark.severity);
    context.globalAlpha = mark.label ? 1 : .55;
    context.beginPath();
    context.moveTo(x, area.y);
    context.lineTo(x, area.y + area.h);
    context.stroke();
    if (!labels || !mark.label || x - lastLabel < 14) continue;
    context.fillText(mark.label, x + 3, area.y + 10);
    lastLabel = x;
  }
  context.restore();
}
