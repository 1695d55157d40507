// A person at one of the applications of docs/recipes.md. Arguments: APPLICATION ORIGIN PROFILE-FOLDER FOLDER
// ORIGIN is longwire's; what else an application needs is in FOLDER, or in the modules beside it.

import { readFileSync, writeFileSync } from "node:fs";
import { launch } from "./chromium.mjs";
import { check, equal, say } from "./say.mjs";

const [application, origin, profile, folder] = process.argv.slice(2);
const { context, page } = await launch(profile);
page.setDefaultTimeout(90_000);
const sockets = [];
page.on("websocket", (socket) => {
  const seen = { url: socket.url(), protocol: "", received: 0 };
  sockets.push(seen);
  socket.on("framereceived", () => (seen.received += 1));
});
const modules = new URL("../recipes/node_modules/", import.meta.url);
const script = (file) => page.addScriptTag({ path: new URL(file, modules).pathname });
const ws = origin.replace("http", "ws");

// Some WebSocket of this path was opened through longwire, and something came over it.
async function heard(path) {
  const fits = () => sockets.find((socket) => socket.url.startsWith(ws + path) && socket.received > 0);
  for (const end = Date.now() + 30_000; !fits() && Date.now() < end; ) await page.waitForTimeout(100);
  check(fits(), `a WebSocket through longwire, and messages over it: ${ws}${path} of ${sockets.map((s) => s.url)}`);
}

const applications = {
  async jupyter() {
    await page.goto(`${origin}/jupyter/lab/tree/recipe.ipynb?token=recipe`);
    const cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first();
    await cell.click();
    // The kernel must be there before it can be asked.
    await page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").waitFor();
    await page.keyboard.press("Shift+Enter");
    const output = page.locator(".jp-OutputArea-output", { hasText: "the answer is 42" });
    await output.first().waitFor();
    check(true, `a cell ran: ${await output.first().innerText()}`);
    await heard("/jupyter/api/kernels/");
  },
  async streamlit() {
    await page.goto(`${origin}/dashboard`);
    for (const presses of [1, 2]) {
      await page.getByRole("button", { name: "press" }).click();
      await page.getByText(`pressed ${presses} times`).waitFor();
    }
    check(true, "its state stays with the session: pressed 2 times");
    await heard("/dashboard/_stcore/stream");
  },
  async "node-red"() {
    await page.goto(`${origin}/red/`);
    await page.locator("#red-ui-header-button-deploy").waitFor();
    check(true, "the editor is there");
    await heard("/red/comms");
  },
  async vite() {
    await page.goto(`${origin}/app/`);
    await page.getByText("before the change").waitFor();
    await heard("/app/");
    writeFileSync(`${folder}/main.js`, readFileSync(`${folder}/main.js`, "utf8").replace("before", "after"));
    await page.getByText("after the change").waitFor();
    check(true, "a changed file is on the page without a reload by hand");
  },
  async socketio() {
    await page.goto(origin);
    for (const transports of [["polling", "websocket"], ["websocket"]]) {
      const told = await page.evaluate(
        (transports) => new Promise((resolve, reject) => {
          const socket = io({ transports, forceNew: true });
          const ask = () => socket.emit("who", (name) => resolve([name, socket.io.engine.transport.name]));
          socket.on("connect_error", (error) => reject(error));
          socket.on("connect", () => {
            if (socket.io.engine.transport.name === "websocket") ask();
            else socket.io.engine.on("upgrade", ask);
          });
        }),
        transports,
      );
      equal(told[1], "websocket", `by ${transports.join(", then ")} at backend ${told[0]}`);
    }
    await heard("/socket.io/");
  },
  async graphql() {
    await page.goto(origin + "/graphql");
    await script("graphql-ws/umd/graphql-ws.min.js");
    const counted = await page.evaluate(
      (url) => new Promise((resolve, reject) => {
        const client = graphqlWs.createClient({ url });
        const numbers = [];
        client.subscribe({ query: "subscription { count }" }, {
          next: ({ data }) => numbers.push(data.count),
          error: reject,
          complete: () => resolve(numbers),
        });
      }),
      ws + "/graphql",
    );
    equal(counted, [1, 2, 3], "a subscription");
    await heard("/graphql");
  },
  async mqtt() {
    await script("mqtt/dist/mqtt.min.js");
    const heardBack = await page.evaluate(
      (url) => new Promise((resolve, reject) => {
        const client = mqtt.connect(url);
        client.on("error", reject);
        client.on("message", (topic, payload) => resolve(`${topic}: ${payload}`));
        client.on("connect", () => client.subscribe("recipes", () => client.publish("recipes", "a word")));
      }),
      ws + "/mqtt",
    );
    equal(heardBack, "recipes: a word", "published, and read by who subscribed");
    await heard("/mqtt");
  },
  async channels() {
    await page.goto(origin);
    equal(await page.innerText("body"), `${origin}/`, "what Django takes for its address");
    const echo = (url) => page.evaluate(
      (url) => new Promise((resolve) => {
        const socket = new WebSocket(url);
        socket.onopen = () => socket.send("a word");
        socket.onmessage = (message) => resolve(message.data);
        socket.onclose = (closed) => resolve(`closed with ${closed.code}`);
      }),
      url,
    );
    equal(await echo(ws + "/ws/"), "django heard a word from 127.0.0.1", "a page of an allowed host");
    await heard("/ws/");
    await page.goto("data:text/html,elsewhere");
    equal(await echo(ws + "/ws/"), "closed with 1006", "a page from elsewhere");
  },
};

await applications[application]();
await context.close();
say("done");
