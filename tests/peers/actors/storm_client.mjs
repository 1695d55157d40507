// The storm's clients, by Node ws. Arguments: URL SESSIONS SECONDS

import { once } from "node:events";
import WebSocket from "ws";
import { say } from "./say.mjs";
import {
  DEFLATE,
  Pings,
  generator,
  makeMessage,
  newFigures,
  pickLength,
  readMessage,
  sendMessage,
  sleep,
} from "./storm_traffic.mjs";

const [url, count, seconds] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const sent = newFigures();
const totals = {
  closed: 0,
  own_pings: 0,
  own_pongs: 0,
  foreign_pings: 0,
  backend_pings: 0,
  streamed: 0,
  slowest_echo_ms: 0,
  fewest_messages: Infinity,
};
let stopAt = Infinity;

function fail(what) {
  say("broken", { what: `at the client: ${what}` });
  process.exit(1);
}

async function session(number, opened) {
  const socket = new WebSocket(`${url}/${number}`, { rejectUnauthorized: false, perMessageDeflate: DEFLATE });
  const pings = new Pings(socket, `client:${number}`, fail);
  const random = generator(number * 2);
  const state = { streamed: 0, echo: undefined, last: undefined, closing: false };
  socket.on("error", (error) => fail(`session ${number}: ${error.message}`));
  socket.on("close", (code, reason) => state.closing || fail(`session ${number} was closed: ${code} ${reason}`));
  socket.on(
    "ping",
    (payload) => (totals[payload.toString().startsWith("backend:") ? "backend_pings" : "foreign_pings"] += 1),
  );
  socket.on("message", (data) => receive(number, state, data));
  await once(socket, "open");
  if (!socket.extensions.includes("permessage-deflate")) fail(`session ${number} has no permessage-deflate`);
  opened();

  const messages = await talk(socket, number, state, pings, random);
  await pings.allAnswered();
  state.last = withResolvers();
  socket.send("the end");
  const { sent: streamed } = await state.last.promise;
  if (streamed !== state.streamed)
    fail(`session ${number}: ${state.streamed} messages of the backend came, of ${streamed}`);
  state.closing = true;
  socket.close(4000 + (number % 900), `session ${number}`);
  const [code] = await once(socket, "close");
  if (code !== 4000 + (number % 900)) fail(`session ${number}: closed with ${code}`);
  totals.closed += 1;
  totals.own_pings += pings.sent;
  totals.own_pongs += pings.answered;
  totals.streamed += streamed;
  totals.fewest_messages = Math.min(totals.fewest_messages, messages);
}

// One message after another, each waiting for its echo.
async function talk(socket, session, state, pings, random) {
  let number = 0;
  for (; performance.now() < stopAt; number += 1) {
    const message = makeMessage(1, session, number, pickLength(random), random);
    if (random() < 0.3) pings.send();
    const started = performance.now();
    state.echo = withResolvers();
    await sendMessage(socket, message, random, sent);
    if (random() < 0.3) pings.send();
    const echo = await state.echo.promise;
    if (!message.equals(echo)) fail(`session ${session}: the echo of message ${number} differs`);
    totals.slowest_echo_ms = Math.max(totals.slowest_echo_ms, Math.round(performance.now() - started));
    await sleep(random() * 5000);
  }
  return number;
}

function receive(session, state, data) {
  try {
    if (data.length < 64) return state.last.resolve(JSON.parse(data.toString()));
    const head = readMessage(data);
    if (head.session !== session) fail(`session ${session} got a message of session ${head.session}`);
    if (head.kind === 1) return state.echo.resolve(data);
    if (head.number !== state.streamed++)
      fail(`session ${session}: the backend's message ${head.number} instead of ${state.streamed - 1}`);
  } catch (error) {
    fail(`session ${session}: ${error.message}`);
  }
}

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve) => (made.resolve = resolve));
  return made;
}

let open = 0;
const sessions = [];
const started = performance.now();
for (let number = 0; number < count; number += 1) {
  const ready = withResolvers();
  sessions.push(session(number, ready.resolve));
  // Not all at once: a handshake has its deadline at longwire.
  if (number % 200 === 199) await ready.promise;
  ready.promise.then(() => {
    open += 1;
    if (open < count) return;
    say("opened", { seconds: Math.round(performance.now() - started) / 1000 });
    stopAt = performance.now() + seconds * 1000;
  });
}
await Promise.all(sessions);
say("summary", { ...totals, sent });
process.exit(0);
