// Makes the pictures of docs/console.md, from a server without members that was started for it:
//
//   POSTHASTE_URL=… POSTHASTE_SETUP_URL=… POSTHASTE_KEY=… node tests/console/pictures.mjs
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { PASSWORD } from "./first.mjs";
import { Api, Receiver, Visitor, launch } from "./rig.mjs";

const OUT = fileURLToPath(new URL("../../docs/console/", import.meta.url));
const { POSTHASTE_URL: url, POSTHASTE_SETUP_URL: setupUrl, POSTHASTE_KEY: key } = process.env;
const api = new Api(url, key);
const receiver = await Receiver.start();
const browser = await launch();
const visitor = await Visitor.enter(browser, url, "pictures", { viewport: { width: 1200, height: 750 } });
const { page } = visitor;

async function take(name, path, { theme = "light", width = 1200, height = 750, ready } = {}) {
  await page.emulateMedia({ colorScheme: theme });
  await page.setViewportSize({ width, height });
  await visitor.open(path);
  await (ready ?? page.locator("h1")).waitFor();
  if (await page.locator(".live").count()) await page.locator(".live.on").first().waitFor();
  const session = await visitor.context.newCDPSession(page);
  const { data } = await session.send("Page.captureScreenshot", { format: "webp", quality: 55 });
  writeFileSync(`${OUT}${name}.webp`, Buffer.from(data, "base64"));
}

const PEOPLE = ["Ada Lovelace", "Grace Hopper", "Alan Turing", "Mary Somerville", "Annie Easley"];
const order = (n) => ({
  id: 1000 + n,
  customer: PEOPLE[n % PEOPLE.length],
  total: 20 + ((n * 37) % 180) + 0.5,
  items: [{ name: "Fountain pen", price: 18.5 }, { name: "Notebook, dotted", price: 7.9 }],
});

await page.goto(setupUrl);
await visitor.fill({ Organisation: "Riverside Books", "Your name": "Ada", "E-mail": "ada@example.com", Password: PASSWORD });
await visitor.press("Create the administrator");
await visitor.heading("Getting started");
const types = {};
for (const [name, group] of [["order.created", "Shop/Orders"], ["order.paid", "Shop/Orders"], ["user.signed_up", "Shop"], ["backup.finished", "Operations"]]) {
  types[name] = await api.post("/event-types", { name, group });
}
const blocks = [
  { kind: "text", text: "# Order {{ data.id }}\n\n**{{ data.customer }}** paid {{ data.total }} €." },
  { kind: "table", path: "data.items", columns: [{ heading: "Item", field: "name" }, { heading: "Price", field: "price" }] },
];
const template = await api.post("/templates", { name: "Order received", blocks });
const target = (name, path) => api.post("/targets", { name, channel: "webhook", settings: { url: `${receiver.url}${path}` } });
const [warehouse, accounting, partner] = [await target("Warehouse", "/warehouse"), await target("Accounting", "/accounting"), await target("Partner shop", "/status/503")];
const subscribe = (event_types, to, more) => api.post("/subscriptions", { event_types, target_id: to.id, ...more });
await subscribe(["order.*"], warehouse);
await subscribe(["order.paid"], accounting, { template_id: template.id });
await subscribe(["order.created"], partner, { filter: { total: { $gt: 150 } } });
for (let n = 0; n < 120; n += 1) await api.publish(Object.keys(types)[(n * 7) % 4], order(n));
const paid = await api.publish("order.paid", order(42));
await receiver.until("/accounting", 31);

await take("overview", "/console/overview");
await take("inbox", "/console/inbox", { theme: "dark" });
await take("event", `/console/inbox/${paid.id}`, { ready: page.getByText("Delivered").nth(1) });
await take("add-delivery", `/console/events/${types["order.paid"].id}/delivery`);
await take("template", `/console/templates/${template.id}`);
await take("phone", "/console/targets", { width: 390, height: 750 });
await browser.close();
await receiver.stop();
