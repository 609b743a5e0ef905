// Forms that come too late or were refused, and a browser that may not copy: nothing that was typed is lost, and nothing is a dead end.
import { PASSWORD } from "./first.mjs";
import { lookAt } from "./pages.mjs";
import { Visitor, check, same } from "./rig.mjs";

export async function late({ browser, url, api, receiver }) {
  const visitor = await Visitor.enter(browser, url, "too late");
  const { page } = visitor;
  visitor.mayAnswer.push(401, 403, 405);
  let target;
  await visitor.step("two people change one thing", async () => {
    const made = await api.post("/members", { name: "Di", email: "di@example.com", role: "member" });
    await page.goto(made.url);
    await visitor.fill({ "New password": PASSWORD });
    await visitor.press("Set the password and log in");
    await visitor.heading("Overview");
    target = await api.post("/targets", { name: "Ours", channel: "webhook", settings: { url: "https://example.com/hook" } });
    await visitor.open(`/console/targets/${target.id}/edit`);
    await visitor.fill({ Name: "Mine" });
    await api.call("PATCH", `/targets/${target.id}`, { name: "Theirs" });
    await page.keyboard.press("Enter");
    await visitor.see("Somebody else saved this while you were at it.");
    await lookAt(visitor, "conflict");
  });
  await visitor.step("theirs is a link away, and Enter does not overwrite it", async () => {
    const [theirs] = await Promise.all([visitor.context.waitForEvent("page"), page.getByRole("link", { name: "See theirs in a new tab" }).click()]);
    same(await theirs.getByLabel("Name", { exact: true }).inputValue(), "Theirs", "the other tab");
    await theirs.close();
    await page.getByLabel("Name", { exact: true }).press("Enter");
    await visitor.see("Somebody else saved this while you were at it.");
    same((await api.get(`/targets/${target.id}`)).name, "Theirs", "what is saved");
    same(await page.getByLabel("Name", { exact: true }).inputValue(), "Mine", "what was typed");
  });
  await visitor.step("mine is saved anyway", async () => {
    await visitor.press("Save mine anyway");
    await visitor.heading("Mine");
    check(!page.url().includes("done="), `what was done is in ${page.url()}`);
  });
  await visitor.step("a form after the session's end comes back after the log-in", async () => {
    await visitor.open("/console/inbox/send");
    await visitor.fill({ Type: "order.late", "Payload (JSON)": '{\n  "note": "typed before"\n}' });
    await visitor.context.clearCookies();
    await visitor.press("Send the event");
    await visitor.see("What you typed is kept");
    await lookAt(visitor, "kept-log-in");
    await visitor.fill({ "E-mail": "di@example.com", Password: "wrong password" });
    await visitor.press("Log in");
    await visitor.see("What you typed is kept");
    await visitor.fill({ Password: PASSWORD });
    await visitor.press("Log in");
    await visitor.heading("What you typed");
    await visitor.see("typed before");
    await lookAt(visitor, "kept-form");
    await visitor.press("Send it now");
    await visitor.heading("order.late");
    await visitor.see("typed before");
  });
  await visitor.step("what was typed about a thing that was deleted meanwhile", async () => {
    const template = await api.post("/templates", { name: "Short-lived", blocks: [{ kind: "text", text: "Hello" }] });
    await visitor.open(`/console/templates/${template.id}`);
    await page.getByLabel("Name", { exact: true }).fill("Typed in vain");
    await api.call("DELETE", `/templates/${template.id}`);
    visitor.mayAnswer.push(404);
    await visitor.press("Save");
    await visitor.heading("Not found");
    await visitor.see("Typed in vain");
    await lookAt(visitor, "deleted-meanwhile");
    same(await visitor.copied(page.locator("dt:has-text('name') + dd [data-copy]").first()), "Typed in vain", "what was copied");
  });
  await visitor.step("a form is sent once, however often its button is pressed", async () => {
    const place = "/slow/to-test";
    const target = await api.post("/targets", { name: "Slow", channel: "webhook", settings: { url: receiver.url + place } });
    receiver.hold(place);
    await visitor.open(`/console/targets/${target.id}/test`);
    const button = page.getByRole("button", { name: "Submit test" });
    // All in one go: while an answer is awaited, the page is asked nothing more.
    const isBusy = await button.evaluate((button) => new Promise((done) => {
      let presses = 0;
      const pressing = setInterval(() => {
        button.click();
        presses += 1;
        if (presses < 5) return;
        clearInterval(pressing);
        done(button.getAttribute("aria-busy"));
      }, 20);
    }));
    await receiver.until(place, 1);
    same([receiver.to(place).length, isBusy], [1, "true"], "tests that were sent, and the button");
    receiver.release();
    await visitor.see("The target took it");
    same(receiver.to(place).length, 1, "tests that were sent");
    await visitor.press("Submit the test again");
    await receiver.until(place, 2);
    await visitor.see("The target took it");
  });
  await visitor.step("a form that was refused keeps its page", async () => {
    await visitor.open("/console/account");
    await visitor.fill({ "Present password": "something else", "New password": "another long password" });
    await visitor.press("Change the password");
    await visitor.see("This is not your present password.");
    check(page.url().endsWith("/console/account/password"), page.url());
    await page.getByLabel("Theme").click();
    await visitor.press("Dark");
    await visitor.heading("Account");
    same(await page.locator("html").getAttribute("data-theme"), "dark", "the theme");
    await page.goto(`${url}/console/account/password`);
    await visitor.heading("Nothing to show here");
    await lookAt(visitor, "other-method");
    await visitor.press("To the page of the form", "link");
    await visitor.heading("Account");
  });
  await visitor.leave();

  // As over plain HTTP from elsewhere, where browsers keep the clipboard from scripts.
  const plain = await Visitor.enter(browser, url, "too late");
  await plain.context.addInitScript(() => Object.defineProperty(Navigator.prototype, "clipboard", { get: () => undefined }));
  await plain.step("copying works without HTTPS", async () => {
    await plain.open("/console/login");
    await plain.fill({ "E-mail": "di@example.com", Password: PASSWORD });
    await plain.press("Log in");
    await plain.heading("Overview");
    const bin = await api.post("/bins", { name: "To copy" });
    await plain.open(`/console/bins/${bin.id}`);
    await plain.page.locator("[data-copy]").first().click();
    await plain.page.getByText("Copied").last().waitFor();
    await plain.open("/console/inbox");
    await plain.page.getByLabel("Text in the payload").focus();
    await plain.page.keyboard.press("Control+V");
    same(await plain.page.getByLabel("Text in the payload").inputValue(), bin.url, "what was copied");
  });
  await plain.step("a hidden tab gives its connections back, and takes them again", async () => {
    await plain.context.addInitScript(() => {
      globalThis.open = 0;
      globalThis.EventSource = class extends EventSource {
        constructor(...all) { super(...all); globalThis.open += 1; }
        close() { super.close(); globalThis.open -= 1; }
      };
    });
    await plain.open("/console/overview");
    await plain.page.locator(".live.on").waitFor();
    const become = (hidden) => plain.page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
      return globalThis.open;
    }, hidden);
    same([await become(true), await become(false)], [0, 1], "streams while hidden, and after that");
  });
  await plain.leave();
}
