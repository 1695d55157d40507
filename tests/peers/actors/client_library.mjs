// A page in headless Chromium that uses longwire-client, on a network that goes, over a path that falls silent and behind a longwire
// that goes.
// Arguments: URL MODULE PROFILE-FOLDER. It says `kill` and `drain` when longwire is to end so, and to come back.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { launch } from "./chromium.mjs";
import { check, equal, say } from "./say.mjs";

const [url, module, profile] = process.argv.slice(2);
const { context, page, errors } = await launch(profile);
const source = `data:text/javascript;base64,${readFileSync(module).toString("base64")}`;

await page.evaluate(talk, [source, url]);
await until("an echo", () => talker.heard.length > 20);

await context.setOffline(true);
await until("a loss of both", () => !navigator.onLine && patient.downs.length === 1 && talker.downs.length > 0);
// Chromium leaves a WebSocket open and silent then.
const silent = await page.evaluate(() => talker.downs[0].reason);
check(["no heartbeat", "connection lost"].includes(silent), `a network that is gone: ${silent}`);
const wait = await page.evaluate(() => patient.downs.at(-1).retryIn);
equal(wait, 3_600_000, "one of its sockets would wait for an hour");
await context.setOffline(false);
await until("its opening", () => patient.opens.length === 2 && talker.opens.length === 2);
check(true, "when the network is back, both are open at once");
equal(await page.evaluate(() => patient.downs.length), 1, "times that the one of an hour was down");
await page.evaluate(() => patient.socket.close());

const path = await middlebox();
await page.evaluate((url) => callOver(url), path.url);
await until("an echo over the path", () => distant.heard.length > 0);
path.isSilent = true;
await until("a loss", () => distant.downs.length > 0);
equal(await page.evaluate(() => distant.downs[0].reason), "no heartbeat", "a middlebox that drops all: the page reads");
path.isSilent = false;
const number = await page.evaluate(() => distant.heard.length);
await until("an echo over a new connection", (number) => distant.opens.length > 1 && distant.heard.length > number, number);
check(true, "and is connected when the path lets it through again");
await page.evaluate(() => distant.socket.close());

const before = await settled();
say("kill");
await until("a loss", (n) => talker.downs.at(-1).n >= n, before);
const { code, reason } = await page.evaluate((n) => talker.downs.find((down) => down.n >= n), before);
equal([code, ["connection lost", "connection failed"].includes(reason)], [1006, true], "a killed longwire: the page reads");
await until("its opening", (n) => talker.opens.length > n, before);
check(true, "and is connected to the next one");

const again = await settled();
say("drain");
await until("a loss", (n) => talker.downs.at(-1).n >= n, again);
const drained = await page.evaluate((n) => talker.downs.find((down) => down.n >= n), again);
equal([drained.code, drained.reason], [1012, "drain"], "a longwire that drains: the page reads");
check(drained.retryIn <= 5000, `and comes back at a moment of the next 5 s: after ${Math.round(drained.retryIn)} ms`);
await until("its opening", (n) => talker.opens.length > n, again);

const last = await page.evaluate(() => talker.stop());
await until("the last echo", (last) => talker.heard.at(-1) === last, last);
const heard = await page.evaluate(() => talker.heard);
const doubled = heard.filter((number, index) => index > 0 && number <= heard[index - 1]);
equal(doubled, [], `of ${last + 1} messages, ${heard.length} came back; doubled or out of order`);
const queued = await page.evaluate(() => talker.queued);
const missing = queued.filter((number) => !heard.includes(number));
equal([queued.length > 50, missing], [true, []], `of ${queued.length} that were sent without a connection, did not come back`);
const gaps = heard.filter((number, index) => number - (heard[index - 1] ?? -1) > 1);
const losses = await page.evaluate(() => talker.downs.filter(({ n }, index) => n > (talker.downs[index - 1]?.n ?? 0)).length);
check(gaps.length <= losses, `the ${last + 1 - heard.length} others were on their way when a connection died: ${losses} did`);
equal(await page.evaluate(() => talker.socket.dropped), 0, "messages that its queue gave up");
equal(await page.evaluate(() => [...talker.ends, ...talker.errors]), [], "final closes and errors of its socket");
await page.evaluate(() => talker.socket.close(1000, "done"));
await until("the end", () => talker.ends.length === 1);
equal(await page.evaluate(() => talker.ends), [[1000, "done", true]], "the end of its socket");
const words = errors.filter((error) => !/ERR_INTERNET_DISCONNECTED|ERR_CONNECTION_REFUSED|WebSocket connection to/.test(error));
equal(words, [], "errors on the page but those of connections that fail");
await context.close();
say("done");

// Once the queue has come back: what leaves it just before a connection dies may be lost. How often the socket was open.
async function settled() {
  await until("an echo of what is sent now", (now) => talker.heard.at(-1) >= now, await page.evaluate(() => talker.next()));
  return page.evaluate(() => talker.opens.length);
}

// A path to longwire. While `isSilent`, it takes all bytes and passes none on; a connection of that time stays so.
async function middlebox() {
  const path = { isSilent: false };
  const { hostname, port, pathname } = new URL(url);
  const listener = createServer((client) => {
    const proxy = connect(port, hostname);
    let isSilent = path.isSilent;
    for (const [from, to] of [
      [client, proxy],
      [proxy, client],
    ]) {
      from.on("data", (data) => (isSilent ||= path.isSilent) || to.write(data));
      from.on("close", () => isSilent || to.destroy());
      from.on("error", () => {});
    }
  });
  listener.listen(0, "127.0.0.1").unref();
  await once(listener, "listening");
  path.url = `ws://127.0.0.1:${listener.address().port}${pathname}`;
  return path;
}

function until(what, holds, argument) {
  return page.waitForFunction(holds, argument, { polling: 20 }).catch((error) => {
    check(false, `no ${what}: ${error.message}`);
  });
}

// In the page: one socket that says a number each 10 ms, one that is in no hurry to come back, and one to start over another path.
async function talk([source, url]) {
  const { LongwireSocket } = await import(source);
  const heartbeat = { interval: 500, timeout: 3000, message: "ping", isReply: ({ data }) => data === "ping" };

  function watched(options, to = url) {
    const seen = { opens: [], downs: [], heard: [], ends: [], errors: [] };
    const socket = new LongwireSocket(to, [], { heartbeat, ...options });
    socket.onopen = ({ attempt }) => seen.opens.push(attempt);
    socket.ondown = ({ code, reason, retryIn }) => seen.downs.push({ code, reason, retryIn, n: seen.opens.length });
    socket.onmessage = ({ data }) => seen.heard.push(Number(data));
    socket.onclose = ({ code, reason, wasClean }) => seen.ends.push([code, reason, wasClean]);
    socket.onerror = () => seen.errors.push("error");
    return Object.assign(seen, { socket });
  }

  const { random } = Math;
  Math.random = () => 100_000;
  globalThis.patient = watched({ minDelay: 36 });
  // So that a drain leaves it alone for 2.5 s, and much is queued.
  Math.random = () => 0.5;
  globalThis.talker = watched({ minDelay: 100, maxDelay: 1000, queue: { messages: 10_000, bytes: 1_000_000 } });
  Math.random = random;
  globalThis.callOver = (path) => {
    globalThis.distant = watched({ minDelay: 100, maxDelay: 1000, connectTimeout: 3000 }, path);
    distant.socket.addEventListener("open", () => distant.socket.send("1"));
  };
  let number = 0;
  talker.queued = [];
  const timer = setInterval(() => {
    if (talker.socket.readyState === LongwireSocket.CONNECTING) talker.queued.push(number);
    talker.socket.send(`${number++}`);
  }, 10);
  talker.next = () => number;
  talker.stop = () => {
    clearInterval(timer);
    return number - 1;
  };
}
