// The model of longwire behind real connections, with a backend that answers each message.

import { once } from "node:events";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { Longwire } from "./longwire.mjs";

export class LongwireServer extends Longwire {
  connections = 0;
  // Close codes that clients sent.
  closed = [];
  // What the backends answer to a message.
  answers = (data) => [data];
  #http = createServer();
  #sockets = new WebSocketServer({ noServer: true, handleProtocols: (_, { answer }) => answer.protocol ?? false });

  static async start(t, terms) {
    const server = new LongwireServer(terms);
    server.#http.on("upgrade", (...words) => server.#upgrade(...words));
    server.#http.listen(0, "127.0.0.1");
    await once(server.#http, "listening");
    server.port = server.#http.address().port;
    server.url = `ws://127.0.0.1:${server.port}/`;
    const beat = setInterval(() => server.acknowledge(), server.terms.beat_ms);
    t.after(() => {
      clearInterval(beat);
      server.cut();
      server.#http.close();
    });
    return server;
  }

  /** The last session, and what its backend got. */
  get session() {
    return this.sessions.at(-1);
  }

  acknowledge() {
    for (const session of this.sessions) session.control(session.got.length);
  }

  /** All connections end without a Close. */
  cut() {
    for (const socket of this.#sockets.clients) socket.terminate();
  }

  #upgrade(request, socket, head) {
    const offered = (request.headers["sec-websocket-protocol"] ?? "").split(/, */).filter(Boolean);
    this.connections++;
    request.answer = this.handshake(offered, performance.now());
    if (!request.answer) return socket.end("HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    this.#sockets.handleUpgrade(request, socket, head, (opened) => this.#open(opened, request.answer));
  }

  #open(opened, answer) {
    const { session } = answer;
    const far = {
      send: (data) => opened.send(data),
      close: (code, reason) => (code === 1006 ? opened.terminate() : opened.close(code, reason)),
    };
    opened.on("message", (data, isBinary) => this.#hear(opened, session, far, isBinary ? data : `${data}`));
    opened.on("close", (code) => {
      if (code === 1006) return this.lose(session, far, performance.now());
      this.closed.push(code);
      if (session?.connection === far) session.end(code, "");
    });
    this.greet(answer, far);
    if (this.mode === "echo" && this.greeting) opened.send(this.greeting);
  }

  #hear(opened, session, far, data) {
    if (!session) return this.answers(data).forEach((answer) => opened.send(answer));
    if (session.connection !== far) return;
    const before = session.got.length;
    session.hear(data);
    if (session.got.length === before) return;
    session.control(session.got.length);
    for (const answer of this.answers(data)) if (session.hasRoom(answer)) session.say(answer);
  }
}
