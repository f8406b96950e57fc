'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { step } = require('./progress.js');
const { CommandError, run } = require('./run.js');
const { filesUnder, hashFiles, readStamp, writeStamp } = require('./stamp.js');

/** Compiles lib/ into dist/, unless nothing has changed. The caller holds the build lock. */
async function compileTypeScript(root) {
  const lib = path.join(root, 'lib');
  const dist = path.join(root, 'dist');
  const stamp = path.join(root, 'build', 'typescript.stamp');
  const config = ['tsconfig.json', 'tsconfig.build.json', 'package-lock.json'];
  const sources = filesUnder(lib, ['']);
  const inputs = hashFiles(root, [...sources, ...config.map((name) => path.join(root, name))]);
  if (readStamp(stamp) === inputs && fs.existsSync(dist)) return;
  const tsc = require.resolve('typescript/bin/tsc');
  await step('compiling TypeScript', async () => {
    try {
      await run(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { cwd: root });
    } catch (error) {
      const output = error instanceof CommandError ? error.output.trim() : error.message;
      throw new Error(`TypeScript does not compile:\n${output}`, { cause: error });
    }
  });
  copyTheRest(lib, dist, sources);
  removeOrphans(lib, dist);
  writeStamp(stamp, inputs);
}

/** What the compiler leaves alone (programs for worker processes, data) goes along as it is. */
function copyTheRest(lib, dist, sources) {
  for (const source of sources.filter((file) => !file.endsWith('.ts'))) {
    const target = path.join(dist, path.relative(lib, source));
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.copyFileSync(source, target);
  }
}

/** Removes what an earlier compilation made of sources that are gone. */
function removeOrphans(lib, dist) {
  for (const file of filesUnder(dist, [''])) {
    const source = path.join(lib, path.relative(dist, file));
    const made = source.replace(/(\.d\.ts|\.js)$/, '.ts');
    if (!fs.existsSync(source) && !fs.existsSync(made)) fs.rmSync(file);
  }
}

module.exports = { compileTypeScript };
