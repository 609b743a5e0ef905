// Pictures of pages of the console: light and dark, phone and desk. Also tells what axe finds, and what the browser's console says.
//
//   node tests/console/shots.mjs URL COOKIE OUT [PATH…]
//
// URL is the server's, COOKIE the session cookie as name=value, OUT a folder. Needs playwright-core and axe-core where Node finds them
// (NODE_PATH works through createRequire), and Debian's Chromium.
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";

const require = createRequire(`${process.env.NODE_PATH ?? process.cwd()}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [url, cookie, out, ...given] = process.argv.slice(2);
const paths = given.length ? given : ["/console/start", "/console/overview", "/console/inbox", "/console/inbox/send"];
mkdirSync(out, { recursive: true });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
let found = 0;
for (const theme of ["light", "dark"]) {
  for (const width of [390, 1440]) {
    const context = await browser.newContext({ viewport: { width, height: width < 500 ? 844 : 900 }, colorScheme: theme, bypassCSP: true });
    if (cookie.includes("=")) {
      const [name, ...value] = cookie.split("=");
      await context.addCookies([{ name, value: value.join("="), url }]);
    }
    for (const path of paths) {
      const page = await context.newPage();
      page.on("console", (message) => { if (["error", "warning"].includes(message.type())) console.log(`${path} ${width}: ${message.text()}`); });
      page.on("pageerror", (error) => console.log(`${path} ${width}: ${error}`));
      await page.goto(url + path);
      await page.waitForTimeout(700);
      const name = path.replace(/^\/console\/?/, "").replace(/[^a-z0-9]+/gi, "-").slice(0, 40) || "home";
      await page.screenshot({ path: `${out}/${name}-${theme}-${width}.png`, fullPage: true });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth + 1);
      if (wide) console.log(`${path} ${width}: the page is wider than the screen`);
      await page.evaluate(axe);
      const result = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"] }));
      for (const one of result.violations) {
        found += 1;
        console.log(`${path} ${theme} ${width}: ${one.impact} ${one.id}: ${one.help}`);
        for (const node of one.nodes.slice(0, 3)) console.log(`    ${node.target.join(" ")}: ${node.failureSummary.split("\n")[1]?.trim()}`);
      }
      await page.close();
    }
    await context.close();
  }
}
await browser.close();
console.log(found ? `${found} findings of axe` : "axe found nothing");
