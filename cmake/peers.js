'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { SOURCES } = require('./fetch-libtorch.js');
const { pythonEnvironment } = require('./python-environment.js');

const REQUIREMENTS = path.join(__dirname, '../test/oracle/requirements.txt');

/**
 * A Python with the originals that `pare` is compared with and raced against, those of
 * test/oracle/requirements.txt, in an environment of its own in the cache.
 * @param {{more?: string[], env?: object, minutes?: number}} options packages beside them, as pip
 *   takes them, and how long an installation may take
 * @returns {Promise<{python: string, skipped?: undefined} | {python?: undefined, skipped: string}>}
 * @throws if the packages cannot be installed for another reason than an index out of reach
 */
async function preparePeers({ more = [], env = process.env, minutes } = {}) {
  const requirements = fs.readFileSync(REQUIREMENTS, 'utf8');
  const install = async (pip) => {
    // A small one first: without an index it fails in seconds, before gigabytes are moved.
    await pip('--no-deps', pinned(requirements, 'safetensors'));
    const torch = `${pinned(requirements, 'torch')}+cpu`;
    // The CPU build, or pip would fetch CUDA's libraries.
    await first(
      SOURCES.cpu.map(
        ({ args }) =>
          () =>
            pip(...args, torch),
      ),
    );
    await pip('-r', REQUIREMENTS, ...more);
  };
  const { python, skipped } = await pythonEnvironment(
    {
      name: 'peers',
      title: 'installing the Python peers',
      oldest: [3, 11], // of the versions in requirements.txt
      contents: [requirements, ...more],
      install,
      minutes,
    },
    env,
  );
  return skipped === undefined ? { python } : { skipped };
}

/** A package with its version, as requirements.txt pins it. */
function pinned(requirements, name) {
  return new RegExp(`^${name}==\\S+$`, 'm').exec(requirements)[0];
}

/** The result of the first attempt that works; the error of the first where none does. */
async function first(attempts) {
  let failure;
  for (const attempt of attempts) {
    try {
      return await attempt();
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

module.exports = { preparePeers };
