// Clients at many addresses of this machine, by Node ws: each tries to have a session.
// Arguments: PORT NETWORK CLIENTS ADDRESSES TRIES PAUSE-MS STAY-MS AT-ONCE
//
// Client n is at address 127.0.NETWORK.(n mod ADDRESSES + 1). It tries TRIES times (0: for ever), with about PAUSE-MS between. A session that
// it gets it keeps for a random time of up to STAY-MS, and then ends it; with 0 it keeps it for good, tries no more, and tries again
// only if the session ends. At most AT-ONCE handshakes are on their way at once. `done` when all tries are over. SIGUSR2 asks for what
// came since the last question, `so_far`. SIGTERM ends all sessions and tells `left`.

import WebSocket from "ws";
import { say } from "./say.mjs";

const [port, network, clients, addresses, tries, pause, stay, most] = process.argv.slice(2).map(Number);
const sessions = new Set();
const waiting = [];
let [onTheirWay, isOver, seen] = [0, false, fresh()];

function fresh() {
  // Handshakes by how they ended, sessions by how they ended, and the time of each handshake, ms.
  return { opened: 0, refused: {}, failed: {}, ended: {}, took: [] };
}

const count = (what, key) => (what[key] = (what[key] ?? 0) + 1);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function turn() {
  if (onTheirWay >= most) await new Promise((resolve) => waiting.push(resolve));
  else onTheirWay += 1;
}

// Whoever waits has the turn now.
function yieldTurn() {
  const next = waiting.shift();
  if (next) next();
  else onTheirWay -= 1;
}

// One handshake. The session, or nothing.
async function opening(localAddress) {
  await turn();
  const began = performance.now();
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { localAddress, perMessageDeflate: false, handshakeTimeout: 60_000 });
  // The first of these events says how it ended; those behind it follow from what is done then.
  const session = await new Promise((resolve) => {
    socket.on("open", () => resolve([socket, "opened"]));
    socket.on("unexpected-response", (request, response) => {
      resolve([null, "refused", response.statusCode]);
      request.destroy();
    });
    socket.on("error", (error) => resolve([null, "failed", error.message]));
    socket.on("close", () => resolve([null, "failed", "closed"]));
  }).then(([found, how, key]) => {
    if (found) seen.opened += 1;
    else count(seen[how], key);
    return found;
  });
  seen.took.push(performance.now() - began);
  yieldTurn();
  return session;
}

async function kept(session) {
  sessions.add(session);
  const ended = new Promise((resolve) => {
    session.on("close", (code, reason) => {
      sessions.delete(session);
      count(seen.ended, `${code} ${reason}`.trim());
      resolve();
    });
  });
  if (stay > 0) {
    await sleep(Math.random() * stay);
    session.close(1000, "done");
  }
  await ended;
}

async function client(number) {
  const localAddress = `127.0.${network}.${(number % addresses) + 1}`;
  await sleep(Math.random() * pause);
  for (let tried = 0; (tries === 0 || tried < tries) && !isOver; tried += 1) {
    const session = await opening(localAddress);
    if (session) {
      if (isOver) session.close(1000, "done");
      const end = kept(session);
      // It has what it wanted.
      if (stay === 0 && tries > 0) return;
      await end;
    }
    await sleep(pause * (0.5 + Math.random()));
  }
}

function tell(event) {
  const took = seen.took.sort((a, b) => a - b);
  const at = (share) => Math.round((took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0) * 10) / 10;
  say(event, { ...seen, took: { count: took.length, p50: at(0.5), p99: at(0.99), max: at(1) }, sessions: sessions.size });
  seen = fresh();
}

process.on("SIGUSR2", () => tell("so_far"));
process.on("SIGTERM", async () => {
  isOver = true;
  for (const session of sessions) session.close(1000, "done");
  while (sessions.size > 0) await sleep(20);
  tell("left");
  process.stdout.write("", () => process.exit(0));
});
say("begun");
await Promise.all(Array.from({ length: clients }, (_, number) => client(number)));
if (!isOver) tell("done");
// Until SIGTERM.
setInterval(() => {}, 1000);
