'use strict';
/**
 * Packs what the CUDA tests and the benchmark need on a machine that has neither Node nor a network,
 * into build/pare-cuda.tar.gz: this Node, the sources, the compiled benchmark, the packages that run
 * them, and run.sh, which says what that machine must have.
 */
const fs = require('node:fs');
const path = require('node:path');
const zlib = require('node:zlib');
const { execFileSync } = require('node:child_process');
const { closure } = require('./closure.js');

const ROOT = path.dirname(__dirname);
const NAME = 'pare-cuda';
const FOLDER = path.join(ROOT, 'build', NAME);
const ARCHIVE = `${FOLDER}.tar.gz`;
const MOST_BYTES = 64 * 2 ** 20;

const { dependencies } = require('../package.json');

/** What is run there, in package.json's words; what these depend on comes along. */
const packages = [...Object.keys(dependencies), 'jest', '@swc/jest', '@swc/core'];

const files = [
  ...['CMakeLists.txt', 'LICENSE', 'jest.config.js', 'package.json', 'cmake', 'native', 'lib'],
  ...['bench/cuda.ts', 'bench/peers/nf4_cuda.py', 'test/gpu.ts'],
  ...['test/nf4/cuda.test.ts', 'test/nf4/vectors.ts', 'test/torch/cuda.test.ts'],
  ...['cuda.test.ts', 'tiny-corpus.ts', 'tiny-recipe.ts'].map((name) => `test/pipeline/${name}`),
  'test/oracle/vectors/nf4.json',
];

/** Neither for running nor a licence. The other C library's binary of swc is as large as ours. */
function isLeftOut(source) {
  const name = path.basename(source);
  return (
    /\.(md|markdown|map|d\.[cm]?ts|flow)$/.test(name) ||
    /node_modules\/@swc\/core-linux-\w+-musl$/.test(source) ||
    /node_modules\/(typescript|prettier|eslint)$/.test(source)
  );
}

function copy(relative, filter = () => true) {
  fs.cpSync(path.join(ROOT, relative), path.join(FOLDER, relative), { recursive: true, filter });
}

function pack() {
  fs.rmSync(FOLDER, { recursive: true, force: true });
  for (const file of files) copy(file);
  for (const folder of closure(ROOT, packages)) {
    // Its own node_modules are entries of their own.
    const inside = path.join(ROOT, folder, 'node_modules');
    copy(folder, (source) => source !== inside && !isLeftOut(source));
  }
  const compiler = require.resolve('typescript/bin/tsc');
  const compiled = path.join(FOLDER, 'build', 'bench');
  execFileSync(process.execPath, [compiler, '-p', 'bench', '--outDir', compiled], { cwd: ROOT });
  fs.mkdirSync(path.join(FOLDER, 'bin'));
  fs.writeFileSync(
    path.join(FOLDER, 'bin', 'node.gz'),
    zlib.gzipSync(fs.readFileSync(process.execPath), { level: 9 }),
  );
  fs.renameSync(path.join(FOLDER, 'cmake', 'run-cuda.sh'), path.join(FOLDER, 'run.sh'));
  execFileSync('tar', ['-czf', `${ARCHIVE}.tmp`, '-C', path.dirname(FOLDER), NAME]);
  fs.rmSync(FOLDER, { recursive: true });
  const { size } = fs.statSync(`${ARCHIVE}.tmp`);
  if (size > MOST_BYTES) {
    throw new Error(`the pack has ${size} bytes, more than ${MOST_BYTES}: leave something out`);
  }
  fs.renameSync(`${ARCHIVE}.tmp`, ARCHIVE);
  console.log(
    `${path.relative(ROOT, ARCHIVE)}: ${(size / 2 ** 20).toFixed(1)} MiB. On the machine with the GPU:\n` +
      `  tar -xzf ${NAME}.tar.gz && sh ${NAME}/run.sh`,
  );
}

pack();
