// Every page there is: found by following the links from the navigation, looked at in both themes, on a phone and on a desk.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { SCRIPT, SHOTS, Visitor, check, say } from "./rig.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const LOOKS = [
  { theme: "light", width: 1440 },
  { theme: "light", width: 390 },
  { theme: "dark", width: 390 },
  { theme: "dark", width: 1440 },
];
/** Windows that look at pages at the same time. */
const WINDOWS = 2;

/** Pages that look alike: one of them is looked at, the others have to be there. */
const ALIKE = [/^(\/console\/reference)\/(?!publishEvents|rotateTargetSecret|listEvents).+/, /^(\/console\/webhooks\/mailgun\/id)\/(?!delivered)[^/]+(\/test)?$/];

/** What an address is an example of: ids and values are left out. */
function kind(address) {
  const isId = (part) => /^([a-z]{2,4}_[0-9a-z]{20,}(%40.*)?|[0-9a-f-]{32,36}|[a-z.]+\.example\.com)$/i.test(part);
  const path = address.pathname.split("/").map((part) => (isId(part) ? "id" : part)).join("/");
  const names = [...new Set(address.searchParams.keys())].sort().join("-");
  return names ? `${path}-by-${names}` : path;
}

/** The same page with other rows, or another of those that look alike: it must be there. */
const isVariant = (path, name) => ALIKE.some((alike) => alike.test(path)) || (/-by-/.test(name) && !/-(new|send)-by-/.test(name));

/** Rules whose findings depend on the colours or the width; the others are asked once. */
const OF_LOOKS = ["color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size"];
/** Rules that are off unless they are asked for. */
const MORE_RULES = { "target-size": { enabled: true } };

async function findings(page, isFirst) {
  if (isFirst) await page.evaluate(AXE);
  const options = { resultTypes: ["violations"], ...(isFirst ? { rules: MORE_RULES } : { runOnly: OF_LOOKS }) };
  const result = await page.evaluate((options) => globalThis.axe.run(document, options), options);
  return result.violations.map((one) => ({
    impact: one.impact,
    text: `axe: ${one.impact} ${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => `${node.target.join(" ")} (${node.any[0]?.message ?? ""})`).join("; ")}`,
  }));
}

/** Looks at the page in each way, and answers what is wrong with it. */
async function look(page, name) {
  const wrong = [];
  for (const { theme, width } of LOOKS) {
    await page.emulateMedia({ colorScheme: theme });
    await page.setViewportSize({ width, height: width < 500 ? 844 : 900 });
    await page.screenshot({ path: `${SHOTS}${name}-${theme}-${width}.png`, fullPage: true });
    if (theme === "light") {
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 1) wrong.push({ impact: "serious", text: `at ${width} px the page is ${wide} px wider than the screen` });
    }
    // Each theme once, and each width once.
    if ((theme === "light") === (width === 1440)) wrong.push(...(await findings(page, theme === "light")));
  }
  return wrong;
}

/** Makes one of each of what no journey makes, with texts that must not run. */
async function seed({ api }) {
  const long = "W".repeat(200);
  await api.post("/event-types", { name: long, group: long.slice(0, 100), description: long });
  await api.post("/targets", { name: long, channel: "webhook", settings: { url: `https://example.com/${long}` } });
  await api.post("/templates", { name: long, blocks: [{ kind: "text", text: long }] });
  await api.post("/keys", { description: long, kind: "private", scopes: ["read"] });
  await api.post("/domains", { name: "mail.example.com" });
  await api.post("/suppressions", { scope: "mail.example.com", address: "gone@example.org", reason: "bounce" });
  const bin = await api.post("/bins", { name: SCRIPT });
  const caught = await fetch(`${bin.url}/${encodeURIComponent(SCRIPT)}`, { method: "POST", headers: { "x-hostile": SCRIPT }, body: SCRIPT });
  check(caught.status === 200, `the bin answered ${caught.status}`);
  const to = ["ann@example.org", "fail@example.org"];
  await api.post("/messages", { channel: "email", from: "Shop <shop@mail.example.com>", to, subject: SCRIPT, text: SCRIPT, html: SCRIPT });
  await api.post("/messages", { channel: "sms", from: "+15550100", to: ["+15550123"], text: SCRIPT });
}

/** Looks at the page that a visitor is on: for pages that no link leads to. */
export async function lookAt(visitor, name) {
  const size = visitor.page.viewportSize();
  const bad = (await look(visitor.page, name)).filter(isBad);
  await visitor.page.setViewportSize(size);
  check(bad.length === 0, bad.map((one) => one.text).join("\n"));
}

const isBad = ({ impact }) => ["serious", "critical"].includes(impact);

async function visit(visitor, page, path, found) {
  const response = await page.goto(new URL(path, visitor.url).href);
  check(response.status() === 200, `${path} was answered ${response.status()}`);
  check((await page.locator("h1").count()) === 1, `${path} has not one heading`);
  if (await page.locator(".live").count()) await page.locator(".live:is(.on, .over)").first().waitFor();
  const links = await page.evaluate(() => [...document.querySelectorAll("a[href]")].map((link) => link.href));
  for (const link of links) found(new URL(link));
}

/** Pages for people who are not logged in. */
async function strangers({ browser, url }) {
  const visitor = await Visitor.enter(browser, url, "pages");
  const problems = [];
  for (const [path, status, name] of [["/console/login", 200, "login"], ["/console/password?token=x", 404, "password"], ["/console/nowhere", 404, "nowhere"]]) {
    visitor.mayAnswer.push(status);
    const response = await visitor.page.goto(url + path);
    check(response.status() === status, `${path} was answered ${response.status()}`);
    const wrong = await look(visitor.page, `stranger-${name}`);
    problems.push(...wrong.filter(isBad).map((one) => `${path}: ${one.text}`));
  }
  problems.push(...visitor.complaints);
  await visitor.leave();
  return problems;
}

/** All pages. */
export async function pages(world) {
  await seed(world);
  const visitor = await Visitor.enter(world.browser, world.url, "pages", { storageState: world.storageState });
  const { origin } = new URL(world.url);
  const [known, waiting, problems, elsewhere] = [new Set(), [], [], new Set()];
  const found = (address) => {
    if (address.origin !== origin) return;
    if (!address.pathname.startsWith("/console/")) return void elsewhere.add(address.pathname);
    const one = kind(address);
    if (known.has(one)) return;
    known.add(one);
    waiting.push({ path: address.pathname + address.search, kind: one, name: one.replace("/console/", "").replace(/[^a-z0-9]+/gi, "-") || "home" });
  };
  found(new URL("/console/overview", world.url));
  found(new URL("/console/start", world.url));
  let busy = 0;
  const work = async () => {
    const page = await visitor.context.newPage();
    for (;;) {
      const next = waiting.shift();
      if (!next && busy === 0) break;
      if (!next) {
        // The other window may find more links.
        await new Promise((done) => setTimeout(done, 20));
        continue;
      }
      busy += 1;
      const begun = performance.now();
      try {
        if (isVariant(next.kind, next.name)) {
          const answer = await visitor.context.request.get(new URL(next.path, visitor.url).href);
          check(answer.status() === 200, `${next.path} was answered ${answer.status()}`);
          busy -= 1;
          continue;
        }
        await visit(visitor, page, next.path, found);
        const wrong = await look(page, next.name);
        const bad = wrong.filter(isBad);
        if (bad.length) problems.push(`${next.path}:\n  ${bad.map((one) => one.text).join("\n  ")}`);
        for (const one of wrong.filter((one) => !bad.includes(one))) console.error(`${next.path}: ${one.text}`);
        say(`pages: ${next.name}`, begun);
      } catch (error) {
        problems.push(`${next.path}: ${(await visitor.failure(next.name, error)).message}`);
      }
      busy -= 1;
    }
    await page.close();
  };
  await Promise.all(Array.from({ length: WINDOWS }, work));
  for (const path of elsewhere) {
    const answer = await visitor.context.request.get(new URL(path, world.url).href);
    if (!answer.ok()) problems.push(`the link to ${path} was answered ${answer.status()}`);
  }
  problems.push(...new Set(visitor.complaints), ...(await strangers(world)));
  await visitor.leave();
  check(problems.length === 0, problems.join("\n"));
}
