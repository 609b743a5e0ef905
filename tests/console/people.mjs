// Who may do what.
import { PASSWORD } from "./first.mjs";
import { Visitor, check } from "./rig.mjs";

// MSGGO-51: who is no administrator cannot make keys.
export async function member({ browser, url, storageState, api }) {
  const administrator = await Visitor.enter(browser, url, "a member", { storageState });
  let link;
  await administrator.step("somebody is invited with a link that is shown once", async (page) => {
    await administrator.open("/console/members");
    await administrator.press("Invite somebody", "link");
    await administrator.fill({ Name: "Bo", "E-mail": "bo@example.com" });
    await administrator.press("Invite");
    await administrator.heading("A link for Bo");
    link = (await page.locator(".secret code").innerText()).trim();
  });
  await administrator.leave();
  const visitor = await Visitor.enter(browser, url, "a member");
  const { page } = visitor;
  await visitor.step("they choose a password and are in", async () => {
    await page.goto(link);
    await visitor.heading("Choose a password");
    await visitor.fill({ "New password": PASSWORD });
    await visitor.press("Set the password and log in");
    await visitor.heading("Overview");
  });
  await visitor.step("the navigation has no keys, members and audit log", async () => {
    const names = await page.locator("nav [data-key]").allInnerTexts();
    for (const name of ["Keys", "Members", "Audit log"]) check(!names.map((text) => text.trim()).includes(name), `${name} is in the navigation`);
  });
  await visitor.step("keys cannot be made", async () => {
    const before = (await api.get("/keys?limit=1000")).items.length;
    visitor.mayAnswer.push(403);
    for (const path of ["/console/keys", "/console/keys/new?kind=private", "/console/members", "/console/audit"]) {
      const response = await page.goto(url + path);
      check(response.status() === 403, `${path} was answered ${response.status()}`);
      await visitor.see("For administrators");
    }
    // Nor with a form that somebody made themselves.
    const csrf = await page.locator("input[name=csrf]").first().inputValue();
    const form = { csrf, kind: "private", description: "Mine", scopes: "admin" };
    const answer = await visitor.context.request.post(`${url}/console/keys/new`, { form, headers: { origin: url }, maxRedirects: 0 });
    check(answer.status() >= 400, `the form was answered ${answer.status()}`);
    check((await api.get("/keys?limit=1000")).items.length === before, "a key was made");
  });
  await visitor.step("they log out, and back in to where they wanted to go", async () => {
    await visitor.open("/console/inbox");
    await page.getByLabel("Account of Bo").click();
    await visitor.press("Log out");
    await visitor.heading("Log in");
    await visitor.open("/console/targets");
    await visitor.fill({ "E-mail": "bo@example.com", Password: PASSWORD });
    await visitor.press("Log in");
    await visitor.heading("Targets");
  });
  await visitor.leave();
}
