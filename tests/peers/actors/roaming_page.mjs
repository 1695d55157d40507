// Clients that roam, on a page in headless Chromium. Arguments: FOLDER-OF-THE-LIBRARY URL COUNT RESUME (on or off) PROFILE-FOLDER.
// SIGTERM ends the traffic; what each client has seen follows.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "./chromium.mjs";
import { say } from "./say.mjs";

const [library, url, count, resume, profile] = process.argv.slice(2);
const LAST = 45_000;
const here = dirname(fileURLToPath(import.meta.url));
const server = createServer((request, response) => {
  const name = basename(request.url);
  const folder = request.url.startsWith("/library/") ? library : here;
  if (!name.endsWith("js")) return response.setHeader("Content-Type", "text/html").end("<!doctype html><title>roaming</title>");
  response.setHeader("Content-Type", "text/javascript").end(readFileSync(join(folder, name)));
});
server.listen(0, "127.0.0.1");
await once(server, "listening");

const { context, page } = await launch(profile, { handleSIGTERM: false });
await page.goto(`http://127.0.0.1:${server.address().port}/`);
await page.evaluate(begin, [url, Number(count), resume]);
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
async function begin([url, count, resume]) {
  const { LongwireSocket: plain } = await import("/library/index.js");
  const { LongwireSocket: resuming } = await import("/library/resume.js");
  const { client } = await import("/roaming_traffic.mjs");
  globalThis.travellers = [...Array(count).keys()].map((number) => client({ plain, resuming }, url, "page", number, resume));
}
