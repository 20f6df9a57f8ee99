function decodeRow(text) {
  const bytes = atob(text);
  const codes = new Uint16Array(bytes.length / 2);
  for (let i = 0; i < codes.length; ++i) codes[i] = bytes.charCodeAt(2 * i) | bytes.charCodeAt(2 * i + 1) << 8;
  return codes;
}

// What all names begin with, up to a dot: labels leave it out where space is short.
function commonPrefix(names) {
  let prefix = names.length > 1 ? names[0] : "";
  for (const name of names) while (!name.startsWith(prefix)) prefix = prefix.slice(0, -1);
  return prefix.slice(0, prefix.lastIndexOf(".") + 1);
}

function heatmapLegend(map) {
  const legend = element("div", "legend");
  const ramp = element("canvas");
  ramp.width = 120;
  ramp.height = 10;
  const context = ramp.getContext("2d");
  for (let x = 0; x < ramp.width; ++x) {
    context.fillStyle = "rgb(" + scaleColour(x / (ramp.width - 1)).join() + ")";
    context.fillRect(x, 0, 1, ramp.height);
  }
  legend.append(element("span", "", show(Math.pow(10, map.low))), ramp, element("span", "", show(Math.pow(10, map.high))),
                element("span", "key zero"), element("span", "", "exactly zero"),
                element("span", "key nonfinite"), element("span", "", "NaN or infinite"),
                element("span", "key"), element("span", "", "not recorded"),
                element("span", "key mark"), element("span", "", "a finding begins"));
  return legend;
}

// The values of one row as a series that linePlot() takes.
function rowSeries(map, row) {
  const codes = decodeRow(map.rows[row]);
  const value = (code) => code === kMissing || code === kNonfinite ? null : code === kZero ? 0
    : Math.pow(10, map.low + (code - kFirst) / (kLast - kFirst) * (map.high - map.low));
  const nonfinite = [];
  codes.forEach((code, i) => { if (code === kNonfinite) nonfinite.push([i, 1]); });
  return { step: map.step, max: Array.from(codes, value), nonfinite };
}

// `open` is called with the name of a row that is clicked.
function heatmap(parent, title, map, group, open) {
  const rows = map.rows.map(decodeRow);
  const prefix = commonPrefix(map.subjects);
  const rowHeight = Math.max(2, Math.min(18, Math.floor(560 / rows.length)));
  const axisHeight = 22, top = 6;
  const box = element("div", "plot");
  const frame = element("div", "heatmap");
  const canvas = element("canvas");
  const tip = element("div", "tooltip");
  tip.hidden = true;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", title + ". Arrow keys move from cell to cell, Enter opens the layer.");
  tip.setAttribute("aria-live", "polite");
  const cursor = element("div", "cursor");
  cursor.hidden = true;
  frame.append(canvas, cursor, tip);
  box.append(element("h4", "", title), frame, heatmapLegend(map));
  parent.appendChild(box);

  let area = { x: 0, w: 1 };
  const height = rows.length * rowHeight;
  const lastStep = group.full[1];
  const toX = (step) => area.x + (step - group.window[0]) / (group.window[1] - group.window[0]) * area.w;
  const toStep = (x) => group.window[0] + (x - area.x) / area.w * (group.window[1] - group.window[0]);

  // The code of every pixel of a row: the largest of the columns that fall into it.
  function pixelColumns(width) {
    const columns = [];
    for (let x = 0; x < width; ++x) {
      const from = toStep(area.x + x), to = toStep(area.x + x + 1);
      if (to < map.step[0] || from > lastStep + 1) { columns.push(null); continue; }
      const first = columnAt(map.step, from), last = columnAt(map.step, to);
      columns.push([first, last > first && map.step[last] >= to ? last - 1 : last]);
    }
    return columns;
  }

  function paintCells(context) {
    const width = Math.max(1, Math.round(area.w));
    const image = new ImageData(width, rows.length);
    const columns = pixelColumns(width);
    const probe = (name) => {
      const digits = colour(name).slice(1);
      return [0, 2, 4].map((i) => parseInt(digits.slice(i, i + 2), 16));
    };
    const zero = probe("zero"), bad = probe("nonfinite");
    for (let y = 0; y < rows.length; ++y) {
      for (let x = 0; x < width; ++x) {
        if (!columns[x]) continue;
        let code = kMissing;
        for (let i = columns[x][0]; i <= columns[x][1]; ++i) code = Math.max(code, rows[y][i]);
        if (code === kMissing) continue;
        const rgb = code === kNonfinite ? bad : code === kZero ? zero : scaleColour((code - kFirst) / (kLast - kFirst));
        image.data.set([rgb[0], rgb[1], rgb[2], 255], 4 * (y * width + x));
      }
    }
    const small = element("canvas");
    small.width = width;
    small.height = rows.length;
    small.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, area.x, top, area.w, height);
  }

  function shortened(context, name, width) {
    if (context.measureText(name).width <= width) return name;
    const text = name.slice(prefix.length);
    if (context.measureText(text).width <= width) return text;
    // Both ends tell layers apart: the block's number and the parameter's name.
    const cut = (keep) => text.slice(0, Math.ceil(keep / 2)) + "…" + text.slice(text.length - Math.floor(keep / 2));
    let keep = Math.min(text.length, 64);
    while (keep > 2 && context.measureText(cut(keep)).width > width) --keep;
    return cut(keep);
  }

  function paintLabels(context) {
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = colour("soft");
    context.textAlign = "right";
    context.textBaseline = "middle";
    const every = Math.ceil(12 / rowHeight);
    for (let y = 0; y < rows.length; y += every)
      context.fillText(shortened(context, map.subjects[y], area.x - 10), area.x - 5, top + y * rowHeight + rowHeight / 2);
    context.textAlign = "center";
    context.textBaseline = "top";
    const span = group.window[1] - group.window[0];
    const power = Math.pow(10, Math.floor(Math.log10(span / Math.max(1, area.w / 90))));
    const unit = Math.max(1, [1, 2, 5, 10].map((f) => f * power).find((f) => span / f * 70 <= area.w) || 10 * power);
    for (let step = Math.ceil(group.window[0] / unit) * unit; step <= group.window[1]; step += unit) {
      context.fillRect(toX(step), top + height, 1, 4);
      context.fillText(String(step), toX(step), top + height + 7);
    }
  }

  function paint() {
    const width = box.clientWidth;
    if (!width) return;
    area = group.area() || { x: leftMargin(width), w: width - leftMargin(width) - kRightGap };
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round((top + height + axisHeight) * ratio);
    canvas.style.width = width + "px";
    canvas.style.height = top + height + axisHeight + "px";
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    paintCells(context);
    context.strokeStyle = colour("line");
    context.strokeRect(area.x + .5, top + .5, area.w - 1, height - 1);
    drawMarks(context, group.marks, { x: area.x, y: top, w: area.w, h: height }, toX, false);
    paintLabels(context);
  }

  function describe(code) {
    if (code === kMissing) return "not recorded";
    if (code === kZero) return "exactly zero";
    if (code === kNonfinite) return "NaN or infinite";
    return show(Math.pow(10, map.low + (code - kFirst) / (kLast - kFirst) * (map.high - map.low)));
  }

  // What a cell is, beside it.
  function explain(row, column, x, y) {
    const next = column + 1 < map.step.length ? map.step[column + 1] - 1 : lastStep;
    const steps = next > map.step[column] ? "steps " + map.step[column] + "–" + next : "step " + map.step[column];
    tip.textContent = map.subjects[row] + "\n" + steps + "\n" + describe(rows[row][column]);
    tip.hidden = false;
    tip.style.left = Math.max(0, Math.min(x + 14, box.clientWidth - tip.offsetWidth)) + "px";
    tip.style.top = y + 16 + "px";
    group.point(map.step[column]);
  }

  const at = { row: 0, column: 0 };
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -Infinity], End: [0, Infinity] };
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Enter") open(map.subjects[at.row]);
    if (event.key === "Escape") { tip.hidden = true; group.point(null); }
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    at.row = Math.min(Math.max(at.row + move[0], 0), rows.length - 1);
    at.column = Math.min(Math.max(at.column + move[1], 0), map.step.length - 1);
    explain(at.row, at.column, toX(map.step[at.column]), top + (at.row + .5) * rowHeight);
  });
  canvas.addEventListener("blur", () => { tip.hidden = true; group.point(null); });
  canvas.addEventListener("click", (event) => {
    const row = Math.floor((event.offsetY - top) / rowHeight);
    if (rows[row]) open(map.subjects[row]);
  });
  canvas.addEventListener("mousemove", (event) => {
    const row = Math.floor((event.offsetY - top) / rowHeight);
    const inside = event.offsetX >= area.x && event.offsetX <= area.x + area.w && rows[row];
    tip.hidden = !inside;
    if (!inside) { group.point(null); return; }
    explain(row, columnAt(map.step, toStep(event.offsetX)), event.offsetX, event.offsetY);
  });
  canvas.addEventListener("mouseleave", () => { tip.hidden = true; group.point(null); });
  canvas.addEventListener("dblclick", () => group.show(group.full, null));
  const point = (step) => {
    cursor.hidden = step === null || step < group.window[0] || step > group.window[1];
    if (!cursor.hidden) cursor.style.left = toX(step) + "px";
  };
  group.add({ show: paint, restyle: paint, resize: paint, point });
  paint();
}
