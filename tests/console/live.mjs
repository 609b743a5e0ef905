// Live parts: nothing comes twice, nothing is lost, and what somebody does with a part outlives its changes.
import { Visitor, check, same } from "./rig.mjs";

const TYPE = "live.tick";

/** In the page: which streams there are, and which events each of them told of. */
function listen() {
  globalThis.streams = [];
  globalThis.EventSource = class extends EventSource {
    constructor(...all) {
      super(...all);
      this.told = [];
      globalThis.streams.push(this);
      this.addEventListener("event", (event) => this.told.push(/data-cursor="([^"]+)"/.exec(event.data)[1]));
    }
  };
}

export async function live({ browser, url, storageState, api }) {
  const visitor = await Visitor.enter(browser, url, "live parts", { storageState });
  await visitor.context.addInitScript(listen);
  const { page } = visitor;
  const become = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  const isLive = () => page.locator(".live.on").waitFor();
  const rows = () => page.locator("#inbox tr").evaluateAll((all) => all.map((row) => row.dataset.cursor));
  const row = (id) => page.locator(`#inbox tr[data-cursor="${id}"]`);
  const toldLast = () => page.evaluate(() => globalThis.streams.at(-1).told);
  const publish = async () => (await api.publish(TYPE, {})).id;
  // The newest first, as the list has them.
  const all = [];
  const arrive = async (count) => {
    for (let n = 0; n < count; n += 1) all.unshift(await publish());
    await row(all[0]).waitFor();
  };

  await visitor.step("who comes back to a tab sees what came meanwhile, once", async () => {
    await visitor.open(`/console/inbox?type=${TYPE}`);
    await isLive();
    await arrive(3);
    await become(true);
    for (let n = 0; n < 2; n += 1) all.unshift(await publish());
    await become(false);
    await row(all[0]).waitFor();
    await arrive(1);
    same(await rows(), all, "rows");
    same(await toldLast(), [all[0]], "what the new stream told");
  });
  await visitor.step("Go on after Hold is no beginning anew", async () => {
    await visitor.press("Hold");
    all.unshift(await publish());
    await visitor.press("Go on");
    await row(all[0]).waitFor();
    await arrive(1);
    same(await rows(), all, "rows");
    same(await toldLast(), [all[0]], "what the new stream told");
  });
  await visitor.step("j goes on from the row that it was at", async () => {
    const before = await rows();
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await arrive(1);
    await page.keyboard.press("j");
    const at = await page.locator("#inbox tr.at").evaluateAll((marked) => marked.map((one) => one.dataset.cursor));
    same(at, [before[2]], "the rows that are marked");
  });
  await visitor.step("what leaves the list is on the next page", async () => {
    await page.getByText(`${all.length} events in all`).waitFor();
    await api.post("/events", Array.from({ length: 60 }, () => ({ type: TYPE, data: {} })));
    const ids = (await api.get(`/events?type=${TYPE}&limit=100`)).items.map((event) => event.id);
    await row(ids[0]).waitFor();
    await page.getByText("50 events on this page").waitFor();
    same(await rows(), ids.slice(0, 50), "rows");
    await visitor.press("Next page", "link");
    await page.getByRole("link", { name: "First page" }).waitFor();
    same(await rows(), ids.slice(50), "rows of the next page");
  });
  await visitor.step("what is open stays open, whatever comes before it", async () => {
    const bin = await api.post("/bins", { name: "Folds" });
    const send = async () => check((await fetch(bin.url, { method: "POST", body: "{}" })).ok, "the bin took nothing");
    await send();
    await send();
    await visitor.open(`/console/bins/${bin.id}`);
    await isLive();
    const summary = (number) => page.locator("details.fold > summary", { hasText: `#${number} ` });
    await summary(2).click();
    await summary(1).click();
    await send();
    await summary(3).waitFor();
    same(await page.locator("details.fold").evaluateAll((folds) => folds.map((fold) => fold.open)), [true, false, true], "open, from #3 to #1");
    check(await summary(1).evaluate((one) => one === document.activeElement), "the keyboard is elsewhere");
    await api.call("DELETE", `/bins/${bin.id}`);
    await visitor.see("This was deleted.");
    await page.locator(".live.over", { hasText: "Gone" }).waitFor();
    same(await page.evaluate(() => globalThis.streams.map((one) => one.readyState)), [2], "streams, which are closed for good");
  });
  await visitor.step("a part that is final has no stream, and is looked at again when somebody comes back", async () => {
    const event = (await api.post("/events", { type: TYPE, data: {} })).id;
    await visitor.open(`/console/inbox/${event}`);
    await page.locator(".live.over", { hasText: "Final" }).waitFor();
    const states = () => page.evaluate(() => globalThis.streams.map((one) => one.readyState));
    same(await states(), [2], "streams");
    await become(true);
    await become(false);
    await page.waitForFunction(() => globalThis.streams.length === 2 && globalThis.streams[1].readyState === EventSource.CLOSED);
  });
  await visitor.step("a notice is said when its words change, not with each part", async () => {
    const target = await api.post("/targets", { name: "Quiet", channel: "webhook", settings: { url: "https://example.com/hook" } });
    await api.post("/subscriptions", { event_types: ["live.quiet"], target_id: target.id });
    await visitor.open(`/console/targets/${target.id}`);
    await isLive();
    await api.post(`/targets/${target.id}/pause`, {});
    await page.locator("#news", { hasText: "This target is paused" }).waitFor({ state: "attached" });
    await visitor.press("Resume");
    await visitor.see("Resumed");
    await isLive();
    await api.post(`/targets/${target.id}/pause`, {});
    await page.locator("#news", { hasText: "This target is paused" }).waitFor({ state: "attached" });
    await page.evaluate(() => {
      globalThis.said = [];
      const news = document.getElementById("news");
      new MutationObserver(() => globalThis.said.push(news.textContent)).observe(news, { childList: true, characterData: true, subtree: true });
    });
    await api.publish("live.quiet", {});
    await page.locator("main tbody tr", { hasText: "Held" }).waitFor();
    same(await page.evaluate(() => globalThis.said), [], "what was said again");
  });
  await visitor.leave();
}
