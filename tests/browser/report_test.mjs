// The pages of FOLDER in Chromium: node report_test.mjs FOLDER. Screenshots are left beside them.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { HtmlValidate } from "html-validate";
import puppeteer from "puppeteer-core";

const folder = resolve(process.argv[2]);
const pages = readdirSync(folder).filter((name) => name.endsWith(".html")).sort();
const profile = mkdtempSync(join(tmpdir(), "gradhealth-browser-"));
const browser = await puppeteer.launch({
  executablePath: "/usr/bin/chromium",
  userDataDir: profile,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"],
});

// A page with what went wrong in it: errors, requests and dialogs.
async function open(name, { scripts = true, width = 1200, scheme = "light" } = {}) {
  const page = await browser.newPage();
  const wrong = [];
  await page.setViewport({ width, height: 900 });
  await page.setJavaScriptEnabled(scripts);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  page.on("console", (message) => { if (message.type() === "error") wrong.push(message.text()); });
  page.on("pageerror", (error) => wrong.push(error.message));
  page.on("dialog", (dialog) => { wrong.push("dialog: " + dialog.message()); dialog.dismiss(); });
  const url = pathToFileURL(join(folder, name)).href;
  page.on("request", (request) => { if (request.url() !== url) wrong.push("request: " + request.url()); });
  await page.goto(url, { waitUntil: "load" });
  page.done = async () => { assert.deepEqual(wrong, [], name); await page.close(); };
  return page;
}

// Different colours of a canvas: one that is not drawn has one.
const coloursOf = (page, selector) => page.$eval(selector, (canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const colours = new Set();
  for (let i = 0; i < data.length; i += 4) colours.add(data[i] << 24 | data[i + 1] << 16 | data[i + 2] << 8 | data[i + 3]);
  return colours.size;
});
const windowOf = (page) => page.evaluate(() => groups.map((group) => [...group.window]));

let failed = 0, count = 0;
async function test(name, body) {
  ++count;
  try {
    await body();
    console.log("passed: " + name);
  } catch (error) {
    ++failed;
    console.log("FAILED: " + name + "\n" + error.stack);
  }
}

for (const name of pages) {
  await test(name + " makes no error, request or dialog, in either colour scheme and on a narrow screen", async () => {
    for (const options of [{}, { scheme: "dark" }, { width: 400 }]) {
      const page = await open(name, options);
      const kind = options.scheme || (options.width ? "narrow" : "light");
      await page.screenshot({ path: join(folder, name.replace(".html", "-" + kind + ".png")), fullPage: true });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, kind + " overflows by " + overflow);
      await page.done();
    }
  });
}

await test("pages are valid HTML", async () => {
  const validator = new HtmlValidate({
    extends: ["html-validate:standard"],
    // Matters of taste, and what a single file needs.
    rules: { "no-inline-style": "off", "long-title": "off", "require-sri": "off", "no-trailing-whitespace": "off",
             "void-style": "off", "doctype-style": "off", "no-raw-characters": "off" },
  });
  for (const name of pages) {
    if (name.startsWith("large")) continue;  // The same page with more numbers.
    const report = await validator.validateString(readFileSync(join(folder, name), "utf8"));
    const messages = report.results.flatMap((r) => r.messages).map((m) => `${name}:${m.line} ${m.ruleId} ${m.message}`);
    assert.deepEqual(messages, []);
  }
  const broken = await validator.validateString("<!DOCTYPE html><p><div></p>");
  assert.ok(!broken.valid, "the validator takes anything");
});

await test("all plots are drawn", async () => {
  const page = await open("unhealthy.html");
  assert.equal(await page.$$eval(".heatmap canvas", (all) => all.length), 3);
  for (const selector of [".heatmap canvas", "canvas[aria-label^='Jacobian growth']", ".cited canvas"])
    assert.ok(await coloursOf(page, selector) > 4, selector);
  const growth = await page.$eval("canvas[aria-label^='Jacobian growth']", (c) => c.closest(".plot").textContent);
  assert.match(growth, /healthy/);
  const titles = await page.$$eval(".plot h4", (all) => all.map((h) => h.firstChild.textContent));
  for (const title of ["Loss", "Learning rate", "Global gradient norm (logarithmic)", "Activations, root mean square"])
    assert.ok(titles.includes(title), title + " in " + titles);
  assert.match(await page.$eval("#finding-1 .cited h4", (h) => h.textContent), /Gradient norm of conv1\.bias/);
  await page.done();
});

await test("the input's histogram is drawn beside its table, without scripts, in both colour schemes, and is told", async () => {
  for (const options of [{}, { scripts: false, scheme: "dark" }, { width: 400 }]) {
    const page = await open("unhealthy.html", options);
    const drawn = await page.$eval(".inputs .histogram svg", (svg) => {
      const inside = svg.getBoundingClientRect();
      const bars = [...svg.querySelectorAll(".bar")].map((bar) => bar.getBoundingClientRect());
      const style = (selector) => getComputedStyle(svg.querySelector(selector));
      return { bars: bars.length, least: Math.min(...bars.map((bar) => Math.min(bar.width, bar.height))),
               highest: bars.every((bar) => bar.height <= bars[0].height),
               within: bars.every((bar) => bar.left >= inside.left && bar.right <= inside.right + 0.5 &&
                                           bar.top >= inside.top && bar.bottom <= inside.bottom),
               fill: style(".bar").fill, line: style(".outline").stroke, role: svg.getAttribute("role"),
               told: svg.getAttribute("aria-label"), text: svg.textContent };
    });
    assert.equal(drawn.bars, 32);
    assert.ok(drawn.least > 0.5 && drawn.highest && drawn.within, JSON.stringify(drawn));
    assert.equal(drawn.fill, options.scheme ? "rgb(130, 180, 255)" : "rgb(31, 95, 191)");
    assert.equal(drawn.line, options.scheme ? "rgb(230, 233, 237)" : "rgb(27, 31, 36)");
    assert.equal(drawn.role, "img");
    assert.match(drawn.told, /^channel 0: step 0 from 0 to 255, 50 % of the values from 0 to 7\.969; step 599 /);
    assert.match(drawn.text, /255/);
    await page.done();
  }
  const before = await open("healthy.html");
  assert.equal(await before.$$eval(".histogram", (all) => all.length), 0);
  await before.done();
});

await test("zooming one plot zooms all, double click shows the whole run", async () => {
  const page = await open("unhealthy.html");
  const [before] = await windowOf(page);
  const plot = await page.$("#plots .plot canvas:last-of-type");
  await plot.scrollIntoView();
  const box = await plot.boundingBox();
  await page.mouse.move(box.x + 0.4 * box.width, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + 0.6 * box.width, box.y + 40, { steps: 5 });
  await page.mouse.up();
  const [zoomed] = await windowOf(page);
  assert.ok(zoomed[1] - zoomed[0] < 0.5 * (before[1] - before[0]), zoomed + " of " + before);
  const shown = await page.evaluate(() => {
    const windows = [];
    groups[0].show([100, 200], null);
    for (const graph of groups[0].graphs()) windows.push(graph.xAxisRange());
    return windows;
  });
  assert.ok(shown.length >= 3);
  for (const window of shown) assert.deepEqual(window, [100, 200]);
  await page.evaluate(() => document.querySelector(".heatmap canvas").dispatchEvent(new MouseEvent("dblclick")));
  assert.deepEqual((await windowOf(page))[0], before);
  await page.done();
});

await test("the crosshair stands at one step in all plots", async () => {
  const page = await open("unhealthy.html");
  const map = await page.$(".heatmap canvas");
  await map.scrollIntoView();
  const box = await map.boundingBox();
  await page.mouse.move(box.x + 0.5 * box.width, box.y + 30);
  const cursors = await page.$$eval("#plots .cursor", (all) => all.filter((each) => !each.hidden).length);
  assert.ok(cursors >= 6, cursors + " cursors");
  await page.mouse.move(5, 5);
  assert.equal(await page.$$eval("#plots .cursor", (all) => all.filter((each) => !each.hidden).length), 0);
  await page.done();
});

await test("a click on a row opens its layer, Escape closes it", async () => {
  const page = await open("unhealthy.html");
  const map = await page.$(".heatmap canvas");
  await map.scrollIntoView();
  const box = await map.boundingBox();
  await page.mouse.click(box.x + 0.5 * box.width, box.y + 6 + 9);
  assert.equal(await page.$eval(".layer h3", (h) => h.firstChild.textContent), "conv1.weight");
  const titles = await page.$$eval(".layer h4", (all) => all.map((h) => h.firstChild.textContent));
  assert.deepEqual(titles, ["Gradient norm", "Weight norm", "Update over weight"]);
  await page.keyboard.press("Escape");
  assert.ok(await page.$eval(".layer", (panel) => panel.hidden));
  await page.done();
});

await test("the heatmap is worked by the keyboard", async () => {
  const page = await open("unhealthy.html");
  await page.focus(".heatmap canvas");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("End");
  const tip = await page.$eval(".heatmap .tooltip", (t) => t.hidden ? "" : t.textContent);
  assert.match(tip, /^conv1\.bias\nstep 599/);
  await page.keyboard.press("ArrowUp");
  assert.match(await page.$eval(".heatmap .tooltip", (t) => t.textContent), /exactly zero/);
  await page.keyboard.press("Enter");
  assert.equal(await page.$eval(".layer h3", (h) => h.firstChild.textContent), "conv1.weight");
  await page.done();
});

await test("axes change between linear and logarithmic", async () => {
  const page = await open("unhealthy.html");
  const before = await page.$eval("#plots .scale:not([hidden])", (b) => b.textContent);
  await page.evaluate(() => document.querySelector("#plots .scale:not([hidden])").click());
  assert.notEqual(await page.$eval("#plots .scale:not([hidden])", (b) => b.textContent), before);
  await page.done();
});

await test("code is copied", async () => {
  const page = await open("unhealthy.html");
  await browser.defaultBrowserContext().overridePermissions(page.url(), ["clipboard-read", "clipboard-write"]).catch(() => {});
  await page.bringToFront();
  await page.click("#finding-1 .copy");
  await page.waitForFunction(() => document.querySelector("#finding-1 .copy").textContent === "Copied", { timeout: 5000 });
  await page.done();
});

await test("dark mode follows the system and the button", async () => {
  const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await open("unhealthy.html", { scheme: "dark" });
  assert.equal(await background(dark), "rgb(20, 23, 27)");
  await dark.click("#theme");
  assert.equal(await background(dark), "rgb(255, 255, 255)");
  await dark.done();
  const light = await open("unhealthy.html");
  await light.click("#theme");
  await light.click("#theme");
  assert.equal(await background(light), "rgb(20, 23, 27)");
  await light.done();
});

await test("findings are read without scripts", async () => {
  const page = await open("unhealthy.html", { scripts: false });
  const text = await page.$eval("body", (body) => body.innerText);
  assert.match(text, /Input is not normalised/);
  assert.match(text, /Normalise the input with this run's mean/);
  assert.match(text, /need JavaScript/);
  await page.done();
});

await test("paper shows what is folded", async () => {
  const page = await open("unhealthy.html");
  await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  assert.equal(await page.$$eval("details:not([open])", (all) => all.length), 0);
  await page.evaluate(() => dispatchEvent(new Event("afterprint")));
  assert.ok(await page.$$eval("details:not([open])", (all) => all.length) > 0);
  assert.ok((await page.pdf()).length > 10000);
  await page.done();
});

await test("hostile names are text", async () => {
  const page = await open("hostile.html");
  assert.equal(await page.evaluate(() => window.broken), undefined);
  assert.equal(await page.$$eval("img", (all) => all.length), 0);
  assert.match(await page.$eval("body", (body) => body.innerText), /<script>window\.broken/);
  await page.done();
});

await test("suppressed findings are told with their reasons", async () => {
  const page = await open("suppressed.html");
  assert.match(await page.$eval("#suppressed", (section) => section.innerText), /plateaued-loss/);
  await page.done();
});

await test("a report of 200 layers and 5,000 steps is below 2 MB", async () => {
  const size = readFileSync(join(folder, "large.html")).length;
  const page = await open("large.html");
  await page.bringToFront();
  const times = await page.evaluate(async () => {
    await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    return { paint: paint ? paint.startTime : performance.now(), drawn: performance.now() };
  });
  console.log(`large.html: ${size} bytes, first paint after ${Math.round(times.paint)} ms, plots drawn by ` +
              `${Math.round(times.drawn)} ms`);
  assert.ok(size < 2e6, size + " bytes");
  await page.done();
});

await browser.close();
rmSync(profile, { recursive: true, force: true });
console.log(`${count - failed} of ${count} passed`);
process.exit(failed ? 1 : 0);
