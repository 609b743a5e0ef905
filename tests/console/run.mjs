// Goes through the console of running servers. `README.md` beside this file says how it is called and what it proves.
import { rmSync } from "node:fs";
import { first } from "./first.mjs";
import { failure, replay } from "./deliveries.mjs";
import { delivery, template } from "./events.mjs";
import { keyboard } from "./keyboard.mjs";
import { late } from "./late.mjs";
import { live } from "./live.mjs";
import { Api, Receiver, SHOTS, launch } from "./rig.mjs";
import { pages } from "./pages.mjs";
import { member } from "./people.mjs";
import { secondStep } from "./second.mjs";
import { momentum } from "./webhooks.mjs";

const env = (name) => process.env[name] ?? (() => { throw new Error(`${name} is not set`); })();
rmSync(SHOTS, { recursive: true, force: true });
const receiver = await Receiver.start();
const browser = await launch();
const server = { url: env("POSTHASTE_URL"), setupUrl: env("POSTHASTE_SETUP_URL"), receiver };
const plain = { url: env("POSTHASTE_PLAIN_URL"), setupUrl: env("POSTHASTE_PLAIN_SETUP_URL"), receiver };
const api = new Api(server.url, env("POSTHASTE_KEY"));

/** Goes journeys in as many lines as there are cores to expect, and tells all that failed. */
async function go(world, journeys) {
  const waiting = [...journeys];
  const failed = [];
  const line = async () => {
    for (let journey = waiting.shift(); journey; journey = waiting.shift()) {
      await journey(world).catch((error) => failed.push(error.message ?? error));
    }
  };
  await Promise.all([line(), line()]);
  if (failed.length) throw new Error(failed.join("\n\n"));
}

try {
  const world = { ...server, browser, api };
  await go(world, [
    async () => { world.storageState = await first(browser, server, true); },
    () => first(browser, plain, false),
  ]);
  await go(world, [replay, failure, momentum, delivery, template, keyboard, member, secondStep, late, live]);
  if (!process.env.NO_PAGES) await pages(world);
} catch (error) {
  console.error(error.message ?? error);
  process.exitCode = 1;
} finally {
  await browser.close();
  await receiver.stop();
}
