// What went wrong, and sending it again.
import { SCRIPT, Visitor, check } from "./rig.mjs";

/** More than the job sends in one go, so that it is seen on its way. */
const MANY = 900;

// Progress is watched, not loaded again.
export async function replay({ browser, url, storageState, receiver, api }) {
  const visitor = await Visitor.enter(browser, url, "replay", { storageState });
  const { page } = visitor;
  await visitor.step("a receiver got many events", async () => {
    const target = await api.post("/targets", { name: "Warehouse", channel: "webhook", settings: { url: `${receiver.url}/replayed` } });
    await api.post("/subscriptions", { event_types: ["stock.changed"], target_id: target.id, format: "raw" });
    const events = Array.from({ length: MANY }, (_, n) => ({ type: "stock.changed", data: { n } }));
    for (let at = 0; at < MANY; at += 200) await api.post("/events", events.slice(at, at + 200));
    await receiver.until("/replayed", MANY);
    await visitor.open("/console/targets");
    await page.getByRole("link", { name: "Warehouse" }).click();
    await visitor.heading("Warehouse");
  });
  await visitor.step("a replay is counted before it starts", async () => {
    await visitor.open("/console/deliveries");
    await visitor.press("Replays", "link");
    await visitor.press("Send many again", "link");
    await page.getByLabel("Failed").uncheck();
    await page.getByLabel("Delivered").check();
    await page.getByLabel("Target").selectOption({ label: "Warehouse" });
    // Acknowledgements that came last may not be written yet.
    await visitor.press("Count them");
    await visitor.reloadUntil(page.getByText(`${MANY} deliveries`));
  });
  await visitor.step("its progress is watched, and it ends by itself", async () => {
    receiver.hold("/replayed");
    await visitor.press("Start");
    await visitor.heading("Replay");
    const bar = page.getByRole("progressbar");
    await page.waitForFunction(() => document.querySelector("progress")?.value > 0);
    check(Number(await bar.getAttribute("max")) === MANY, "the bar is of another length");
    receiver.release();
    await visitor.see("Done");
    await visitor.see(`${MANY} of ${MANY}`);
    await receiver.until("/replayed", 2 * MANY);
  });
  await visitor.leave();
}

// MSGGO-79: payload, time and outcome of each event. MSGGO-80: errors of deliveries are there to see. MSGGO-75: nothing in them runs.
export async function failure({ browser, url, storageState, receiver, api }) {
  const visitor = await Visitor.enter(browser, url, "a failure and its end", { storageState });
  const { page } = visitor;
  const type = `order ${SCRIPT}`;
  await visitor.step("a target is made by the form, for some types", async () => {
    await visitor.open("/console/targets/new");
    await visitor.fill({ Name: `Broken ${SCRIPT}`, URL: `${receiver.url}/broken/status/500` });
    await page.getByLabel("Let me choose event types").check();
    await visitor.fill({ "Other names and wildcards": type });
    await visitor.press("Create target");
    await visitor.heading(`Broken ${SCRIPT}`);
  });
  await visitor.step("its test shows what came back", async () => {
    await visitor.press("Test", "link");
    await visitor.press("Submit test");
    await visitor.see("500");
    await visitor.see(`taken ${SCRIPT}`);
  });
  await visitor.step("an event that fails arrives in the inbox, live", async () => {
    await visitor.open("/console/inbox");
    await page.locator(".live.on").waitFor();
    await api.publish(type, { customer: SCRIPT, [SCRIPT]: [SCRIPT] });
    const row = page.locator("#inbox tr", { hasText: "alert" }).first();
    await row.waitFor();
    await row.locator("time").waitFor();
    await row.locator("a.main-link").click();
    await visitor.heading(type);
  });
  await visitor.step("its page shows the payload, the attempt, and whose fault it was", async () => {
    await visitor.see("status 500");
    await visitor.see("the receiver's fault");
    await page.locator("details", { hasText: "Broken" }).getByText("Request and response").first().click();
    await visitor.see(`taken ${SCRIPT}`);
    await visitor.see("status_refused");
  });
  await visitor.step("it is cancelled", async () => {
    await visitor.press("Cancel");
    await visitor.see("Cancelled");
  });
  await visitor.step("the target is mended, and the delivery sent again", async () => {
    await page.locator("summary", { hasText: "Broken" }).click();
    await page.locator("details", { hasText: "Broken" }).getByRole("link", { name: "Target" }).click();
    await visitor.press("Edit", "link");
    await visitor.fill({ URL: `${receiver.url}/mended` });
    await visitor.press("Save");
    await visitor.heading(`Broken ${SCRIPT}`);
    await visitor.open("/console/inbox?state=cancelled");
    await page.locator("#inbox a.main-link").first().click();
    await visitor.press("Resend all");
    await receiver.until("/mended", 1);
    const broken = page.locator("details", { hasText: "Broken" });
    await broken.getByText("Delivered").waitFor();
    // It was open while it was failing, and stayed open if the page saw that.
    if (!(await broken.first().evaluate((details) => details.open))) await broken.locator("summary").first().click();
    await broken.getByText("Attempt 2").waitFor();
  });
  await visitor.leave();
}
