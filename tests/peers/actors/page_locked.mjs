// A person at the live page of an interface with a token. Arguments: URL TOKEN PROFILE-FOLDER

import { open } from "./chromium.mjs";
import { check, equal, say } from "./say.mjs";

const [url, token, profile] = process.argv.slice(2);
const { context, page, errors, answer } = await open(url, profile);
equal(answer.status(), 200, "the page itself needs no token");
await page.waitForSelector("#login:not([hidden])");
check(await page.locator("#main").isHidden(), "without the token nothing is shown");
await page.keyboard.type("not the token at all");
await page.keyboard.press("Enter");
await page.waitForFunction(() => document.getElementById("notice").innerText.includes("not the token"));
check(true, "a wrong token is told, and asked for again");
await page.keyboard.type(token);
await page.keyboard.press("Enter");
await page.waitForSelector("#main:not([hidden])");
equal(await page.locator("#state").innerText(), "serving", "with the token, typed without a click, the page says");
await page.reload();
await page.waitForSelector("#main:not([hidden])");
check(true, "a reload of the page does not ask again");
const told = await page.evaluate(() => JSON.stringify([{ ...localStorage }, document.cookie, location.href]));
check(!told.includes(token), "the token is in no cookie, no local storage and no address");
// Chromium itself reports each 401 as an error of the console.
equal(
  errors.filter((error) => !error.includes("401")),
  [],
  "errors on the page",
);
await context.close();
say("done");
