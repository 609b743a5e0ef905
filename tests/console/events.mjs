// Event types and templates.
import { SCRIPT, Visitor, check } from "./rig.mjs";

// MSGGO-76, MSGGO-78: everything in one save; then edited test data takes the way of any event.
export async function delivery({ browser, url, storageState, receiver }) {
  const visitor = await Visitor.enter(browser, url, "add delivery", { storageState });
  const { page } = visitor;
  await visitor.step("an event type is made, its rule follows its name", async () => {
    await visitor.open("/console/events");
    await visitor.press("Add event", "link");
    await visitor.fill({ Name: "Order Received", Group: "Shop/Orders" });
    await page.waitForFunction(() => document.getElementById("f-rule").value.includes("order-received"));
    await visitor.press("Add event");
    await visitor.heading("Order Received");
    // What gets every event gets these too.
    await visitor.see("takes * too");
  });
  await visitor.step("target and template are made in one save", async () => {
    await visitor.press("Add delivery", "link");
    await visitor.heading("Add delivery");
    await page.getByLabel("Target", { exact: true }).selectOption({ label: "New target" });
    // What is not in sight is neither checked nor sent.
    const unseen = await page.locator("[data-when-channel][hidden]").locator("input, select, textarea").evaluateAll((all) => all.map((field) => field.disabled));
    check(unseen.length > 3 && unseen.every(Boolean), `hidden fields are asked: ${unseen}`);
    await visitor.fill({ Name: "Shop floor", "Webhook URL": `${receiver.url}/floor` });
    await page.getByLabel("Message template or format").selectOption({ label: "New message template" });
    await visitor.fill({ "Template name": "Short order", Content: "{% if x = 1 %}" });
    await visitor.press("Save");
    await page.locator("#f-template-text-error").waitFor();
    await visitor.fill({ Content: "Order {{ data.id }} of {{ data.customer }}" });
    await visitor.press("Save");
    await visitor.heading("Order Received");
    for (const text of ["Shop floor", "Short order"]) await visitor.see(text);
  });
  await visitor.step("an edited test event is delivered for real", async () => {
    await visitor.press("Send event", "link");
    const sample = page.getByLabel("Document (JSON)");
    const document = JSON.parse(await sample.inputValue());
    await sample.fill(JSON.stringify({ ...document, id: 4711, customer: SCRIPT }));
    await visitor.press("Send event");
    await visitor.see("It goes out as");
    const [body] = await receiver.until("/floor", 1);
    check(body === `Order 4711 of ${SCRIPT}`, `another message came: ${body}`);
  });
  await visitor.leave();
}

// MSGGO-75: what strangers sent is inert in the preview too.
export async function template({ browser, url, storageState, api }) {
  const visitor = await Visitor.enter(browser, url, "template", { storageState });
  const { page } = visitor;
  const preview = page.locator("#preview");
  const shows = (text) => preview.getByText(text).first().waitFor();
  await visitor.step("the preview follows what is typed, with a real event", async () => {
    await api.publish("shop.order", { id: 7, customer: SCRIPT, items: [{ name: `Pen ${SCRIPT}`, price: 2 }] });
    await visitor.open("/console/templates/new");
    await visitor.fill({ Name: "Receipt" });
    const choice = page.getByLabel("Sample").locator("option", { hasText: "shop.order" }).first();
    await page.getByLabel("Sample").selectOption(await choice.getAttribute("value"));
    await page.getByLabel("Text", { exact: true }).fill("# Receipt {{ data.id }}\n\nFor **{{ data.customer }}**");
    await shows("Receipt 7");
    await shows(SCRIPT);
    for (const channel of ["E-mail", "Slack", "Discord", "SMS and push"]) await shows(channel);
  });
  await visitor.step("what is wrong is said at its block, with the line", async () => {
    await page.getByLabel("Text", { exact: true }).fill("fine\n{% if x = 1 %}");
    await page.locator("#wrong-0").getByText("line 2").waitFor();
    await page.getByLabel("Text", { exact: true }).fill("Receipt {{ data.id }}");
    await page.locator("#wrong-0").getByText("line 2").waitFor({ state: "detached" });
  });
  await visitor.step("a table is added, moved with the keyboard and by dragging", async () => {
    await visitor.press("Table block");
    await visitor.fill({ List: "data.items", Heading: "What", Field: "name" });
    await shows(`Pen ${SCRIPT}`);
    const kinds = () => page.locator(".block strong").allTextContents();
    await page.getByRole("button", { name: "Move up: block 2" }).press("Enter");
    await page.getByText("1. Table").waitFor();
    await page.locator("[data-grip]").nth(0).dragTo(page.locator(".block").nth(1), { targetPosition: { x: 40, y: 150 } });
    await page.getByText("1. Text").waitFor();
    check((await kinds()).join() === "1. Text,2. Table", `the order is ${await kinds()}`);
  });
  await visitor.step("it is saved", async () => {
    await visitor.press("Save");
    await visitor.heading("Receipt");
    await visitor.open("/console/templates");
    await visitor.see("Receipt");
  });
  await visitor.leave();
}
