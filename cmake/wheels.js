'use strict';
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { run } = require('./run.js');
const { step } = require('./progress.js');
const { filesUnder } = require('./stamp.js');

const WHEEL_PY = path.join(__dirname, 'wheel.py');

/**
 * Downloads one wheel with pip into `folder`, which must be empty, and checks it against its pinned
 * sha256. pip's own settings decide where it comes from; `source.args` may name another index.
 * @param {object} context
 * @param {string} context.python
 * @param {object} context.env
 * @param {Record<string, string>} context.checksums sha256 by file name
 * @param {string} requirement as `torch==2.13.0+cpu`
 * @param {string} folder
 * @param {string[]} args further arguments for `pip download`
 * @returns {Promise<string>} the wheel's path
 */
async function downloadWheel(context, requirement, folder, args) {
  // pip's own temporary files go there too, so that nothing outlives an interrupted download, and
  // their size tells how far it is (pip draws its bar on terminals only).
  const partial = path.join(folder, 'partial');
  fs.mkdirSync(partial, { recursive: true });
  const command = ['-m', 'pip', 'download', '--no-deps', '--no-cache-dir', '--only-binary=:all:'];
  const env = {
    ...context.env,
    TMPDIR: partial,
    PIP_DISABLE_PIP_VERSION_CHECK: '1',
    PIP_NO_INPUT: '1',
    PIP_REQUIRE_VIRTUALENV: '0',
  };
  await step(`downloading ${requirement}`, async (line) => {
    let timer;
    const onLine = (text) => {
      const [, size, unit] = /^\s*Downloading .*\(([\d.]+) ([kMG])B\)/.exec(text) ?? [];
      if (!size) return;
      const total = Number(size) * { k: 1e3, M: 1e6, G: 1e9 }[unit];
      clearInterval(timer);
      timer = setInterval(() => line.update(Math.min(1, bytesUnder(partial) / total)), 500);
    };
    try {
      await run(context.python, [...command, '--dest', folder, ...args, requirement], {
        env,
        onLine,
      });
    } finally {
      clearInterval(timer);
    }
  });
  const file = fs.readdirSync(folder).find((name) => name.endsWith('.whl'));
  if (!file) throw new Error(`pip downloaded no wheel for ${requirement}`);
  await verify(path.join(folder, file), context);
  return path.join(folder, file);
}

function bytesUnder(folder) {
  try {
    return filesUnder(folder, ['']).reduce((sum, file) => sum + fs.statSync(file).size, 0);
  } catch {
    return 0; // pip moved a file away meanwhile
  }
}

/** @throws if the file is not the one whose checksum is pinned */
async function verify(wheel, { checksums, env }) {
  const name = path.basename(wheel);
  const hash = createHash('sha256');
  for await (const chunk of fs.createReadStream(wheel, { highWaterMark: 1 << 20 })) {
    hash.update(chunk);
  }
  const found = hash.digest('hex');
  const pinned = checksums[name];
  if (pinned === found || (!pinned && env.PARE_UNPINNED === '1')) return;
  fs.rmSync(wheel);
  throw new Error(
    pinned
      ? `${name} has the sha256 ${found}, but ${pinned} is pinned; it was deleted`
      : `no checksum is pinned for ${name} (sha256 ${found}); PARE_UNPINNED=1 accepts it`,
  );
}

/**
 * What a wheel needs on this machine: names, extras and version specifiers; markers are evaluated.
 * @param {string[]} extras the wheel's extras that are asked for
 * @returns {Promise<{name: string, extras: string[], specifier: string}[]>}
 */
async function requirementsOf(python, wheel, extras = []) {
  return JSON.parse(await run(python, [WHEEL_PY, 'requires', wheel, extras.join(',')]));
}

/** Unpacks what lies under `prefixes` in the wheel into `folder`. */
function unpackWheel(python, wheel, folder, prefixes) {
  return step(`unpacking ${path.basename(wheel).split('-').slice(0, 2).join(' ')}`, (line) =>
    run(python, [WHEEL_PY, 'unpack', wheel, folder, ...prefixes], {
      onLine: (text) => line.update(Number(text)),
    }),
  );
}

/**
 * The version of a package that `checksums` pins for this machine, undefined if none is.
 * @param {string} name as `nvidia-cublas`
 */
function pinnedVersion(checksums, name, arch) {
  for (const file of Object.keys(checksums)) {
    const [distribution, version] = file.split('-');
    const fits = file.endsWith('-any.whl') || file.endsWith(`_${arch}.whl`);
    if (fits && normal(distribution) === normal(name)) return version;
  }
  return undefined;
}

const normal = (name) => name.toLowerCase().replace(/[-_.]+/g, '-');

module.exports = { downloadWheel, requirementsOf, unpackWheel, pinnedVersion };
