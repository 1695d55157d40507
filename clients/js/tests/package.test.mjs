// The package as npm makes it, of a copy that has only what the repository has: what is in it, who can use it, how large it is.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const MODULES = join(ROOT, "node_modules");
/** What an application pays, in bytes, for each entry. */
const SIZES = { index: 4096, resume: 6144 };
const nameOf = (entry) => (entry === "index" ? "longwire-client" : `longwire-client/${entry}`);

const folder = mkdtempSync(join(tmpdir(), "longwire-client-"));
const consumer = join(folder, "consumer");
const installed = join(consumer, "node_modules/longwire-client");
let tarball;

before(() => {
  const copy = join(folder, "copy");
  const left = new Set(["node_modules", "dist"]);
  cpSync(ROOT, copy, { recursive: true, filter: (from) => !left.has(from.slice(ROOT.length)) });
  // `npm ci` of the build would install the same again.
  symlinkSync(MODULES, join(copy, "node_modules"));
  assert.ok(!existsSync(join(copy, "dist")));
  const [packed] = JSON.parse(run("npm", ["pack", "--json", "--loglevel=error"], copy));
  tarball = join(copy, packed.filename);
  cpSync(join(ROOT, "tests/consumer"), consumer, { recursive: true });
  mkdirSync(installed, { recursive: true });
  run("tar", ["-xzf", tarball, "-C", installed, "--strip-components=1"]);
  for (const name of ["ws", "@types"]) symlinkSync(join(MODULES, name), join(consumer, "node_modules", name));
});
after(() => rmSync(folder, { recursive: true }));

test("the package has what it needs and nothing else", () => {
  assert.deepEqual(readdirSync(installed).sort(), ["LICENSE", "README.md", "dist", "package.json", "resume", "src"]);
  const manifest = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
  assert.equal(manifest.dependencies, undefined);
  assert.equal(manifest.sideEffects, false);
  const license = join(ROOT, "../../LICENSE");
  if (existsSync(license)) assert.equal(readFileSync(join(ROOT, "LICENSE"), "utf8"), readFileSync(license, "utf8"));
});

test("import and require find it", () => {
  const print = "console.log(LongwireSocket.name, LongwireSocket.OPEN)";
  for (const name of Object.keys(SIZES).map(nameOf)) {
    const imported = ["--input-type=module", "-e", `import { LongwireSocket } from "${name}"; ${print}`];
    const required = ["--input-type=commonjs", "-e", `const { LongwireSocket } = require("${name}"); ${print}`];
    for (const words of [imported, required]) assert.match(run(process.execPath, words, consumer), /^LongwireSocket 1$/m);
  }
});

test("are the types wrong? no", () => {
  const attw = join(MODULES, "@arethetypeswrong/cli/dist/index.js");
  const said = run(process.execPath, [attw, tarball, "--no-color", "--no-emoji"]);
  assert.match(said, /No problems found/);
});

test("programs for browsers and for Node compile with its types", () => {
  const common = { strict: true, noEmit: true, skipLibCheck: false, exactOptionalPropertyTypes: true, target: "ES2022" };
  const worlds = {
    browser: [
      { module: "ESNext", moduleResolution: "Bundler", lib: ["ES2022", "DOM"], types: [] },
      { module: "NodeNext", lib: ["ES2022", "DOM"], types: [] },
    ],
    resume: [{ module: "NodeNext", lib: ["ES2022", "DOM"], types: [] }],
    // The types of Node bring some of those of the web, and the package adds none that are missing.
    node: [{ module: "NodeNext", lib: ["ES2022"], types: ["node"] }],
  };
  for (const [program, options] of Object.entries(worlds)) {
    for (const some of options) {
      for (const extension of ["mts", "cts"]) {
        if (extension === "cts" && some.module === "ESNext") continue;
        const name = `${program}-as.${extension}`;
        cpSync(join(consumer, `${program}.ts`), join(consumer, name));
        writeFileSync(join(consumer, "tsconfig.json"), JSON.stringify({ compilerOptions: { ...common, ...some }, files: [name] }));
        run(process.execPath, [join(MODULES, "typescript/bin/tsc"), "-p", "."], consumer);
      }
    }
  }
});

for (const [entry, bound] of Object.entries(SIZES)) {
  test(`an application pays at most ${bound} bytes for ${nameOf(entry)}, gzipped`, async () => {
    for (const format of ["esm", "cjs"]) {
      const file = readFileSync(join(installed, `dist/${format}/${entry}.js`));
      assert.ok(gzipSync(file, { level: 9 }).length <= bound, `dist/${format}: ${gzipSync(file, { level: 9 }).length} bytes`);
    }
    const stdin = { contents: `export { LongwireSocket } from "${nameOf(entry)}";`, resolveDir: consumer };
    const { outputFiles } = await build({ stdin, bundle: true, minify: true, format: "esm", target: "es2022", write: false });
    const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
    console.log(`${nameOf(entry)}: ${size} of ${bound} bytes, gzipped`);
    assert.ok(size <= bound && size > 1000, `${size} bytes`);
  });
}

// `DRAW=1 clients/js/test` makes that copy anew.
test("the page of longwire demo has the library as it is", (t) => {
  const copy = join(ROOT, "../../src/tools/demo/longwire-client.js");
  if (!existsSync(dirname(copy))) return t.skip("only in longwire's repository");
  const library = readFileSync(join(installed, "dist/esm/index.js"), "utf8").replace(/^\/\/# sourceMappingURL=.*\n/m, "");
  if (process.env.DRAW) writeFileSync(copy, library);
  assert.ok(library === readFileSync(copy, "utf8"), "src/tools/demo/longwire-client.js is old: DRAW=1 clients/js/test");
});

test("an application that imports it and uses nothing of it pays nothing", async () => {
  const stdin = { contents: 'import "longwire-client"; import "longwire-client/resume";', resolveDir: consumer };
  const { outputFiles } = await build({ stdin, bundle: true, minify: true, format: "esm", write: false, logLevel: "silent" });
  assert.equal(outputFiles[0].text.trim(), "");
});

test("the examples of the README are programs", async () => {
  const examples = [...readFileSync(join(installed, "README.md"), "utf8").matchAll(/^```jsx?\n(.*?)^```/gms)];
  assert.equal(examples.length, 6);
  for (const [, contents] of examples) {
    const stdin = { contents, resolveDir: consumer, loader: "jsx" };
    const { warnings } = await build({ stdin, bundle: true, format: "esm", external: ["react", "ws"], write: false });
    assert.deepEqual(warnings, []);
  }
});

// What a program said; one that fails is an error with what it said.
function run(command, words, cwd = folder) {
  try {
    return execFileSync(command, words, { cwd, encoding: "utf8", timeout: 120_000, stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    throw new Error(`${command} ${words.join(" ")}: ${error.message}\n${error.stdout}\n${error.stderr}`);
  }
}
