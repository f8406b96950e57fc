'use strict';
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { ensureLibtorch, findLibtorch, wantsCuda } = require('./libtorch.js');
const { withLock } = require('./lock.js');
const { findPrebuilt, placePrebuilt } = require('./prebuilt.js');
const { checkPrerequisites } = require('./prerequisites.js');
const { step } = require('./progress.js');
const { CommandError, run } = require('./run.js');
const { filesUnder, hashFiles, readStamp, writeStamp } = require('./stamp.js');

const ROOT = path.dirname(__dirname);
const BUILD = path.join(ROOT, 'build');
const ADDON = path.join(BUILD, 'pare.node');
const STAMP = path.join(BUILD, 'addon.stamp');
// A translation unit with libtorch's headers takes about this much memory to compile.
const BYTES_PER_JOB = 2e9;

/** The files that the addon is compiled from. */
function sourceFiles() {
  return [
    ...filesUnder(path.join(ROOT, 'native'), ['.cc', '.h', '.cu', '.cuh']),
    ...filesUnder(path.join(ROOT, 'cmake'), ['.cmake']),
    path.join(ROOT, 'CMakeLists.txt'),
  ];
}

/** Hash of the sources alone, by which an addon that was built elsewhere is known to be theirs. */
function sourceHash() {
  return hashFiles(ROOT, sourceFiles());
}

/** Hash of all that the addon is made of here. */
function addonInputs(libtorch) {
  const library = fs.statSync(path.join(libtorch.root, 'lib', 'libtorch_cpu.so'));
  const { CXX, CXXFLAGS, CUDACXX, CUDAARCHS } = process.env;
  return hashFiles(ROOT, [...sourceFiles(), __filename], {
    libtorch: [libtorch.root, libtorch.version, libtorch.cuda, library.size, library.mtimeMs],
    headers: [require('node-addon-api').version, require('node-api-headers/package.json').version],
    compilers: [CXX, CXXFLAGS, CUDACXX, CUDAARCHS, ...(hasKernels(libtorch) ? [findNvcc()] : [])],
  });
}

/** Whether the CUDA kernels are built in: with a CUDA libtorch, or where PARE_CUDA_KERNELS=1 asks. */
function hasKernels(libtorch) {
  return libtorch.cuda || process.env.PARE_CUDA_KERNELS === '1';
}

/** nvcc on the PATH or in the toolkit's usual place; empty if there is none. */
function findNvcc(env = process.env) {
  const folders = (env.PATH ?? '').split(path.delimiter).concat('/usr/local/cuda/bin');
  return (
    folders.map((folder) => path.join(folder, 'nvcc')).find((file) => fs.existsSync(file)) ?? ''
  );
}

/** Whether build/pare.node is what a build would make, or stands for it. */
function addonIsCurrent(libtorch) {
  if (!fs.existsSync(ADDON)) return false;
  const inputs = addonInputs(libtorch);
  const made = process.env.PARE_PREBUILT === '0' ? [inputs] : [inputs, prebuiltStamp(inputs)];
  return made.includes(readStamp(STAMP));
}

/** What the stamp file holds where the addon came from a package. */
function prebuiltStamp(inputs) {
  return `${inputs} prebuilt`;
}

/**
 * Compiles the addon with cmake-js into build/cmake and puts it at build/pare.node. Only what has
 * changed is compiled again. The caller holds the build lock.
 */
async function buildAddon(libtorch) {
  const inputs = addonInputs(libtorch);
  await compile(libtorch, { folder: path.join(BUILD, 'cmake'), addon: ADDON });
  writeStamp(STAMP, inputs);
}

/** Compiles in `folder`, puts the result at `addon`; `extra` are more of CMake's definitions. */
async function compile(libtorch, { folder, addon, extra = {} }) {
  const jobs = Math.min(os.availableParallelism(), Math.floor(os.freemem() / BYTES_PER_JOB) || 1);
  const cmakeJs = path.join(path.dirname(require.resolve('cmake-js/package.json')), 'bin/cmake-js');
  const definitions = {
    LIBTORCH: libtorch.root,
    NODE_ADDON_API: require('node-addon-api').include_dir,
    CMAKE_CUDA_COMPILER: hasKernels(libtorch) ? findNvcc() : '',
    PARE_CUDA_KERNELS: hasKernels(libtorch) && !libtorch.cuda ? 'ON' : 'OFF',
    ...extra,
  };
  const cmake = (command, onLine) =>
    run(
      process.execPath,
      [
        ...[cmakeJs, command, '--directory', ROOT, '--out', folder],
        ...['--config', 'Release', '--parallel', String(jobs)],
        ...Object.entries(definitions).flatMap(([key, value]) =>
          value ? [`--CD${key}=${value}`] : [],
        ),
      ],
      { cwd: ROOT, onLine },
    );
  const kind = libtorch.cuda ? 'CUDA' : 'CPU';
  await step(
    `building the addon (libtorch ${libtorch.version}, ${kind}, ${jobs} jobs)`,
    async (line) => {
      try {
        // Not `compile`, which starts all over after an error.
        await cmake('configure');
        await cmake('build', (text) => {
          const [, done, total] = /^\[\s*(\d+)(?:%|\/(\d+))\]/.exec(text) ?? [];
          if (done) line.update(Number(done) / Number(total ?? 100));
        });
      } catch (error) {
        throw new Error(`the addon did not compile:\n${compilerErrors(error)}`, { cause: error });
      }
    },
  );
  // A program that runs now keeps the file it has mapped.
  const temporary = `${addon}.tmp`;
  fs.copyFileSync(path.join(folder, 'Release', 'pare.node'), temporary);
  fs.renameSync(temporary, addon);
}

/** The compiler's own lines, not cmake-js's. */
function compilerErrors(error) {
  if (!(error instanceof CommandError)) return error.message;
  const lines = error.output
    .split(/[\r\n]+/)
    .filter((line) => !/^(info|verb|http|ERR!)/.test(line));
  const first = lines.findIndex((line) => /error|Error/.test(line));
  return lines
    .slice(Math.max(0, first - 2))
    .slice(0, 60)
    .join('\n');
}

/** Takes the addon of a package of this platform. Whether it serves; if not, a line says why. */
function takePrebuilt(prebuilt, libtorch) {
  const why = placePrebuilt(prebuilt, libtorch, ADDON);
  if (why === undefined) writeStamp(STAMP, prebuiltStamp(addonInputs(libtorch)));
  else console.error(`pare: passing over ${prebuilt.name}: ${why}`);
  return why === undefined;
}

/** What `npm install` runs: everything that the addon needs, and the addon. */
async function install() {
  const found = findLibtorch();
  if (found && addonIsCurrent(found)) return;
  const cuda = found?.cuda ?? wantsCuda();
  const prebuilt = findPrebuilt({ root: ROOT, sources: sourceHash(), cuda });
  // All that is missing is named before anything is downloaded.
  checkPrerequisites([...(prebuilt ? [] : ['compiler']), ...(found ? [] : ['pip'])]);
  const libtorch = found ?? (await ensureLibtorch());
  if (prebuilt && takePrebuilt(prebuilt, libtorch)) return;
  checkPrerequisites(['compiler']);
  await buildAddon(libtorch);
}

async function main() {
  await withLock(path.join(BUILD, 'setup.lock'), install, (holder) =>
    console.error(`waiting for process ${holder.pid}, which sets pare up here`),
  );
}

module.exports = { ROOT, BUILD, addonIsCurrent, buildAddon, compile, sourceHash };

if (require.main === module) {
  main().catch((error) => {
    console.error(`pare: ${error.message}`);
    process.exitCode = 1;
  });
}
