// Judge pages in Chromium: node judge.mjs CONFIG prints what is wrong with each of them, as JSON.
//
// CONFIG: {"browser": "/usr/bin/chromium", "pages": {NAME: "file:///..."}, "looks": [LOOK, ...], "pictures": DIR or null,
//          "rules_only": true: axe-core alone judges, without paper and keys}
// LOOK: {"media": "screen" or "print", "scheme": "light" or "dark", "width": 390, "height": 844}
// Printed: {NAME: {"looks": [{...LOOK, "rules": [], "cut": [], "faint": [], "dark": [], "closed": []}, ...],
//                  "keys": [], "fetched": [], "pdf": {"bytes", "pages", "sizes_pt"}}}
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { closed, cut, dark, faint, reachable, focused, rules } from "./looks.mjs";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const PATIENCE_MS = 120_000; // a machine may be busy
// Without these, Chromium asks its maker for updates.
const QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];

async function look(page, name, { media, scheme, width, height }) {
  await page.emulateMedia({ media, colorScheme: scheme });
  await page.setViewportSize({ width, height });
  const found = {};
  const judges = config.rules_only ? [rules] : [rules, cut, faint];
  for (const judged of media === "print" && !config.rules_only ? [...judges, dark, closed] : judges) {
    found[judged.name] = await page.evaluate(judged);
  }
  if (config.pictures) {
    await page.screenshot({ path: `${config.pictures}/${name}-${media}-${scheme}-${width}.png`, fullPage: true });
  }
  return { media, scheme, width, ...found };
}

// What the tab key does not lead to, or marks in no way when it does.
async function keys(page) {
  await page.emulateMedia({ media: "screen", colorScheme: "light" });
  const wanted = await page.evaluate(reachable);
  const problems = [];
  const reached = new Set();
  for (let press = 0; press <= wanted.length; press++) {
    await page.keyboard.press("Tab");
    const now = await page.evaluate(focused);
    if (now.number === null) break;
    reached.add(now.number);
    if (!now.marked) problems.push(`the focus does not show: ${wanted[now.number]}`);
  }
  return [...problems, ...wanted.filter((_, number) => !reached.has(number)).map((what) => `not reached: ${what}`)];
}

async function pdf(page, name) {
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  const path = config.pictures ? `${config.pictures}/${name}.pdf` : undefined;
  const bytes = await page.pdf({ preferCSSPageSize: true, printBackground: true, path });
  const text = bytes.toString("latin1");
  const sizes = [...text.matchAll(/\/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]/g)].map((one) => `${one[1]} x ${one[2]}`);
  return { bytes: bytes.length, pages: text.match(/\/Type \/Page\b/g).length, sizes_pt: [...new Set(sizes)] };
}

async function judge(browser, name, address) {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const fetched = [];
  page.on("request", (request) => { if (!/^(file|data):/.test(request.url())) fetched.push(request.url()); });
  await page.goto(address);
  await page.addScriptTag({ path: AXE });
  const all = !config.rules_only;
  const printed = all ? await pdf(page, name) : null; // before anything is opened: paper has to show it all the same
  const unreached = all ? await keys(page) : [];
  const looks = [];
  for (const one of config.looks.filter(({ media }) => media === "print")) looks.push(await look(page, name, one));
  await page.evaluate(() => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  for (const one of config.looks.filter(({ media }) => media !== "print")) looks.push(await look(page, name, one));
  await page.close();
  return { looks, keys: unreached, fetched, pdf: printed };
}

const config = JSON.parse(await readFile(process.argv[2], "utf8"));
const browser = await chromium.launch({ executablePath: config.browser, args: QUIET, timeout: PATIENCE_MS });
try {
  const found = {};
  for (const [name, address] of Object.entries(config.pages)) found[name] = await judge(browser, name, address);
  console.log(JSON.stringify(found));
} finally {
  await browser.close();
}
