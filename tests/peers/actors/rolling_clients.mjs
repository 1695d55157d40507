// Clients with longwire-client/resume, by Node ws, of several longwires behind a balancer. Arguments: FOLDER-OF-THE-LIBRARY URL CLIENTS
//
// Client n is at address 127.0.3.(n mod 100 + 1). It says a number each half second, and hears it again. SIGUSR2 asks for what each has
// seen, `seen`: the longwires that had its sessions, what it was told when a connection opened and when one was lost, and how many
// numbers it has heard over all of them, out of order, and not at all though later ones of the same session came.

import WebSocket from "ws";
import { say } from "./say.mjs";

const [folder, url, count] = process.argv.slice(2);
const { LongwireSocket } = await import(`${folder}/resume.js`);

function client(_, number) {
  const localAddress = `127.0.3.${(number % 100) + 1}`;
  class Here extends WebSocket {
    constructor(to, protocols) {
      super(to, protocols, { localAddress, perMessageDeflate: false });
    }
  }
  const seen = { places: [], opens: [], downs: [], closes: [], heard: 0, wrong: 0, missed: 0 };
  const socket = new LongwireSocket(url, [], { WebSocket: Here, resume: true, connectTimeout: 20_000 });
  let [next, due] = [0, 0];
  socket.onopen = ({ resumed, lost, attempt }) => {
    seen.opens.push({ resumed, lost, attempt });
    // Only of a new session: what no longwire had confirmed is not sent again.
    if (!resumed) due = next;
  };
  socket.ondown = ({ code, reason, retryIn }) => seen.downs.push({ code, reason, retryIn });
  socket.onclose = ({ code, reason }) => seen.closes.push(`${code} ${reason}`);
  socket.onmessage = ({ data }) => {
    if (data.startsWith("place ")) return seen.places.push(Number(data.slice(6)));
    const number = Number(data);
    if (number < due) seen.wrong += 1;
    seen.missed += Math.max(0, number - due);
    due = number + 1;
    seen.heard += 1;
  };
  setInterval(() => seen.opens.length > 0 && socket.send(String(next)) && (next += 1), 500);
  return seen;
}

const all = Array.from({ length: Number(count) }, client);
process.on("SIGUSR2", () => say("seen", { clients: all }));
const opening = setInterval(() => {
  if (all.some((seen) => seen.places.length === 0)) return;
  clearInterval(opening);
  say("opened");
}, 50);
