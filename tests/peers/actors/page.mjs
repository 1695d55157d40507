// A person at the live page. Arguments: URL SESSIONS BACKEND-THAT-WILL-CRASH PICTURE-FOLDER PROFILE-FOLDER

import { open } from "./chromium.mjs";
import { check, equal, say } from "./say.mjs";

const [url, many, backend, pictures, profile] = process.argv.slice(2);
const { context, page, errors, foreign, answer } = await open(url, profile, { colorScheme: "light" });
const text = (selector) => page.locator(selector).innerText();
const until = (selector, pattern, timeout) =>
  page.waitForFunction(([s, p]) => new RegExp(p).test(document.querySelector(s)?.innerText ?? ""), [selector, pattern], { timeout });
/** Every 15 s longwire looks for what the ends have in common, and every 10 s the page asks for it. */
const A_LOOK = 40_000;
const total = Number(many) + 3;

check(answer.headers()["content-security-policy"].includes("default-src 'none'"), "the page has a strict policy");
await until("#now", total.toLocaleString("en"));
equal(await text("#state"), "serving", "state");
await until("#rtt-note", "half below");
check(true, `round trips: ${await text("#rtt-note")}`);
equal(await page.locator("#backends tr:not(.group)").count(), 2, "backends");
check((await text("#none-found")).includes("Nothing stands out"), "nothing is found yet");
check((await text("#backends .group")).startsWith("backends least_conn, 2 backends"), "below the name of their upstream");
const rows = page.locator("#live tr");
equal(await rows.count(), 25, "sessions on the first page");
await page.click("#on");
await until("#place", "^26 to 50 of");
check(true, `the next page: ${await text("#place")}`);

await byKeys();
await kill();
await duty();
await onAPhone();
await takePictures();
const refusal = await text("#refusals tr:first-child");
check(/bad_handshake.*\s400\s.*\/rooms\/half/s.test(refusal), `a refusal is explained: ${refusal.replace(/\s+/g, " ")}`);

say("ready-for-a-crash");
await until("#endings tr", "backend_lost");
const crash = await text("#endings tr:first-child");
check(crash.includes("it crashed or was restarted"), `the crash is explained: ${crash.replace(/\s+/g, " ")}`);
check(crash.includes(backend), "and on which backend");
check(/\*\/ \/rooms\//.test(crash), "and on which route");
check(/backend, (fin|reset)/.test(crash), "and how");
check(/silent before: client ↑ \d.* ↓ \d.*, backend ↑ \d.* ↓ \d/.test(crash), "and after which silence");
await until("#findings li", "many drops at one moment, backend side", A_LOOK);
const found = (await text("#findings li:first-child")).replace(/\s+/g, " ");
check(/\d+ cases, [\d.]+ % of the drops there; [\d.]+ % sure/.test(found), `the crash is found: ${found}`);
check(await page.locator("#none-found").isHidden(), "and no longer told that nothing is");
await fitsAPhone();
await page.setViewportSize({ width: 1280, height: 900 });
await inOneLine();
await page.click("#more");
await page.waitForFunction(() => document.querySelectorAll("#endings tr").length === 200);
check(true, "more endings are shown when asked for: 200");
await until("#causes", "backend_lost");
check(true, `and counted: ${(await text("#causes li:first-child")).replace(/\s+/g, " ")}`);
equal(foreign, [], "requests to anyone else");
equal(errors, [], "errors of the page and its console");

say("ready-for-a-drain");
await until("#state", "draining|gone");
check(true, `during the drain: ${(await text("#notice")).replace(/\s+/g, " ")}`);
await until("#notice", "does not answer");
check(true, `after it: ${await text("#notice")}`);
await context.close();
say("done");

// No mouse: to the search by Tab, type, to a heading, sort it twice.
async function byKeys() {
  await page.evaluate(() => document.activeElement.blur());
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.innerText);
  for (let presses = 0; (await focused()) !== "text"; presses += 1) {
    if (presses > 30) check(false, `Tab leads to the search, not only to ${await focused()}`);
    await page.keyboard.press("Tab");
  }
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  equal(outline, "solid", "where the focus is can be seen");
  await page.keyboard.type("rooms/FEW");
  await until("#place", "^1 to 3 of 3 found");
  check(true, `typed into the search: ${await text("#place")}`);
  while ((await focused()) !== "bytes") await page.keyboard.press("Tab");
  const sort = () => page.locator("[data-sort=bytes]").getAttribute("aria-sort");
  await page.keyboard.press("Enter");
  equal(await sort(), "descending", "Enter on the heading sorts by bytes");
  await page.keyboard.press("Space");
  equal(await sort(), "ascending", "Space turns the order");
  equal(await focused(), "bytes", "and the focus stays");
}

// Still without a mouse: the first close button, the question, another reason, Enter.
async function kill() {
  const label = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? "");
  for (let presses = 0; !(await label()).startsWith("Close the session"); presses += 1) {
    if (presses > 10) check(false, "Tab leads to a close button");
    await page.keyboard.press("Tab");
  }
  const id = (await label()).split(" ")[3];
  // Two polls go by: the rows are filled again under the focus.
  for (const _ of [1, 2]) await page.waitForResponse((r) => r.url().includes("/api/sessions?sort=bytes"));
  await page.keyboard.press("Enter");
  check(await page.locator("#ask").isVisible(), "it asks first");
  await page.keyboard.press("Escape");
  check(await page.locator("#ask").isHidden(), "Escape leaves all as it is");
  equal(await text("#now"), total.toLocaleString("en"), "sessions");
  check((await label()).includes(id), "the focus is back on the button");
  await page.keyboard.press("Enter");
  await page.locator("#reason").fill("by hand");
  await page.locator("#reason").press("Enter");
  await until("#place", "^1 to 2 of 2 found");
  await until("#endings tr", "killed");
  check((await text("#endings tr:first-child")).includes("an operator ended this session"), "its ending is explained");
  say("killed");
  await page.locator("#text").fill("");
  await until("#place", ` of ${(total - 1).toLocaleString("en")}$`);
}

async function duty() {
  const row = page.locator("#backends tr", { hasText: backend });
  const waitFor = (word) => page.waitForFunction(
    ([b, w]) => [...document.querySelectorAll("#backends tr")].some((r) => r.innerText.includes(b) && r.innerText.includes(w)),
    [backend, word],
  );
  await row.getByRole("button", { name: "Down" }).click();
  await waitFor("taken down");
  check(true, "Down takes a backend down");
  const last = page.locator("#backends tr", { hasNotText: backend }).getByRole("button", { name: "Drain" });
  await last.click();
  check(await page.locator("#ask").isVisible(), "it asks before the last one on duty is drained");
  check((await text("#ask-text")).includes("is its last backend on duty"), "and says what that does");
  check(await page.locator("#reason").isHidden(), "and wants no reason");
  await page.keyboard.press("Escape");
  check(await page.locator("#ask").isHidden(), "Escape leaves it on duty");
  await row.getByRole("button", { name: "Up" }).click();
  await page.waitForFunction(
    (b) => [...document.querySelectorAll("#backends tr")].every((r) => !r.innerText.includes("taken down")),
    backend,
  );
  check(true, "Up brings it back");
}

async function onAPhone() {
  await fitsAPhone();
  const small = await page.evaluate(() =>
    [...document.querySelectorAll("button")].filter((b) => b.offsetParent && b.getBoundingClientRect().height < 24).length);
  equal(small, 0, "buttons too small for a finger");
  await page.screenshot({ path: `${pictures}/page-phone.png` });
  await page.setViewportSize({ width: 1280, height: 900 });
}

async function fitsAPhone() {
  await page.setViewportSize({ width: 360, height: 740 });
  const wide = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  check(wide[0] <= wide[1], `on a phone of ${wide[1]} px the page is ${wide[0]} px wide`);
}

// Nothing that is one word is broken in two, as wide as a laptop's window is.
async function inOneLine() {
  await page.setViewportSize({ width: 1300, height: 900 });
  const broken = await page.evaluate(() => {
    const low = (e) => e.offsetHeight <= 1.6 * parseFloat(getComputedStyle(e.closest("td")).lineHeight);
    const cells = [...document.querySelectorAll("td")].filter((td) => ["client", "backend", "by, how", "ended"].includes(td.dataset.name));
    const orders = [...document.querySelectorAll("td[data-name=order] > span")];
    const tops = (e) => new Set([...e.querySelectorAll("button")].map((b) => b.offsetTop)).size;
    return cells.filter((td) => !low(td.firstElementChild)).map((td) => td.innerText)
      .concat(orders.filter((order) => tops(order) > 1).map((order) => order.innerText));
  });
  equal(broken, [], "addresses and buttons that take two lines");
  const wide = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  check(wide[0] <= wide[1], `and the page is ${wide[0]} px wide in ${wide[1]}`);
  await page.setViewportSize({ width: 1280, height: 900 });
}

async function takePictures() {
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.screenshot({ path: `${pictures}/page-${scheme}.png` });
  }
  const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  equal(background, "rgb(21, 24, 27)", "in the dark the page is dark");
  await page.emulateMedia({ colorScheme: "light" });
}
