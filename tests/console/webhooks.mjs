// Webhooks in a vendor's words.
import { SCRIPT, Visitor, check } from "./rig.mjs";

// MOMENTUM-109, MOMENTUM-110, MOMENTUM-113 to MOMENTUM-117, as a person does it.
export async function momentum({ browser, url, storageState, receiver }) {
  const visitor = await Visitor.enter(browser, url, "momentum webhook", { storageState });
  const { page } = visitor;
  await visitor.step("the form offers all event types, or groups of them", async () => {
    await visitor.open("/console/webhooks");
    await visitor.press("Momentum", "link");
    await visitor.press("New Webhook", "link");
    await visitor.heading("Create New Webhook");
    check(await page.getByLabel("Send all event types").isChecked(), "not all types are chosen at first");
    const bounce = page.getByLabel("Bounce", { exact: true });
    check(!(await bounce.isVisible()), "the boxes are shown before somebody chooses");
    await page.getByLabel("Let me choose event types").check();
    await bounce.waitFor();
    await page.getByLabel("Send all event types").check();
  });
  await visitor.step("a test that fails keeps the form open", async () => {
    await visitor.fill({ "Webhook Name": `Mail ${SCRIPT}`, "Target URL": `${receiver.url}/momentum/status/500` });
    await visitor.press("Create");
    await page.getByRole("alert").getByText("failed").waitFor();
    await visitor.heading("Create New Webhook");
    check((await page.getByLabel("Target URL").inputValue()).endsWith("/status/500"), "what was typed is gone");
  });
  await visitor.step("made, it is pending, with its target and events", async () => {
    await visitor.fill({ "Target URL": `${receiver.url}/momentum` });
    await visitor.press("Create");
    await visitor.heading("Webhooks");
    for (const text of ["Pending", `Mail ${SCRIPT}`, `${receiver.url}/momentum`, "Subscribed to: all events"]) await visitor.see(text);
  });
  await visitor.step("a test shows the whole request before, and the answer after", async () => {
    await page.getByRole("link", { name: `Mail ${SCRIPT}` }).click();
    await visitor.press("Test Webhook", "link");
    await visitor.see("POST /momentum HTTP/1.1");
    const before = receiver.to("/momentum").length;
    await visitor.press("Submit Test");
    await visitor.see("HTTP/1.1 200");
    await visitor.see(`taken ${SCRIPT}`);
    check(receiver.to("/momentum").length === before + 1, "the test did not arrive");
  });
  await visitor.step("it is changed", async () => {
    await visitor.press("Back", "link");
    await visitor.press("Edit Configuration", "link");
    await visitor.fill({ "Webhook Name": "Mail events" });
    await page.getByLabel("Let me choose event types").check();
    await page.getByLabel("Bounce", { exact: true }).check();
    await visitor.press("Update");
    await visitor.heading("Mail events");
    await visitor.see("Bounce");
  });
  await visitor.step("deleting asks first", async () => {
    await visitor.press("Delete Webhook", "link");
    const dialog = page.getByRole("dialog", { name: "Delete Mail events?" });
    await dialog.waitFor();
    await dialog.getByRole("button", { name: "Keep it" }).click();
    await dialog.waitFor({ state: "hidden" });
    await visitor.see("Target URL");
  });
  await visitor.leave();
}
