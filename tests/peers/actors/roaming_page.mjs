// Clients that roam, on a page in headless Chromium. Arguments: MODULE URL COUNT RESUMES (1 or 0) PROFILE-FOLDER.
// SIGTERM ends the traffic; what each client has seen follows.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "./chromium.mjs";
import { say } from "./say.mjs";

const [module, url, count, resumes, profile] = process.argv.slice(2);
const LAST = 45_000;
const here = dirname(fileURLToPath(import.meta.url));
const server = createServer((request, response) => {
  const name = basename(request.url);
  const folder = request.url.startsWith("/library/") ? dirname(module) : here;
  if (!name.endsWith("js")) return response.setHeader("Content-Type", "text/html").end("<!doctype html><title>roaming</title>");
  response.setHeader("Content-Type", "text/javascript").end(readFileSync(join(folder, name)));
});
server.listen(0, "127.0.0.1");
await once(server, "listening");

const { context, page } = await launch(profile, { handleSIGTERM: false });
await page.goto(`http://127.0.0.1:${server.address().port}/`);
await page.evaluate(begin, [`/library/${basename(module)}`, url, Number(count), resumes === "1"]);
await page.waitForFunction(() => travellers.every(({ seen }) => seen.opens.length > 0));
say("opened");
process.on("SIGTERM", async () => {
  await page.evaluate(() => travellers.forEach((one) => one.stop()));
  await page
    .waitForFunction(() => travellers.every(({ seen }) => seen.end !== null && seen.end !== "told"), undefined, { timeout: LAST })
    .catch(() => {});
  say("summary", { clients: await page.evaluate(() => travellers.map(({ seen }) => seen)) });
  await context.close();
  process.exit(0);
});

// In the page.
async function begin([library, url, count, resumes]) {
  const { LongwireSocket } = await import(library);
  const { optionsOf, traveller } = await import("/roaming_traffic.mjs");
  const names = [...Array(count).keys()];
  globalThis.travellers = names.map((number) => traveller(LongwireSocket, url, `page-${number}`, optionsOf(number, resumes)));
}
