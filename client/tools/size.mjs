// The core, as a bundler would ship it: what everybody loads, without the event streams that few need.
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const LIMIT = 4096;

const { outputFiles } = await build({
  stdin: { contents: 'export { createClient } from "./dist/index.js"', resolveDir: process.cwd() },
  bundle: true,
  minify: true,
  splitting: true,
  format: "esm",
  outdir: "out",
  write: false,
});
const sizes = outputFiles.map(({ path, contents }) => [path, gzipSync(contents, { level: 9 }).length]);
// Chunks that are imported at once belong to the core; the stream is imported when it is needed.
const late = outputFiles.filter(({ path }) => /stream/.test(path)).map(({ path }) => path);
const core = sizes.filter(([path]) => !late.includes(path)).reduce((sum, [, bytes]) => sum + bytes, 0);
const rest = sizes.filter(([path]) => late.includes(path)).reduce((sum, [, bytes]) => sum + bytes, 0);
console.log(`core: ${core} bytes with gzip, of ${LIMIT}; event streams, loaded where they are needed: ${rest}`);
if (late.length !== 1 || core > LIMIT) {
  console.error("the core is larger than that");
  process.exit(1);
}
