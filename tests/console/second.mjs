// The second step at log-in: an authenticator app is set up, asked for, and turned off.
import { createHmac } from "node:crypto";
import { PASSWORD } from "./first.mjs";
import { lookAt } from "./pages.mjs";
import { Visitor, check, same } from "./rig.mjs";

const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const STEP_MS = 30_000;

/** The code that an app would show (RFC 6238): of this moment, or of some steps beside it. */
function codeOf(secret, steps) {
  const bits = [...secret].map((letter) => BASE32.indexOf(letter).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / STEP_MS) + steps));
  const hash = createHmac("sha1", key).update(counter).digest();
  const number = hash.readUInt32BE(hash[19] & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, "0");
}

export async function secondStep({ browser, url, api }) {
  const visitor = await Visitor.enter(browser, url, "second step");
  const { page } = visitor;
  let secret, recovery;
  const logIn = async () => {
    await visitor.open("/console/login");
    await visitor.fill({ "E-mail": "cy@example.com", Password: PASSWORD });
    await visitor.press("Log in");
  };
  const type = (code) => page.getByRole("textbox", { name: "Code" }).fill(code);
  const logOut = async () => {
    await page.getByLabel("Account of Cy").click();
    await visitor.press("Log out");
    await visitor.heading("Log in");
  };
  await visitor.step("somebody new comes in by a link", async () => {
    const made = await api.post("/members", { name: "Cy", email: "cy@example.com", role: "member" });
    await page.goto(made.url);
    await visitor.fill({ "New password": PASSWORD });
    await visitor.press("Set the password and log in");
    await visitor.heading("Overview");
  });
  await visitor.step("a wrong code changes nothing, and the drawing stays", async () => {
    await visitor.open("/console/account");
    const form = page.locator("form", { hasText: "Set up an authenticator app" });
    await form.getByLabel("Present password").fill(PASSWORD);
    await visitor.press("Set up an authenticator app");
    await visitor.heading("Set up an authenticator app");
    secret = (await page.locator(".code-box pre").first().innerText()).replace(/\s/g, "");
    check(/^[A-Z2-7]{32}$/.test(secret), `no secret: ${secret}`);
    const drawing = await page.locator("svg.qr path").last().getAttribute("d");
    await lookAt(visitor, "second-step-set-up");
    await type("000000");
    await visitor.press("Turn it on");
    await visitor.see("The code is wrong");
    same(await page.locator("svg.qr path").last().getAttribute("d"), drawing, "the drawing");
  });
  await visitor.step("the right code turns it on, with recovery codes that are shown once", async () => {
    // Of the step before, so that the one of now is still good for the log-in.
    await type(codeOf(secret, -1));
    await visitor.press("Turn it on");
    await visitor.heading("Recovery codes");
    recovery = (await page.locator(".code-box pre").first().innerText()).trim().split(/\s+/);
    same(recovery.length, 10, "recovery codes");
    await lookAt(visitor, "second-step-recovery");
    await visitor.press("I have kept them", "link");
    await visitor.heading("Account");
    await visitor.see("Log-in asks for a code");
    await lookAt(visitor, "second-step-account");
  });
  await visitor.step("the log-in asks for a code, which works once", async () => {
    await logOut();
    await logIn();
    await visitor.heading("Second step");
    await lookAt(visitor, "second-step-code");
    const code = codeOf(secret, 0);
    await type(code);
    await visitor.press("Log in");
    await visitor.heading("Overview");
    await logOut();
    await logIn();
    await type(code);
    await visitor.press("Log in");
    await visitor.heading("Second step");
    await page.getByRole("alert").first().waitFor();
  });
  await visitor.step("a recovery code stands in for it", async () => {
    await type(recovery[4]);
    await visitor.press("Log in");
    await visitor.heading("Overview");
  });
  await visitor.step("it is turned off with the password", async () => {
    await visitor.open("/console/account");
    await visitor.see("9 recovery codes are left");
    await page.getByText("Turn it off").click();
    const form = page.locator("form", { hasText: "Turn the second step off" });
    await form.getByLabel("Present password").fill("something else");
    await visitor.press("Turn the second step off");
    await visitor.see("This is not your present password.");
    await form.getByLabel("Present password").fill(PASSWORD);
    await visitor.press("Turn the second step off");
    await page.getByRole("button", { name: "Set up an authenticator app" }).waitFor();
    await logOut();
    await logIn();
    await visitor.heading("Overview");
  });
  await visitor.leave();
}
