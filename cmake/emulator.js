'use strict';
/**
 * Compiles the CUDA kernels as plain C++ together with test/cuda-emulator, which runs them on this
 * machine. Only tests use it. What is up to date is left as it is.
 */
const fs = require('node:fs');
const path = require('node:path');
const { findLibtorch } = require('./libtorch.js');
const { withLock } = require('./lock.js');
const { CommandError, run } = require('./run.js');
const { filesUnder, hashFiles, readStamp, writeStamp } = require('./stamp.js');

const ROOT = path.dirname(__dirname);
const EMULATOR = path.join(ROOT, 'test', 'cuda-emulator');
/** What the fibers' own code is compiled without. */
const RUNTIME = ['emulator.cc', 'fiber.cc'];

const sanitizers = {
  thread: { kernels: ['-fsanitize=thread'], runtime: ['-DPARE_TSAN'], link: ['-fsanitize=thread'] },
  address: {
    kernels: ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
    runtime: ['-fsanitize=address'],
    link: ['-fsanitize=address,undefined'],
  },
};

/**
 * @param {'thread' | 'address'} sanitizer what watches: races between the threads of a block, or
 *   memory and undefined behaviour
 * @returns {Promise<string>} the program, which test/cuda-emulator/cases.cc describes
 */
async function buildEmulator(sanitizer) {
  const folder = path.join(ROOT, 'build', `emulator-${sanitizer}`);
  const program = path.join(folder, 'cases');
  fs.mkdirSync(folder, { recursive: true });
  await withLock(path.join(folder, 'build.lock'), () => compile(folder, program, sanitizer));
  return program;
}

async function compile(folder, program, sanitizer) {
  const compiler = process.env.CXX ?? 'g++';
  const headers = path.join(findLibtorch({ cuda: false }).root, 'include'); // of 16-bit floats
  const sources = [
    ...filesUnder(path.join(ROOT, 'native'), ['.cu']),
    ...filesUnder(EMULATOR, ['.cc', '.cu']),
  ];
  const inputs = hashFiles(
    ROOT,
    [...sources, ...filesUnder(path.join(ROOT, 'native'), ['.h', '.cuh']), __filename].concat(
      filesUnder(EMULATOR, ['.h']),
    ),
    { compiler, headers },
  );
  const stamp = path.join(folder, 'stamp');
  if (fs.existsSync(program) && readStamp(stamp) === inputs) return;
  const flags = sanitizers[sanitizer];
  // In the suite of the sanitizers theirs are loaded into Node; a compiler needs none.
  const env = { ...process.env, LD_PRELOAD: '' };
  const objects = sources.map((source) => path.join(folder, `${path.basename(source)}.o`));
  const jobs = sources.map((source, i) => async () => {
    const own = RUNTIME.includes(path.basename(source)) ? flags.runtime : flags.kernels;
    const flagsOfAll = ['-std=c++17', '-O1', '-g1', '-Wall', '-Wextra', '-Werror'];
    const folders = ['-I', path.join(EMULATOR, 'include'), '-isystem', headers];
    await run(
      compiler,
      [
        ...[...flagsOfAll, '-Wno-unknown-pragmas', '-DPARE_EMULATE_CUDA', ...folders, ...own],
        ...['-x', 'c++', '-c', source, '-o', objects[i]],
      ],
      { env },
    );
  });
  try {
    // Two at a time, whatever this machine has: other suites run beside.
    const work = async () => {
      for (let job = jobs.shift(); job; job = jobs.shift()) await job();
    };
    await Promise.all([work(), work()]);
    await run(compiler, [...flags.link, ...objects, '-o', program], { env });
  } catch (error) {
    const output = error instanceof CommandError ? error.output.slice(0, 5000) : '';
    throw new Error(`the emulated kernels did not compile: ${error.message}\n${output}`, {
      cause: error,
    });
  }
  writeStamp(stamp, inputs);
}

module.exports = { buildEmulator };
