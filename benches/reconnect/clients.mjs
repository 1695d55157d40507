// Clients that lose their longwire and come back to the next one. Arguments: URL COUNT WAY [FIRST]. The way is `library` (longwire-client
// with its defaults), `at-once` (a plain client that connects again when it reads the end), or `fixed` (one that waits a second first).
// With FIRST each client has an address of its own: the first client that of this number, from 127.0.1.1 on.
//
// One JSON object a line: `opened` when all are open, `back` when all were lost and are open again. SIGTERM asks for the `summary`.

import WebSocket from "../../clients/js/node_modules/ws/wrapper.mjs";
import { LongwireSocket } from "../../clients/js/dist/esm/index.js";

const [url, count, way] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const first = process.argv[5] === undefined ? undefined : Number(process.argv[5]);
const WAIT = { "at-once": 0, fixed: 1000 }[way];
// Of the first opening, 80 a process at a time: that one is not what is measured.
const [AT_A_TIME, PAUSE] = [20, 50];
// Attempts of which more is kept than that they were.
const MOST_NOTED = 200_000;

const say = (event, fields = {}) => process.stdout.write(JSON.stringify({ event, ...fields }) + "\n");
// Each attempt after the first opening: when it began (ms since 1970), how long it took (ms), and what became of it.
const attempts = [];
const totals = { attempts: 0, open: 0, lost: 0, closes: {} };
const lostOnes = new Set();
let measures = false;

// The WebSocket of all three: it notes what becomes of its handshake.
class Noted extends WebSocket {
  constructor(url, protocols, localAddress) {
    super(url, protocols, { perMessageDeflate: false, localAddress });
    const began = Date.now();
    let isNoted = false;
    const note = (outcome) => {
      if (isNoted) return;
      isNoted = true;
      if (!measures) return;
      totals.attempts += 1;
      if (attempts.length < MOST_NOTED) attempts.push([began, Date.now() - began, outcome]);
    };
    this.on("open", () => note("open"));
    this.on("error", (error) => note(error.code ?? error.message));
    this.on("close", (code) => note(`closed: ${code}`));
  }
}

function opened() {
  totals.open += 1;
  if (!measures && totals.open === count) {
    measures = true;
    say("opened");
  } else if (measures && totals.open === count && lostOnes.size === count) say("back");
}

function lost(number, code) {
  totals.open -= 1;
  totals.lost += 1;
  lostOnes.add(number);
  totals.closes[code] = (totals.closes[code] ?? 0) + 1;
}

function address(number) {
  const place = first + number;
  return first === undefined ? undefined : `127.0.${1 + Math.floor(place / 250)}.${1 + (place % 250)}`;
}

function plain(number) {
  const socket = new Noted(url, [], address(number));
  let isOpen = false;
  socket.on("open", () => {
    isOpen = true;
    opened();
  });
  socket.on("close", (code) => {
    if (isOpen) lost(number, code);
    if (WAIT) setTimeout(plain, WAIT, number);
    else plain(number);
  });
}

function withLibrary(number) {
  // The library makes it anew for each attempt.
  const Own = class extends Noted {
    constructor(url, protocols) {
      super(url, protocols, address(number));
    }
  };
  const socket = new LongwireSocket(url, [], { WebSocket: Own });
  let isOpen = false;
  socket.onopen = () => {
    isOpen = true;
    opened();
  };
  socket.ondown = ({ code }) => {
    if (isOpen) lost(number, code);
    isOpen = false;
  };
  socket.onclose = ({ code, reason }) => say("broken", { what: `closed for good: ${code} ${reason}` });
}

process.on("SIGTERM", () => {
  say("summary", { ...totals, notedAttempts: attempts });
  process.stdout.write("", () => process.exit(0));
});

for (let number = 0; number < count; number += 1) {
  if (WAIT === undefined) withLibrary(number);
  else plain(number);
  if (number % AT_A_TIME === AT_A_TIME - 1) await new Promise((resolve) => setTimeout(resolve, PAUSE));
}
