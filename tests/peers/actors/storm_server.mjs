// The storm's backend, by Node ws: checks every byte of what comes, sends it back, and sends messages and Pings of its own.
// Arguments: SESSIONS

import { WebSocketServer } from "ws";
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

const expected = Number(process.argv[2]);
const echoed = newFigures();
const own = newFigures();
const totals = { closed: 0, own_pings: 0, own_pongs: 0, foreign_pings: 0, client_pings: 0 };

function fail(what) {
  say("broken", { what: `at the backend: ${what}` });
  process.exit(1);
}

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 4096, perMessageDeflate: DEFLATE });
server.on("listening", () => say("listening", { port: server.address().port }));
server.on("connection", (socket, request) => {
  const session = Number(request.url.slice(1));
  if (!socket.extensions.includes("permessage-deflate")) fail(`session ${session} has no permessage-deflate`);
  const random = generator(session * 2 + 1);
  const pings = new Pings(socket, `backend:${session}`, fail);
  const state = { next: 0, ending: false };
  const stream = sendStream(socket, session, random, pings, state);

  socket.on(
    "ping",
    (payload) => (totals[payload.toString().startsWith("client:") ? "client_pings" : "foreign_pings"] += 1),
  );
  socket.on("message", async (data) => {
    try {
      if (data.length < 64) return await finish(socket, stream, pings, state);
      const { number } = readMessage(data);
      if (number !== state.next++) fail(`session ${session}: message ${number} instead of ${state.next - 1}`);
      await sendMessage(socket, data, random, echoed);
    } catch (error) {
      fail(error.message);
    }
  });
  socket.on("close", (code, reason) => {
    if (code !== 4000 + (session % 900) || reason.toString() !== `session ${session}`)
      fail(`session ${session} closed with ${code} ${reason}`);
    totals.closed += 1;
    totals.own_pings += pings.sent;
    totals.own_pongs += pings.answered;
    if (totals.closed === expected) say("summary", { ...totals, echoed, own });
  });
});

// Messages and Pings that the backend sends on its own.
async function sendStream(socket, session, random, pings, state) {
  let sent = 0;
  for (; !state.ending; sent += 1) {
    await sleep(random() * 8000);
    if (state.ending) break;
    pings.send();
    await sendMessage(socket, makeMessage(2, session, sent, pickLength(random), random), random, own);
    if (random() < 0.5) pings.send();
  }
  return sent;
}

async function finish(socket, stream, pings, state) {
  state.ending = true;
  const sent = await stream;
  await pings.allAnswered();
  socket.send(JSON.stringify({ sent }));
}
