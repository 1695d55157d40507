// One client that roams: it sends numbers and hears numbers over a LongwireSocket, and keeps account of both. It imports nothing, so that
// a page can load it too.

// Message `number`: its length and bytes follow from it, so that every byte of it can be checked. Each third is binary.
export function messageOf(number) {
  const length = number % 40 === 39 ? 6000 : (number * 7919) % 300;
  const text = `${number}:${String.fromCharCode(97 + (number % 26)).repeat(length)}`;
  return number % 3 === 2 ? new TextEncoder().encode(text) : text;
}

// The number of a message whose every byte is right.
export function numberOf(data) {
  const text = typeof data === "string" ? data : new TextDecoder().decode(data);
  const number = parseInt(text, 10);
  const wanted = messageOf(number);
  const isRight = typeof wanted === "string" ? data === wanted : typeof data !== "string" && new TextDecoder().decode(wanted) === text;
  return isRight ? number : NaN;
}

// Where the session can be resumed, a number that is not taken is sent again; elsewhere it is said to be lost, and the next one has its turn.
function traveller(LongwireSocket, base, name, { resumes = false, ...options } = {}) {
  const seen = { name, next: 0, heard: 0, wrong: 0, refused: [], opens: [], downs: [], fresh: 0, resyncs: 0, errors: 0, end: null };
  let [attempts, isOpen, isOver, told, timer] = [0, false, false, false, undefined];
  // Each attempt that is not resumed has a path of its own, by which the backend knows it.
  const url = resumes ? `${base}/${name}/1` : () => `${base}/${name}/${++attempts}`;
  const socket = new LongwireSocket(url, [], options);
  socket.binaryType = "arraybuffer";

  function tick() {
    if (isOver) return;
    timer = setTimeout(tick, 100 + Math.random() * 200);
    if (socket.send(messageOf(seen.next))) seen.next += 1;
    else if (!resumes) {
      const last = seen.refused.at(-1);
      if (last?.[1] === seen.next) last[1] += 1;
      else seen.refused.push([seen.next, seen.next + 1]);
      seen.next += 1;
    }
  }
  const say = () => (told = socket.send(`end:${seen.next}`));

  socket.onopen = ({ attempt, resumed }) => {
    isOpen = true;
    if (!resumed) {
      if (seen.opens.length > 0) seen.fresh += 1;
      seen.heard = 0;
      told = false;
    }
    // Which attempt, the next number then, and how many the backend's side of it has told.
    seen.opens.push([attempts || attempt, seen.next, 0]);
    if (isOver && !told) say();
    if (!timer && !isOver) tick();
  };
  socket.ondown = ({ attempt, reason, code, retryIn }) => {
    seen.downs.push({ attempt: attempts || attempt, at: seen.next, reason, code, retryIn, wasOpen: isOpen });
    isOpen = false;
  };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string" && data.startsWith("end:")) {
      if (Number(data.slice(4)) !== seen.heard) seen.wrong += 1;
      seen.end = "told";
      socket.close(4000, "done");
      return;
    }
    if (numberOf(data) !== seen.heard) {
      seen.wrong += 1;
      seen.firstWrong ??= `${String(numberOf(data))} instead of ${seen.heard}`;
    }
    seen.heard += 1;
    seen.opens.at(-1)[2] = seen.heard;
  };
  socket.addEventListener("resync", () => (seen.resyncs += 1));
  socket.onerror = () => (seen.errors += 1);
  socket.onclose = ({ code, reason }) => {
    isOver = true;
    clearTimeout(timer);
    seen.end = `${code} ${reason}`;
  };
  return {
    seen,
    stop() {
      isOver = true;
      clearTimeout(timer);
      if (isOpen || resumes) say();
    },
  };
}

// Client `number` of those that ask for resume where there is some (`on`), and of those on other routes (`off`): every second of these has
// a queue, and every other pair of them asks in vain. `plain` and `resuming` are the two entries of the library.
export function client({ plain, resuming }, base, kind, number, mode, options = {}) {
  // A handshake that falls into silence is given up sooner than by default.
  const all = { connectTimeout: 3000, ...options };
  const name = `${kind}-${number}`;
  if (mode === "on") return traveller(resuming, base, name, { ...all, resumes: true, resume: true });
  const heartbeat = { interval: 500, timeout: 2000, message: "ping", isReply: ({ data }) => data === "pong" };
  const queue = number % 2 ? { queue: { messages: 1000, bytes: 1_000_000 } } : {};
  const asks = number % 4 > 1;
  return traveller(asks ? resuming : plain, base, name, { ...all, ...queue, heartbeat, maxDelay: 2000, resume: asks });
}
