// From the link that the server prints to the first delivery. The same with and without scripts in the browser.
import { Visitor, check, same, shell } from "./rig.mjs";

export const PASSWORD = "correct horse battery staple";

export async function first(browser, { url, setupUrl, receiver }, javaScriptEnabled) {
  const visitor = await Visitor.enter(browser, url, javaScriptEnabled ? "first visit" : "first visit without scripts", { javaScriptEnabled });
  const { page } = visitor;
  let line;
  await visitor.step("the set-up link makes the administrator", async () => {
    await page.goto(setupUrl);
    await visitor.heading("Set up Posthaste");
    await visitor.fill({ Organisation: "Acme & Sons", "Your name": "Ada", "E-mail": "ada@example.com", Password: "short" });
    await visitor.press("Create the administrator");
    await visitor.see("at least");
    check((await page.getByLabel("Organisation").inputValue()) === "Acme & Sons", "what was typed is gone");
    await visitor.fill({ Password: PASSWORD });
    await visitor.press("Create the administrator");
    await visitor.heading("Getting started");
  });
  await visitor.step("a key, shown once", async () => {
    await visitor.press("Create a key");
    await visitor.see("Copy it now");
    const token = await page.locator(".secret code").innerText();
    check(/^phk_\w{20,}$/.test(token.trim()), `no token: ${token}`);
    const box = page.locator(".code-box", { hasText: "curl" }).first();
    line = javaScriptEnabled ? await visitor.copied(box.getByRole("button", { name: /Copy/ })) : await box.locator("pre").innerText();
    check(line.includes(token.trim()), `the line has not the key: ${line}`);
  });
  const rows = page.locator("#inbox tr, tbody#inbox tr");
  await visitor.step("the first event is sent from the page", async () => {
    await visitor.press("Send the event");
    await rows.first().waitFor();
    await visitor.see("order.created");
  });
  await visitor.step("the copied line sends another, which is watched arriving", async () => {
    if (javaScriptEnabled) await page.locator(".live.on").waitFor();
    shell(line);
    if (javaScriptEnabled) await rows.nth(1).waitFor();
    else await visitor.reloadUntil(rows.nth(1));
  });
  if (javaScriptEnabled) {
    await visitor.step("what the page showed already and what is new come at once", async () => {
      const is = await page.evaluate(() => {
        const list = document.getElementById("inbox");
        const [shown] = list.children;
        const [again, next] = [shown.cloneNode(true), shown.cloneNode(true)];
        next.id = "e-next";
        const before = list.children.length;
        list.prepend(next, again);
        again.dispatchEvent(new Event("htmx:load", { bubbles: true }));
        const ids = [...list.children].map((row) => row.id);
        next.remove();
        return { more: ids.length - before, first: ids[0] === "e-next", once: ids.filter((id) => id === again.id).length };
      });
      same(is, { more: 1, first: true, once: 1 }, "rows");
    });
  }
  await visitor.step("the first target", async () => {
    // Without a URL it is a request bin of this server.
    if (javaScriptEnabled) await visitor.fill({ "Webhook URL": `${receiver.url}/first` });
    await visitor.press("Attach the target");
    await visitor.see("Events now go to a target");
  });
  await visitor.step("the first delivery", async () => {
    if (javaScriptEnabled) await page.locator(".live.on").waitFor();
    shell(line);
    const delivered = page.locator("main tbody tr", { hasText: "Delivered" });
    if (javaScriptEnabled) {
      const [body] = await receiver.until("/first", 1);
      check(body.includes("Ada Lovelace"), `another event came: ${body}`);
      await delivered.first().waitFor();
    } else {
      await visitor.reloadUntil(delivered);
    }
    await delivered.first().locator("a.main-link").click();
    await visitor.heading("order.created");
    await visitor.see("status 20");
    await visitor.see("Ada Lovelace");
  });
  if (!javaScriptEnabled) {
    // This server has no setting at all: its own bins are open to it all the same.
    await visitor.step("a bin of the server gets all events", async () => {
      await visitor.open("/console/bins/new");
      await visitor.fill({ Name: "Second bin" });
      await visitor.press("Make the bin");
      await visitor.heading("Second bin");
      const bin = page.url().split("?")[0];
      await visitor.press("Send all events here");
      shell(line);
      await page.goto(bin);
      await visitor.reloadUntil(page.locator("main", { hasText: "webhook-signature" }));
    });
  }
  await visitor.step("home is the overview from now on", async () => {
    await visitor.open("/console/");
    await visitor.heading("Overview");
  });
  const storageState = await visitor.context.storageState();
  await visitor.leave();
  return storageState;
}
