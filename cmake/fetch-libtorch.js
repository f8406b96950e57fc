'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { CommandError } = require('./run.js');
const { downloadWheel, pinnedVersion, requirementsOf, unpackWheel } = require('./wheels.js');

const VERSION = '2.13.0';
const ARCH = process.arch === 'arm64' ? 'aarch64' : 'x86_64';

// libtorch is the same in the wheels of every Python version, so that one is pinned and asked for,
// whichever Python runs pip.
const TAGS = ['--implementation=cp', '--python-version=3.11', '--abi=cp311'].concat(
  `--platform=manylinux_2_28_${ARCH}`,
);

const SOURCES = {
  cpu: [
    { name: 'the configured index', args: [] },
    { name: "PyTorch's index", args: ['--index-url=https://download.pytorch.org/whl/cpu'] },
  ],
  cuda: [{ name: 'the configured index', args: [] }],
};

const REQUIREMENTS = {
  cpu: `torch==${VERSION}+cpu`,
  // Three equal signs, or pip would take a "+cpu" build where it sees one.
  cuda: `torch===${VERSION}`,
};

/** Where the download for `kind` lies in the cache: `torch/` and, with CUDA, `nvidia/` beside it. */
function cachedFolder(cache, kind) {
  return path.join(cache, 'libtorch', `${VERSION}-${kind}-${ARCH}`);
}

/**
 * Downloads and unpacks libtorch into the cache. Everything is done in a temporary folder that takes
 * its name when it is complete; what an interrupted download left behind is removed first. The
 * caller holds the cache's lock.
 * @param {{python: string, env: object, checksums: Record<string, string>}} context
 * @param {string} cache
 * @param {'cpu' | 'cuda'} kind
 */
async function fetchLibtorch(context, cache, kind) {
  const home = path.join(cache, 'libtorch');
  fs.mkdirSync(home, { recursive: true });
  for (const name of fs.readdirSync(home)) {
    if (name.startsWith('tmp-')) fs.rmSync(path.join(home, name), { recursive: true });
  }
  const temporary = fs.mkdtempSync(path.join(home, 'tmp-'));
  const unpacked = path.join(temporary, 'unpacked');
  try {
    const failures = [];
    let wheel;
    for (const [index, source] of SOURCES[kind].entries()) {
      const folder = path.join(temporary, `wheel-${index}`);
      try {
        wheel = await downloadWheel(context, REQUIREMENTS[kind], folder, [...TAGS, ...source.args]);
        break;
      } catch (error) {
        failures.push(`${source.name}: ${reason(error)}`);
      }
    }
    if (!wheel) throw new Error(failures.join('; '));
    if (kind === 'cuda') await fetchNvidia(context, wheel, temporary, unpacked);
    const parts = ['torch/lib/', 'torch/include/', 'torch/share/'];
    await unpackWheel(context.python, wheel, unpacked, parts);
    const final = cachedFolder(cache, kind);
    fs.rmSync(final, { recursive: true, force: true });
    fs.renameSync(unpacked, final);
  } catch (error) {
    throw new Error(
      `cannot fetch ${REQUIREMENTS[kind]}: ${reason(error)}; try again, or set LIBTORCH to a ` +
        'folder with lib/ and include/ of libtorch, or install torch 2.11 or later with pip',
      { cause: error },
    );
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true });
  }
}

/**
 * NVIDIA's wheels that the torch wheel needs, and those that they need in turn, unpacked where
 * libtorch's own search path (`$ORIGIN/../../nvidia/…`) finds them.
 */
async function fetchNvidia(context, torchWheel, temporary, unpacked) {
  const queue = await requirementsOf(context.python, torchWheel);
  const seen = new Set();
  while (queue.length > 0) {
    const { name, extras, specifier } = queue.shift();
    // What else torch needs (sympy, triton, cuda-bindings) is for Python.
    const ofNvidia = name.startsWith('nvidia-') || name === 'cuda-toolkit';
    const key = `${name}[${extras.join(',')}]`;
    if (!ofNvidia || seen.has(key)) continue;
    seen.add(key);
    const pinned = pinnedVersion(context.checksums, name, ARCH);
    const wanted = [specifier, pinned ? `==${pinned}` : ''].filter(Boolean).join(',');
    const folder = path.join(temporary, `nvidia-${seen.size}`);
    const wheel = await downloadWheel(context, `${name}${wanted}`, folder, []);
    queue.push(...(await requirementsOf(context.python, wheel, extras)));
    await unpackWheel(context.python, wheel, unpacked, ['nvidia/']);
    fs.rmSync(folder, { recursive: true });
  }
}

/** One line of an error; of pip's output the line that says what failed. */
function reason(error) {
  const lines = error instanceof CommandError ? error.output.trim().split(/[\r\n]+/) : [];
  const said = lines.filter((line) => /^(ERROR|\w*Error)\b/.test(line.trim())).pop();
  return (said ?? error.message).replace(/^ERROR: /, '').trim();
}

module.exports = { VERSION, SOURCES, fetchLibtorch, cachedFolder };
