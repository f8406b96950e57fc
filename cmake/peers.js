'use strict';
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { cacheFolder } = require('./libtorch.js');
const { SOURCES } = require('./fetch-libtorch.js');
const { withLock } = require('./lock.js');
const { step } = require('./progress.js');
const { CommandError, run } = require('./run.js');

const REQUIREMENTS = path.join(__dirname, '../test/oracle/requirements.txt');
/** Of the versions in requirements.txt. */
const OLDEST = [3, 11];

/** What pip says where no index answers. */
const UNREACHABLE =
  /connection (broken|refused|reset|error)|newconnectionerror|connecttimeout|timed out|temporary failure in name|max retries exceeded|network is unreachable|proxyerror|ssl.*error/i;

/**
 * A Python with the originals that `pare` is compared with and raced against, those of
 * test/oracle/requirements.txt: an environment of its own in the cache, made when it is missing and
 * kept for as long as the requirements stay the same.
 * @param {{more?: string[], env?: object, minutes?: number}} options packages beside them, as pip
 *   takes them, and how long an installation may take
 * @returns {Promise<{python: string, skipped?: undefined} | {python?: undefined, skipped: string}>}
 * @throws if the packages cannot be installed for another reason than an index out of reach
 */
async function preparePeers({ more = [], env = process.env, minutes = 15 } = {}) {
  const own = env.PYTHON ?? 'python3';
  const version = await pythonVersion(own);
  if (!version) return { skipped: `${own} does not run` };
  const [major, minor] = version;
  if (major !== OLDEST[0] || minor < OLDEST[1]) {
    return {
      skipped: `the peers need Python ${OLDEST.join('.')} and ${own} is ${version.join('.')}`,
    };
  }
  const requirements = fs.readFileSync(REQUIREMENTS, 'utf8');
  const hash = createHash('sha256')
    .update([requirements, ...more].join('\n'))
    .digest('hex')
    .slice(0, 12);
  const folder = path.join(cacheFolder(env), 'peers', `${version.join('.')}-${hash}`);
  const python = path.join(folder, 'bin', 'python');
  const complete = path.join(folder, 'complete');
  return withLock(
    `${folder}.lock`,
    async () => {
      if (fs.existsSync(complete)) return { python };
      fs.rmSync(folder, { recursive: true, force: true });
      const reason = await install(own, python, folder, requirements, more, minutes);
      if (reason) return { skipped: reason };
      fs.writeFileSync(complete, '');
      return { python };
    },
    (holder) => console.error(`waiting for process ${holder.pid}, which installs the peers`),
  );
}

async function pythonVersion(python) {
  try {
    const code = 'import sys; print("version", *sys.version_info[:2])';
    const [, ...version] = /version (\d+) (\d+)/.exec(await run(python, ['-c', code]));
    return version.map(Number);
  } catch {
    return undefined;
  }
}

/** A package with its version, as requirements.txt pins it. */
function pinned(requirements, name) {
  return new RegExp(`^${name}==\\S+$`, 'm').exec(requirements)[0];
}

/** @returns why they are not there, or undefined when all is installed */
async function install(own, python, folder, requirements, more, minutes) {
  const deadline = Date.now() + minutes * 60_000;
  const pip = (...args) =>
    run(python, ['-m', 'pip', 'install', '--no-input', ...args], {
      timeoutMs: Math.max(1, deadline - Date.now()),
    });
  try {
    await run(own, ['-m', 'venv', folder]);
  } catch (error) {
    const hint = /ensurepip|python3-venv/.test(error.output ?? '') ? ' (install python3-venv)' : '';
    return `no virtual environment can be made${hint}: ${lastLine(error)}`;
  }
  try {
    await step('installing the Python peers', async () => {
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
    });
  } catch (error) {
    fs.rmSync(folder, { recursive: true, force: true });
    if (error instanceof CommandError && UNREACHABLE.test(error.output)) {
      return `no package index could be reached: ${lastLine(error)}`;
    }
    if (Date.now() >= deadline) {
      return `the peers were not installed within ${minutes} minutes; what pip fetched is kept`;
    }
    throw new Error(`the Python peers cannot be installed: ${lastLine(error)}`, { cause: error });
  }
  return undefined;
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

function lastLine(error) {
  const lines = (error.output ?? '').trim().split(/[\r\n]+/);
  return (lines.findLast((line) => /^\s*ERROR/.test(line)) ?? error.message).trim();
}

module.exports = { preparePeers };
