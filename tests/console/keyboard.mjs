// Without a mouse.
import { Visitor, check, same } from "./rig.mjs";

export async function keyboard({ browser, url, storageState }) {
  const visitor = await Visitor.enter(browser, url, "keyboard", { storageState });
  const { page } = visitor;
  const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
  await visitor.step("? shows the help, Escape closes it", async () => {
    await visitor.open("/console/overview");
    await press("?");
    const help = page.getByRole("dialog", { name: "Keyboard shortcuts" });
    await help.waitFor();
    await help.getByText("search", { exact: true }).waitFor();
    await press("Escape");
    await help.waitFor({ state: "hidden" });
  });
  await visitor.step("g and a letter goes everywhere that the help names", async () => {
    const places = await page.evaluate(() => [...document.querySelectorAll("nav [data-key]")].map((link) => [link.dataset.key, link.pathname]));
    const named = await page.locator("#keys dl").last().locator("kbd").allTextContents();
    same(named.filter((_, at) => at % 2).sort(), places.map(([key]) => key).sort(), "the letters of the help");
    for (const [key, path] of places) {
      await press("g", key);
      await page.waitForURL((address) => address.pathname.startsWith(path));
      await page.locator("h1").waitFor();
    }
  });
  await visitor.step("/ goes to the search, letters in a field are letters", async () => {
    await press("g", "i");
    await visitor.heading("Inbox");
    await press("/");
    await page.keyboard.type("gj?");
    const search = page.getByLabel("Text in the payload");
    check((await search.inputValue()) === "gj?", "the keys went elsewhere");
    await search.fill("Lovelace");
    await press("Enter");
    await page.waitForURL(/search=Lovelace/);
    await page.locator("#inbox tr").first().waitFor();
  });
  await visitor.step("j and k go through the rows, Enter opens one", async () => {
    const rows = page.locator("#inbox tr");
    await press("j", "j", "k");
    const first = rows.first().locator("a.main-link");
    check(await first.evaluate((link) => link === document.activeElement), "the first row has not the keyboard");
    await press("Enter");
    await page.waitForURL(/inbox\/evt_/);
  });
  await visitor.step("n makes something new", async () => {
    await visitor.open("/console/targets");
    await press("n");
    await page.waitForURL(/targets\/new/);
    check(await page.getByLabel("Name", { exact: true }).evaluate((field) => field === document.activeElement), "the first field has not the keyboard");
  });
  await visitor.step("single keys can be turned off, and on again", async () => {
    await visitor.open("/console/overview");
    const help = page.getByRole("dialog", { name: "Keyboard shortcuts" });
    const close = async () => {
      await press("Escape");
      await help.waitFor({ state: "hidden" });
    };
    await press("?");
    await help.getByLabel("In use").uncheck();
    await close();
    await press("?");
    check(!(await help.isVisible()), "the key works though it is off");
    await page.reload();
    await press("?");
    check(!(await help.isVisible()), "the choice was forgotten");
    await page.getByLabel(/^Account of/).click();
    await visitor.press("Keyboard shortcuts");
    await help.getByLabel("In use").check();
    await close();
    await press("?");
    await help.waitFor();
    await close();
  });
  await visitor.step("the first Tab offers to skip the navigation", async () => {
    await visitor.open("/console/overview");
    await press("Tab", "Enter");
    check(new URL(page.url()).hash === "#main", "it did not skip");
    check(await page.evaluate(() => document.activeElement?.id === "main"), "the page has not the keyboard");
  });
  await visitor.leave();
}
