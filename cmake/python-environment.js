'use strict';
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { cacheFolder } = require('./libtorch.js');
const { withLock } = require('./lock.js');
const { step } = require('./progress.js');
const { CommandError, run } = require('./run.js');

/** What pip and npm say where no index answers. */
const UNREACHABLE =
  /connection (broken|refused|reset|error)|newconnectionerror|connecttimeout|timed out|temporary failure in name|max retries exceeded|network is unreachable|proxyerror|ssl.*error|enotfound|econnrefused|econnreset|etimedout|eai_again/i;

/**
 * A virtual environment of Python in the cache, made when it is missing and kept for as long as what
 * it is made of stays the same.
 * @param {object} wanted
 * @param {string} wanted.name its folder in the cache
 * @param {string} wanted.title of the step that installs, for people
 * @param {[number, number]} wanted.oldest the oldest Python
 * @param {string[]} wanted.contents what stands for what is installed
 * @param {(pip: (...args: string[]) => Promise<string>, folder: string) => Promise<void>}
 *   wanted.install fills it; the folder is the environment's
 * @param {number} [wanted.minutes] that an installation may take, 15 unless given
 * @returns {Promise<{folder: string, python: string} | {skipped: string}>}
 * @throws if something cannot be installed for another reason than an index out of reach
 */
async function pythonEnvironment(wanted, env = process.env) {
  const { name, title, oldest, contents, install, minutes = 15 } = wanted;
  const own = env.PYTHON ?? 'python3';
  const version = await pythonVersion(own);
  if (!version) return { skipped: `${own} does not run` };
  const [major, minor] = version;
  if (major !== oldest[0] || minor < oldest[1]) {
    return {
      skipped: `the ${name} need Python ${oldest.join('.')} and ${own} is ${version.join('.')}`,
    };
  }
  const hash = createHash('sha256').update(contents.join('\n')).digest('hex').slice(0, 12);
  const folder = path.join(cacheFolder(env), name, `${version.join('.')}-${hash}`);
  const python = path.join(folder, 'bin', 'python');
  const complete = path.join(folder, 'complete');
  const make = async () => {
    if (fs.existsSync(complete)) return { folder, python };
    const deadline = Date.now() + minutes * 60_000;
    const pip = (...args) =>
      run(python, ['-m', 'pip', 'install', '--no-input', ...args], {
        timeoutMs: Math.max(1, deadline - Date.now()),
      });
    fs.rmSync(folder, { recursive: true, force: true });
    try {
      await run(own, ['-m', 'venv', folder]);
    } catch (error) {
      const hint = /ensurepip|python3-venv/.test(error.output ?? '')
        ? ' (install python3-venv)'
        : '';
      return { skipped: `no virtual environment can be made${hint}: ${lastLine(error)}` };
    }
    try {
      await step(title, () => install(pip, folder));
    } catch (error) {
      fs.rmSync(folder, { recursive: true, force: true });
      const failed = error.cause instanceof CommandError ? error.cause : error;
      if (failed instanceof CommandError && UNREACHABLE.test(failed.output)) {
        return { skipped: `no package index could be reached: ${lastLine(failed)}` };
      }
      if (Date.now() >= deadline) {
        return {
          skipped: `the ${name} were not installed within ${minutes} minutes; what was fetched is kept`,
        };
      }
      throw new Error(`the ${name} cannot be installed: ${lastLine(error)}`, { cause: error });
    }
    fs.writeFileSync(complete, '');
    return { folder, python };
  };
  return withLock(`${folder}.lock`, make, (holder) =>
    console.error(`waiting for process ${holder.pid}, which installs the ${name}`),
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

function lastLine(error) {
  const lines = (error.output ?? '').trim().split(/[\r\n]+/);
  return (lines.findLast((line) => /^\s*ERROR/.test(line)) ?? error.message).trim();
}

module.exports = { pythonEnvironment };
