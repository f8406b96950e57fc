'use strict';
/**
 * `npm run test:cuda` and `npm run bench:cuda`: what can only be seen on a GPU. Without one it says
 * so in one line and is content.
 *
 *   node cmake/cuda.js test [--compute-sanitizer TOOL]   TOOL as memcheck, racecheck, initcheck
 *   node cmake/cuda.js bench [PYTHON]
 */
const fs = require('node:fs');
const path = require('node:path');
const { spawnSync } = require('node:child_process');
const { hasGpu } = require('./libtorch.js');

const ROOT = path.dirname(__dirname);

/** Ends this program, with the command's status, unless it went well. */
function must(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  if (error) console.error(`pare: cannot run ${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

/** In a copy made by pack-cuda.js the addon is built already, and PARE_ADDON names it. */
function setup() {
  if (!process.env.PARE_ADDON) must(process.execPath, [path.join(__dirname, 'setup.js')]);
}

function test(args) {
  const jest = [path.join(ROOT, 'node_modules', 'jest', 'bin', 'jest.js'), 'cuda\\.test'];
  const environment = { PARE_REQUIRE_CUDA: '1' };
  const at = args.indexOf('--compute-sanitizer');
  if (at < 0) return must(process.execPath, [...jest, '--runInBand', ...args], environment);
  const [tool = 'memcheck'] = args.slice(at + 1);
  // The allocator would hide what lies beyond a tensor; each gets an allocation of its own.
  must(
    'compute-sanitizer',
    [
      ...['--tool', tool, '--target-processes', 'all', '--error-exitcode', '1'],
      ...[process.execPath, ...jest, '--runInBand'],
    ],
    { ...environment, PYTORCH_NO_CUDA_MEMORY_CACHING: '1' },
  );
}

function bench(args) {
  const compiled = path.join(ROOT, 'build', 'bench');
  const compiler = path.join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  if (fs.existsSync(compiler)) must(process.execPath, [compiler, '-p', 'bench']);
  must(process.execPath, [path.join(compiled, 'bench', 'cuda.js'), ...args], {
    PARE_ADDON: process.env.PARE_ADDON ?? path.join(ROOT, 'build', 'pare.node'),
  });
}

const [what, ...args] = process.argv.slice(2);
const run = { test, bench }[what];
if (run === undefined) {
  console.error('usage: node cmake/cuda.js test|bench');
  process.exitCode = 2;
} else if (process.env.PARE_BENCH_DRY !== '1' && !hasGpu()) {
  console.log(`${what}:cuda: skipped: this machine has no NVIDIA GPU`);
} else {
  setup();
  run(args);
}
