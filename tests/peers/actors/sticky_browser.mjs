// Two people in headless Chromium, one after the other, each with a jar of cookies: a page, fetch, a WebSocket, and socket.io from
// polling to its upgrade. Arguments: the base URL, the folder of the profile.

import { launch } from "./chromium.mjs";
import { check, equal, say } from "./say.mjs";

const [url, profile] = process.argv.slice(2);
const { context, page, errors } = await launch(profile);
const people = [];
for (const person of ["the first person", "the second"]) {
  await context.clearCookies();
  await page.goto(`${url}/page`);
  const jar = await context.cookies();
  equal(
    jar.map(({ name, path, httpOnly, secure, sameSite, expires }) => [name, path, httpOnly, secure, sameSite, expires]),
    [["longwire", "/", true, false, "Lax", -1]],
    `the jar of ${person}`,
  );
  equal(await page.evaluate(() => document.cookie), "", "what scripts read of it");
  const names = await page.evaluate(async () => {
    const names = [];
    for (let times = 0; times < 6; times++) names.push((await (await fetch("/who")).json()).name);
    for (let times = 0; times < 3; times++) {
      const socket = new WebSocket(`ws://${location.host}/ws`);
      const { data } = await new Promise((resolve, reject) => ((socket.onmessage = resolve), (socket.onerror = reject)));
      names.push(JSON.parse(data).name);
      socket.close();
    }
    const socket = io({ forceNew: true, reconnection: false });
    // The upgrade may come before the event of the connection.
    await new Promise((resolve, reject) => {
      socket.on("connect_error", reject);
      socket.io.engine.on("upgrade", resolve);
    });
    names.push(await socket.timeout(10_000).emitWithAck("who"));
    socket.close();
    return names;
  });
  equal([names.length, new Set(names).size], [10, 1], `requests and sessions of ${person}, and the backends that had them`);
  equal((await context.cookies()).map(({ value }) => value), jar.map(({ value }) => value), "the cookie is the same at the end");
  people.push(names[0]);
}
check(people[0] !== people[1], `their backends: ${people.join(" and ")}`);
equal(errors, [], "errors on the page");
await context.close();
say("done");
