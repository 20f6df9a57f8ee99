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
  for (const plot of [model.loss, model.norm, model.rate, model.heatmap]) {
    if (!plot.step.length) continue;
    low = Math.min(low, plot.step[0]);
    high = Math.max(high, plot.step[plot.step.length - 1]);
  }
  if (high === low) high = low + 1;
  const members = [];
  let busy = false;
  const group = {
    marks: model.marks, full: [low, high], window: [low, high],
    add: (member) => members.push(member),
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
  };
  return group;
}

const hasValues = (series) => series.max.some((v) => v !== null) || series.nonfinite.length > 0;

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
  if (model.heatmap.rows.length && model.heatmap.step.length)
    heatmap(box, "Gradient norm by parameter, first layer on top", model.heatmap, group);
  if (box.childElementCount <= (several ? 1 : 0)) box.appendChild(element("p", "", kNothing));
  return group;
}

const data = JSON.parse(document.getElementById("gradhealth-data").textContent);
const section = document.getElementById("plots");
addCopyButtons();
const groups = data.plots.map((model) => plotModel(section, model, data.plots.length > 1));
if (!groups.length) section.appendChild(element("p", "", kNothing));
if (section.querySelector(".plot"))
  section.querySelector("h2").after(element("p", "hint", "Drag to zoom, double-click to see the whole run."));

const restyle = () => groups.forEach((group) => group.restyle());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
addEventListener("resize", () => groups.forEach((group) => group.resize()));
addEventListener("beforeprint", () => { document.documentElement.classList.add("printing"); restyle(); });
addEventListener("afterprint", () => { document.documentElement.classList.remove("printing"); restyle(); });
