'use strict';
/**
 * Runs the tests of the native code with the address and undefined-behaviour sanitizers: a build
 * of its own in build/sanitized, in a Node that loads the sanitizers' libraries first. libtorch is
 * as it is; what the addon does with its memory is seen.
 */
const path = require('node:path');
const { execFileSync, spawnSync } = require('node:child_process');
const { ROOT, BUILD, compile } = require('./build.js');
const { findLibtorch } = require('./libtorch.js');
const { withLock } = require('./lock.js');

/**
 * Suites that call into native/; the rest reach it through these rooms. CUDA's kernels are watched,
 * too, where they run on this machine: in test/cuda-emulator's program.
 */
const suites = [
  ...['test/nf4', 'test/torch', 'test/lora/lora.test.ts', 'test/cuda-emulator'],
  ...['test/mutations/four-bit', 'test/mutations/safetensors'],
];
// A build with sanitizers keeps no memory of tensors for others: each must be seen alone.
console.error('not run with sanitizers: test/torch/memory.test.ts, CUDA');
const skipped = ['/node_modules/', 'cuda(-compile)?\\.test', 'torch/memory\\.test'];
const without = skipped.flatMap((pattern) => ['--testPathIgnorePatterns', pattern]);

function library(name) {
  const compiler = process.env.CXX ?? 'g++';
  const found = execFileSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' }).trim();
  if (path.isAbsolute(found)) return found;
  throw new Error(`${compiler} has no ${name}; install g++ with its sanitizers`);
}

async function main() {
  const addon = path.join(BUILD, 'pare-sanitized.node');
  await withLock(
    path.join(BUILD, 'setup.lock'),
    () =>
      compile(findLibtorch(), {
        folder: path.join(BUILD, 'sanitized'),
        addon,
        extra: { PARE_SANITIZE: 'ON' },
      }),
    (holder) => console.error(`waiting for process ${holder.pid}, which sets pare up here`),
  );
  const jest = path.join(ROOT, 'node_modules', 'jest', 'bin', 'jest.js');
  const { status } = spawnSync(process.execPath, [jest, ...suites, ...without], {
    cwd: ROOT,
    stdio: 'inherit',
    env: {
      ...process.env,
      PARE_ADDON: addon,
      PARE_EMULATOR: 'address',
      LD_PRELOAD: [library('libasan.so'), library('libubsan.so')].join(':'),
      // Node ends without freeing all; tests ask for more memory than there is, and look at how
      // much the process has.
      ASAN_OPTIONS:
        'detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=32:abort_on_error=1',
      UBSAN_OPTIONS: 'print_stacktrace=1',
    },
  });
  process.exitCode = status ?? 1;
}

main().catch((error) => {
  console.error(`pare: ${error.message}`);
  process.exitCode = 1;
});
