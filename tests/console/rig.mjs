// What every journey uses: a browser, visitors who complain of anything that must not happen, a receiver of webhooks, the API.
import { execFileSync } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { mkdirSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

/** Where pictures go; made anew by each run, and ignored by git. */
export const SHOTS = fileURLToPath(new URL("./shots/", import.meta.url));
/** How long anything may take. Generous: it is only ever reached by a failure. */
const PATIENCE = 30_000;
/** A text that would open a window if any of it ran. */
export const SCRIPT = `</script><script>alert("ran")</script><img src=x onerror=alert("ran")>"'`;

export async function launch() {
  mkdirSync(SHOTS, { recursive: true });
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium" });
}

/** One line of JSON for each thing that was proved. */
export function say(name, begun) {
  console.log(JSON.stringify({ case: name, ms: Math.round(performance.now() - begun) }));
}

export function check(is, what) {
  if (!is) throw new Error(what);
}

export function same(is, wanted, what) {
  check(JSON.stringify(is) === JSON.stringify(wanted), `${what}: ${JSON.stringify(is)} where ${JSON.stringify(wanted)} was wanted`);
}

/** Somebody with a browser window, on one journey. */
export class Visitor {
  /** `options` are those of a context of Playwright: `javaScriptEnabled`, `storageState`, `viewport`, … */
  static async enter(browser, url, journey, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...options });
    context.setDefaultTimeout(PATIENCE);
    const visitor = new Visitor(context, url, journey);
    visitor.watch();
    visitor.page = await context.newPage();
    return visitor;
  }

  constructor(context, url, journey) {
    Object.assign(this, { context, url, journey, complaints: [], mayAnswer: [422] });
  }

  // Nothing leaves the server's origin, no policy is violated, no script fails, no window opens, everything asked for is there.
  watch() {
    const { context, complaints } = this;
    const complain = (what) => complaints.push(what);
    const { origin } = new URL(this.url);
    context.on("console", (message) => {
      // Answers with an error are judged below, by what was asked for.
      const isAnswer = message.text().startsWith("Failed to load resource: the server responded");
      // htmx says so when a newer request takes the place of one under way, or the page is left; what fails has other words.
      const isAborted = /^htmx:(sendAbort|afterRequest), /.test(message.text());
      if (["error", "warning"].includes(message.type()) && !isAnswer && !isAborted) complain(`the browser says: ${message.text()} (${message.location().url})`);
    });
    context.on("weberror", (error) => complain(`a script failed: ${error.error()}`));
    context.on("dialog", async (dialog) => {
      complain(`a window opened: ${dialog.message()}`);
      await dialog.dismiss();
    });
    context.on("request", (request) => {
      const url = new URL(request.url());
      if (url.origin !== origin && url.protocol !== "data:") complain(`a request to elsewhere: ${url}`);
    });
    context.on("requestfailed", (request) => {
      const why = request.failure()?.errorText;
      // What is under way ends when a page is left.
      if (why !== "net::ERR_ABORTED") complain(`a request failed: ${request.url()}: ${why}`);
    });
    context.on("response", (response) => {
      const isPage = response.request().isNavigationRequest();
      if (response.status() >= 400 && !(isPage && this.mayAnswer.includes(response.status()))) {
        complain(`${response.request().method()} ${response.url()} was answered ${response.status()}`);
      }
    });
    return context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        console.error(`the policy ${event.effectiveDirective} was violated by ${event.blockedURI} ${event.sample}`);
      });
    });
  }

  /** A part of the journey. When it fails, the error tells which one, what was on the page, and where its picture is. */
  async step(name, act) {
    const begun = performance.now();
    try {
      await act(this.page);
      const complaints = this.complaints.splice(0);
      check(complaints.length === 0, complaints.join("\n"));
    } catch (error) {
      throw await this.failure(name, error);
    }
    say(`${this.journey}: ${name}`, begun);
  }

  async failure(name, error) {
    const picture = `${SHOTS}failed-${this.journey}-${name}`.replace(/[^a-z0-9/.-]+/gi, "-").slice(0, 200) + ".png";
    const shown = await this.page.screenshot({ path: picture, fullPage: true, timeout: 5000 }).then(() => picture, () => "none: the page is gone");
    const text = await this.page.locator("body").innerText({ timeout: 2000 }).catch(() => "");
    const complaints = this.complaints.length ? `\n${this.complaints.join("\n")}` : "";
    return new Error(
      `journey "${this.journey}", step "${name}": ${String(error.stack ?? error).replace(/\u001b\[\d+m/g, "")}${complaints}\nat ${this.page.url()}, picture: ${shown}\n` +
        `on the page:\n${text.slice(0, 2000)}`,
    );
  }

  async open(path) {
    const response = await this.page.goto(new URL(path, this.url).href);
    check(response.status() === 200, `${path} was answered ${response.status()}`);
  }

  /** Waits for a heading of the page. */
  async heading(name) {
    await this.page.getByRole("heading", { level: 1, name, exact: true }).waitFor();
  }

  /** Waits for a text in the page's main part. */
  async see(text) {
    await this.page.locator("main").getByText(text).filter({ visible: true }).first().waitFor();
  }

  async fill(fields) {
    for (const [label, text] of Object.entries(fields)) await this.page.getByLabel(label).filter({ visible: true }).first().fill(text);
  }

  /** Presses a button of the page, or follows a link. */
  async press(name, role = "button") {
    await this.page.getByRole(role, { name, exact: true }).first().click();
  }

  /** Loads the page again until something is on it: for visitors whose browser runs no script. */
  async reloadUntil(locator) {
    const until = Date.now() + PATIENCE;
    while ((await locator.count()) === 0) {
      check(Date.now() < until, `${locator} did not come`);
      await this.page.reload();
    }
  }

  /** What a button puts on the clipboard. */
  async copied(button) {
    await this.context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await button.click();
    await this.page.getByText("Copied").last().waitFor();
    return this.page.evaluate(() => navigator.clipboard.readText());
  }

  async leave() {
    await this.context.close();
  }
}

/** Takes webhooks. `/status/500` in the address is what it answers with; 200 otherwise. */
export class Receiver {
  static async start() {
    const receiver = new Receiver();
    receiver.server = createServer((request, response) => receiver.take(request, response));
    await new Promise((done) => receiver.server.listen(0, "127.0.0.1", done));
    receiver.url = `http://127.0.0.1:${receiver.server.address().port}`;
    return receiver;
  }

  seen = new Map();
  arrivals = new EventEmitter();
  held = new Map();

  async take(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    const seen = this.to(request.url);
    seen.push(Buffer.concat(parts).toString());
    this.seen.set(request.url, seen);
    this.arrivals.emit(request.url);
    await this.held.get(request.url)?.until;
    response.writeHead(Number(/\/status\/(\d+)/.exec(request.url)?.[1] ?? 200), { "content-type": "text/plain" });
    response.end(`taken ${SCRIPT}`);
  }

  /** Requests to this address wait for their answer until `release`. */
  hold(url) {
    const held = {};
    held.until = new Promise((done) => (held.release = done));
    this.held.set(url, held);
  }

  release() {
    for (const held of this.held.values()) held.release();
    this.held.clear();
  }

  /** The requests to this address. */
  to(url) {
    return this.seen.get(url) ?? [];
  }

  /** Waits until so many requests came to an address; answers them. */
  async until(url, count) {
    const signal = AbortSignal.timeout(PATIENCE);
    while (this.to(url).length < count) {
      try {
        await once(this.arrivals, url, { signal });
      } catch {
        throw new Error(`${this.to(url).length} of ${count} requests came to ${url}`);
      }
    }
    return this.to(url);
  }

  async stop() {
    this.release();
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }
}

/** The native API, as an administrator's key. */
export class Api {
  constructor(url, key) {
    Object.assign(this, { url, key });
  }

  async call(method, path, body) {
    const headers = { authorization: `Bearer ${this.key}`, "content-type": "application/json" };
    const answer = await fetch(`${this.url}/posthaste/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    check(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  get = (path) => this.call("GET", path);
  post = (path, body) => this.call("POST", path, body);
  publish = (type, data) => this.post("/events", { type, data });
}

/** Runs what a page offers to copy, as a person would. */
export function shell(line) {
  return execFileSync("bash", ["-euc", line], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}
