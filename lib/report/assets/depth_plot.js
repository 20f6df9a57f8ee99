// One quantity of all activations at a few steps, over depth: where it grows or shrinks from layer to layer.
// `healthy`: factor by which it may have grown or shrunk at the first one, spread evenly over the layers up to there.
function depthPlot(parent, title, map, steps, healthy, group) {
  const rows = map.rows.map(decodeRow);
  const valueOf = (code) => code < kFirst || code === kNonfinite ? NaN
    : map.low + (code - kFirst) / (kLast - kFirst) * (map.high - map.low);
  const lines = [...new Set(steps.map((step) => columnAt(map.step, step)))].map((column) => ({
    step: map.step[column], values: rows.map((row) => valueOf(row[column])),
  })).filter((line) => line.values.some((v) => !Number.isNaN(v)));
  if (!lines.length || rows.length < 2) return;

  const box = element("div", "plot");
  const heading = element("h4", "", title);
  const readout = element("span", "readout");
  heading.appendChild(readout);
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", title);
  const legend = element("div", "legend");
  box.append(heading, canvas, legend);
  parent.appendChild(box);

  const height = 170, top = 8, bottom = 8;
  const shade = (i) => "rgb(" + scaleColour(.1 + .75 * (lines.length > 1 ? i / (lines.length - 1) : .4)).join() + ")";
  lines.forEach((line, i) => {
    const key = element("span", "key");
    key.style.background = shade(i);
    legend.append(key, element("span", "", "step " + line.step));
  });
  const band = element("span", "key");
  band.style.background = colour("healthy");
  legend.append(band, element("span", "", "healthy"));
  const finite = lines.flatMap((line) => line.values).filter((v) => !Number.isNaN(v));
  const low = Math.floor(Math.min(...finite) - .1), high = Math.ceil(Math.max(...finite) + .1);
  let area = { x: 0, w: 1 };
  const toX = (i) => area.x + (i + .5) / rows.length * area.w;
  const toY = (v) => top + (high - v) / (high - low) * (height - top - bottom);

  function paint() {
    const width = box.clientWidth;
    if (!width) return;
    area = group.area() || { x: leftMargin(width), w: width - leftMargin(width) - kRightGap };
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = width + "px";
    canvas.style.height = height + "px";
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "right";
    context.textBaseline = "middle";
    const every = Math.max(1, Math.ceil((high - low) / 6));
    for (let power = low; power <= high; power += every) {
      context.fillStyle = colour("grid");
      context.fillRect(area.x, toY(power), area.w, 1);
      context.fillStyle = colour("soft");
      context.fillText(show(Math.pow(10, power)), area.x - 6, toY(power));
    }
    // A constant rate is a straight line here, so that the band is a triangle that opens towards the first layer.
    const edge = Math.log10(healthy);
    context.save();
    context.beginPath();
    context.rect(area.x, top, area.w, height - top - bottom);
    context.clip();
    context.beginPath();
    context.moveTo(toX(rows.length - 1), toY(0));
    context.lineTo(toX(0), toY(edge));
    context.lineTo(toX(0), toY(-edge));
    context.fillStyle = colour("healthy");
    context.globalAlpha = .14;
    context.fill();
    context.restore();
    lines.forEach((line, i) => {
      context.strokeStyle = context.fillStyle = shade(i);
      context.lineWidth = 1.6;
      context.beginPath();
      let down = false;
      line.values.forEach((v, row) => {
        if (Number.isNaN(v)) { down = false; return; }
        if (down) context.lineTo(toX(row), toY(v)); else context.moveTo(toX(row), toY(v));
        down = true;
        context.fillRect(toX(row) - 1.5, toY(v) - 1.5, 3, 3);
      });
      context.stroke();
    });
  }
  canvas.addEventListener("mousemove", (event) => {
    const row = Math.floor((event.offsetX - area.x) / area.w * rows.length);
    const known = rows[row] && lines.map((line) => Number.isNaN(line.values[row]) ? "none" : show(Math.pow(10, line.values[row])));
    readout.textContent = known ? map.subjects[row] + ": " + known.join(", ") : "";
  });
  canvas.addEventListener("mouseleave", () => { readout.textContent = ""; });
  group.add({ show: () => {}, restyle: paint, resize: paint });
  paint();
}
