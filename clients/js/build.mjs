// Builds dist/: for each entry one file for `import`, one for `require`, and the types of both. Says nothing on standard output, which is npm's.

import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));
// A fresh copy can be packed as it is, also by `npm pack --dry-run` or in production, whose settings npm hands down.
if (!existsSync("node_modules/esbuild")) run("npm", "ci", "--include=dev", "--dry-run=false", "--loglevel=error");
const { build } = await import("esbuild");

rmSync("dist", { recursive: true, force: true });
for (const [format, folder] of [["esm", "dist/esm"], ["cjs", "dist/cjs"]]) {
  await build({
    entryPoints: ["src/index.ts", "src/resume.ts"],
    outdir: folder,
    format,
    bundle: true,
    minify: true,
    sourcemap: true,
    sourcesContent: false,
    target: "es2022",
    logLevel: "warning",
  });
}
run(process.execPath, "node_modules/typescript/bin/tsc");
for (const file of readdirSync("dist/esm")) {
  if (file.endsWith(".d.ts")) copyFileSync(`dist/esm/${file}`, `dist/cjs/${file}`);
}
// Files of this folder are CommonJS to Node and to TypeScript.
writeFileSync("dist/cjs/package.json", '{ "type": "commonjs", "sideEffects": false }\n');

function run(command, ...words) {
  const { status, error } = spawnSync(command, words, { stdio: ["ignore", 2, 2], timeout: 300_000 });
  if (status !== 0) {
    console.error(`build.mjs: ${command} ${words.join(" ")}: ${error?.message ?? `exit code ${status}`}`);
    process.exit(1);
  }
}
