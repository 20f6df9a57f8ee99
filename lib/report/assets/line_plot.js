// A loss whose peak would flatten everything else.
function dwarfsItself(values) {
  const sorted = values.filter((v) => v !== null).sort((a, b) => a - b);
  if (!sorted.length || sorted[0] <= 0) return false;
  return sorted[sorted.length - 1] > 1000 * sorted[Math.floor(sorted.length / 2)];
}

function spansDecades(values) {
  const positive = values.filter((v) => v > 0);
  return positive.length > 0 && positive.reduce((a, b) => Math.max(a, b)) >= 10 * positive.reduce((a, b) => Math.min(a, b));
}

// Whole decades, as many as there is room for; parts of them where there are few, even steps within one.
function decades(low, high, pixels, options, graph) {
  const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
  const every = Math.max(1, Math.ceil((to - from) / Math.max(1, pixels / 30)));
  const parts = to - from <= 2 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = Math.ceil(from / every) * every; power <= to; power += every) {
    for (const part of parts) {
      const v = Number(part + "e" + power);
      ticks.push({ v, label: show(v) });
    }
  }
  const inside = ticks.filter((tick) => tick.v >= low && tick.v <= high);
  return inside.length > 1 ? ticks : Dygraph.numericLinearTicks(low, high, pixels, options, graph);
}

function drawThreshold(context, threshold, area, y) {
  if (y < area.y || y > area.y + area.h) return;
  context.save();
  context.strokeStyle = context.fillStyle = colour("error");
  context.setLineDash([8, 4]);
  context.beginPath();
  context.moveTo(area.x, y);
  context.lineTo(area.x + area.w, y);
  context.stroke();
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "right";
  context.fillText("threshold " + show(threshold), area.x + area.w - 4, y > area.y + 14 ? y - 4 : y + 12);
  context.restore();
}

// One line over the steps. `group` links the windows of all plots of a model; `threshold`, if there is one, is drawn.
function linePlot(parent, title, series, startsLogarithmic, group, height, threshold) {
  let logscale = startsLogarithmic;
  const box = element("div", "plot");
  const heading = element("h4", "", title);
  const readout = element("span", "readout");
  const toggle = element("button", "scale");
  toggle.type = "button";
  heading.append(toggle, readout);
  const canvas = element("div");
  canvas.style.height = height + "px";
  box.append(heading, canvas);
  parent.appendChild(box);

  const nonfinite = new Map(series.nonfinite);
  const spans = [];
  for (const i of nonfinite.keys()) {
    if (spans.length && spans[spans.length - 1][1] === i - 1) spans[spans.length - 1][1] = i;
    else spans.push([i, i]);
  }
  const usable = (v) => v === null || (logscale && v <= 0) ? NaN : v;
  const makeRows = () => series.step.map((step, i) => {
    const high = usable(series.max[i]);
    const low = series.min ? usable(series.min[i]) : high;
    return [step, [Number.isNaN(low) ? high : low, high, high]];
  });
  const rows = makeRows();
  const scaleAxis = () => ({
    axisLabelWidth: leftMargin(box.clientWidth) - 8, axisLabelFormatter: (v) => show(v), pixelsPerLabel: 26,
    ticker: logscale ? decades : Dygraph.numericLinearTicks,
  });
  // Room for the threshold, where it lies beyond the values.
  const valueRange = () => {
    if (threshold === undefined || threshold === null || (logscale && threshold <= 0)) return null;
    const values = [...series.max, ...(series.min || []), threshold].map(usable).filter((v) => !Number.isNaN(v));
    const low = Math.min(...values), high = Math.max(...values);
    if (logscale) return [low / 1.3, high * 1.3];
    const gap = .08 * (high - low) || .1 * Math.abs(high) || 1;
    return [low - gap, high + gap];
  };
  const label = () => {
    toggle.textContent = logscale ? "linear axis" : "logarithmic axis";
    toggle.setAttribute("aria-label", title + ": " + toggle.textContent);
  };
  label();
  const graph = new Dygraph(canvas, rows, {
    labels: ["step", title], customBars: true, logscale, legend: "never", rightGap: kRightGap,
    strokeWidth: 1.4, colors: [colour("plot")], drawPoints: rows.length < 3, drawGapEdgePoints: true,
    dateWindow: group.window, valueRange: valueRange(), gridLineColor: colour("grid"), axisLineColor: colour("line"),
    highlightCircleSize: 3, animatedZooms: false, includeZero: title === kRateTitle, xRangePad: 0, yRangePad: 5, fillAlpha: .25,
    axes: {
      x: { axisLabelFormatter: (v) => Number.isInteger(v) ? String(v) : "", pixelsPerLabel: 70 },
      y: scaleAxis(),
    },
    highlightCallback: (event, x, points, row) => {
      const range = series.min && series.min[row] !== series.max[row] ? show(series.min[row]) + " … " : "";
      const bad = nonfinite.has(row) ? ", not finite: " + nonfinite.get(row) : "";
      readout.textContent = "step " + series.step[row] + ": " + range + show(series.max[row]) + bad;
      group.point(series.step[row]);
    },
    unhighlightCallback: () => { readout.textContent = ""; group.point(null); },
    underlayCallback: (context, area, g) => {
      context.save();
      context.fillStyle = colour("nonfinite");
      context.globalAlpha = .35;
      for (const [first, last] of spans) {
        const from = g.toDomXCoord(series.step[first]);
        const to = last + 1 < series.step.length ? g.toDomXCoord(series.step[last + 1]) : g.toDomXCoord(series.step[last]);
        context.fillRect(from - .5, area.y, Math.max(1.5, to - from), area.h);
      }
      context.restore();
      drawMarks(context, group.marks, area, (step) => g.toDomXCoord(step), true);
      if (threshold !== undefined && threshold !== null && !(logscale && threshold <= 0))
        drawThreshold(context, threshold, area, g.toDomYCoord(threshold));
    },
    drawCallback: (g, initial) => { if (!initial) group.show(g.xAxisRange(), g); },
  });
  if (![...series.max, ...(series.min || [])].some((v) => v > 0)) toggle.hidden = true;
  toggle.addEventListener("click", () => {
    logscale = !logscale;
    label();
    graph.updateOptions({ file: makeRows(), logscale, valueRange: valueRange(), axes: { y: scaleAxis() } });
  });
  const cursor = element("div", "cursor");
  cursor.hidden = true;
  canvas.style.position = "relative";
  canvas.appendChild(cursor);
  group.add({
    graph,
    point: (step) => {
      cursor.hidden = step === null || step < group.window[0] || step > group.window[1];
      if (!cursor.hidden) cursor.style.left = graph.toDomXCoord(step) + "px";
    },
    area: () => { const a = graph.getArea(); return { x: a.x, w: a.w }; },
    show: (window) => graph.updateOptions({ dateWindow: window }),
    restyle: () => graph.updateOptions({ colors: [colour("plot")], gridLineColor: colour("grid"), axisLineColor: colour("line") }),
  });
}
