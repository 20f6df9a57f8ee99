function addCopyButtons() {
  for (const pre of document.querySelectorAll("pre.code")) {
    const code = pre.querySelector("code");
    const button = element("button", "copy", "Copy");
    button.type = "button";
    button.addEventListener("click", () => {
      const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
      const select = () => {
        getSelection().selectAllChildren(code);
        if (document.execCommand("copy")) done();
      };
      if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, select); else select();
    });
    pre.appendChild(button);
  }
}

// The plots of one model share their window of steps.
function makeGroup(model) {
  let low = Infinity, high = -Infinity;
  for (const plot of [model.loss, model.norm, model.rate, model.heatmap, model.activations]) {
    if (!plot || !plot.step.length) continue;
    low = Math.min(low, plot.step[0]);
    high = Math.max(high, plot.step[plot.step.length - 1]);
  }
  if (high === low) high = low + 1;
  const members = [];
  let busy = false;
  const group = {
    marks: model.marks, full: [low, high], window: [low, high],
    add: (member) => members.push(member),
    graphs: () => members.filter((m) => m.graph).map((m) => m.graph),
    area: () => { const first = members.find((m) => m.area); return first ? first.area() : null; },
    show: (range, from) => {
      if (busy || (range[0] === group.window[0] && range[1] === group.window[1])) return;
      busy = true;
      group.window = [range[0], range[1]];
      for (const member of members) if (!from || member.graph !== from) member.show(group.window);
      busy = false;
    },
    restyle: () => { busy = true; for (const member of members) member.restyle(); busy = false; },
    resize: () => { for (const member of members) if (member.resize) member.resize(); },
    point: (step) => { for (const member of members) if (member.point) member.point(step); },
  };
  return group;
}

const hasValues = (series) => series.max.some((v) => v !== null) || series.nonfinite.length > 0;

const hasRows = (map) => map.rows.length > 0 && map.step.length > 0;

// Everything recorded of one parameter or activation, in a panel of its own.
function layerPanel(box, model, group) {
  const panel = element("section", "layer");
  panel.hidden = true;
  panel.tabIndex = -1;
  box.appendChild(panel);
  const parts = [["Gradient norm", model.heatmap], ["Weight norm", model.weights],
                 ["Update over weight", model.updates], ["Activation RMS", model.activations],
                 ["Gradient over the output's", model.growth]];
  let from = null;
  const close = () => { panel.hidden = true; if (from) from.focus(); };
  panel.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
  return (name) => {
    from = document.activeElement;
    const heading = element("h3", "", name);
    const button = element("button", "", "Close");
    button.type = "button";
    button.addEventListener("click", close);
    heading.append(" ", button);
    panel.replaceChildren(heading);
    panel.hidden = false;
    for (const [title, map] of parts) {
      const row = hasRows(map) ? map.subjects.indexOf(name) : -1;
      if (row < 0) continue;
      const series = rowSeries(map, row);
      if (hasValues(series)) linePlot(panel, title, series, spansDecades(series.max), group, 120);
    }
    panel.scrollIntoView({ block: "nearest" });
    panel.focus({ preventScroll: true });
  };
}

// What the first finding is about; the plots' own window, so that it is seen as a whole.
function citeEvidence(model) {
  for (const cited of model.evidence) {
    const place = document.querySelector("#finding-" + cited.finding + " > .cited");
    if (!place || !hasValues(cited.series)) continue;
    const group = makeGroup({ marks: model.marks, loss: cited.series });
    linePlot(place, cited.title, cited.series, spansDecades(cited.series.max), group, 120, cited.threshold);
    groups.push(group);
  }
}

// The first, the middle and the last step, and where findings begin.
function chosenSteps(map, marks) {
  const last = map.step.length - 1;
  const steps = [map.step[0], map.step[last >> 1], map.step[last]];
  for (const mark of marks) if (mark.label) steps.push(mark.step);
  return [...new Set(steps)].sort((a, b) => a - b).slice(0, 6);
}

function plotModel(section, model, several) {
  const box = element("div", "model");
  section.appendChild(box);
  if (several) box.appendChild(element("h3", "", model.name || "unnamed model"));
  const group = makeGroup(model);
  if (hasValues(model.loss)) {
    const log = dwarfsItself(model.loss.max);
    linePlot(box, log ? "Loss (logarithmic)" : "Loss", model.loss, log, group, 170);
  }
  if (hasValues(model.rate)) {
    const rates = model.rate.max.filter((v) => v !== null);
    const constant = !model.rate.min && rates.every((v) => v === rates[0]);
    if (constant) box.appendChild(element("p", "constant", kRateTitle + ": " + show(rates[0]) + " throughout"));
    else linePlot(box, kRateTitle, model.rate, false, group, 110);
  }
  if (hasValues(model.norm)) {
    const log = spansDecades(model.norm.max);
    linePlot(box, "Global gradient norm" + (log ? " (logarithmic)" : ""), model.norm, log, group, 170);
  }
  const maps = element("div");
  const open = layerPanel(box, model, group);
  box.insertBefore(maps, box.lastChild);
  if (hasRows(model.heatmap)) heatmap(maps, "Gradient norm by parameter, first layer on top", model.heatmap, group, open);
  if (hasRows(model.growth)) {
    depthPlot(maps, "Jacobian growth: gradient at each activation over the output's, by depth", model.growth,
              chosenSteps(model.growth, model.marks), model.healthyGrowth, group);
    maps.appendChild(element("p", "hint", "Level is healthy; a straight slope means growth by one factor per layer."));
  }
  if (hasRows(model.updates)) heatmap(maps, "Update over weight by parameter; 0.001 is usual", model.updates, group, open);
  if (hasRows(model.activations)) heatmap(maps, "Activations, root mean square", model.activations, group, open);
  if (!box.querySelector(".plot, .constant")) box.appendChild(element("p", "", kNothing));
  return group;
}

const data = JSON.parse(document.getElementById("gradhealth-data").textContent);
const section = document.getElementById("plots");
addCopyButtons();
const groups = [];
data.plots.forEach((model) => groups.push(plotModel(section, model, data.plots.length > 1)));
data.plots.forEach(citeEvidence);
if (!groups.length) section.appendChild(element("p", "", kNothing));
if (section.querySelector(".plot"))
  section.querySelector("h2").after(element("p", "hint", "Drag to zoom, double-click to see the whole run; click a row to open its layer."));

const restyle = () => groups.forEach((group) => group.restyle());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
const themes = [["", "as the system"], ["light", "light"], ["dark", "dark"]];
const theme = document.getElementById("theme");
let chosen = 0;
theme.hidden = false;
theme.addEventListener("click", () => {
  chosen = (chosen + 1) % themes.length;
  if (themes[chosen][0]) document.documentElement.dataset.theme = themes[chosen][0];
  else delete document.documentElement.dataset.theme;
  theme.textContent = "Theme: " + themes[chosen][1];
  restyle();
});
addEventListener("resize", () => groups.forEach((group) => group.resize()));
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const each of opened) each.open = true;
});
addEventListener("afterprint", () => { for (const each of opened) each.open = false; });
addEventListener("beforeprint", () => { document.documentElement.classList.add("printing"); restyle(); });
addEventListener("afterprint", () => { document.documentElement.classList.remove("printing"); restyle(); });
