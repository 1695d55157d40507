// A person at the demo page, by headless Chromium. Arguments: URL SECONDS-TO-IDLE PICTURE PROFILE-FOLDER

import { launch } from "./chromium.mjs";
import { check, equal, say } from "./say.mjs";

const [url, idle, picture, profile] = process.argv.slice(2);
const { context, page, errors } = await launch(profile, { viewport: { width: 1000, height: 800 } });
const sockets = [];
page.on("websocket", (socket) => {
  const seen = { url: socket.url(), closed: false };
  sockets.push(seen);
  socket.on("close", () => (seen.closed = true));
});

const answer = await page.goto(url);
equal(answer.status(), 200, "the page by plain HTTP through longwire");
const state = (side = "") => page.locator(`#${side}state`).innerText();
const untilState = (pattern, side = "") =>
  page.waitForFunction(
    ([id, p]) => new RegExp(p).test(document.getElementById(id).innerText),
    [`${side}state`, pattern],
  );

await page.click("#open");
await untilState("^open$");
check(sockets.length === 1, `a click opened ${sockets[0]?.url}`);
await sendAndSee("hello from Chromium");
await page.click("#bare-open");
await untilState("^open$", "bare-");
check(sockets.length === 2, `and another one ${sockets[1]?.url}, to the bare backend`);
say("idle", { seconds: Number(idle) });
await page.waitForTimeout(Number(idle) * 1000);
check(sockets[1].closed, `after ${idle} s of silence the page says of the bare one: ${await state("bare-")}`);
check((await state("bare-")).startsWith("1006"), "it was lost with 1006");
check((await state()) === "open" && !sockets[0].closed, `and of the one through longwire: ${await state()}`);
await sendAndSee("still here");
await page.screenshot({ path: picture, fullPage: true });
check(true, `picture: ${picture}`);
await page.click("#close");
await untilState("^1000");
check(true, `after a click on close the page says: ${await state()}`);
equal(errors, [], "errors on the page");
await context.close();
say("done");

// The words are typed key by key; the echo makes them appear in the log a second time.
async function sendAndSee(words) {
  const times = () =>
    page
      .locator("#log")
      .innerText()
      .then((log) => log.split(words).length - 1);
  await page.click("#message");
  await page.locator("#message").fill("");
  await page.keyboard.type(words);
  await page.click("#send");
  await page.waitForFunction((w) => document.querySelector("#log").innerText.split(w).length - 1 >= 2, words);
  check((await times()) >= 2, `typed and echoed: ${words}`);
}
