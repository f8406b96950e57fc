'use strict';
/**
 * npm run test:interop: the Python peers, then the round trips with them. Where the peers cannot be
 * had, or not within minutes, it says so and ends well, unless `--required` is given.
 * `PARE_INTEROP_PYTHON` names a Python that has the peers already. Other arguments are jest's.
 */
const path = require('node:path');
const { CommandError, run } = require('../../cmake/run.js');
const { preparePeers } = require('../../cmake/peers.js');

const INSTALL_MINUTES = 4;
/** They take one or two; this ends what hangs. */
const TEST_MINUTES = 15;

async function peersOrReason() {
  const given = process.env.PARE_INTEROP_PYTHON;
  if (given) return { python: given };
  try {
    return await preparePeers({ minutes: INSTALL_MINUTES });
  } catch (error) {
    return { skipped: error.message };
  }
}

async function main() {
  const began = Date.now();
  const required = process.argv.includes('--required');
  const peers = await peersOrReason();
  if (peers.skipped) {
    console.error(`test:interop: skipped, since ${peers.skipped}`);
    process.exitCode = required ? 1 : 0;
    return;
  }
  const jest = path.join(path.dirname(require.resolve('jest/package.json')), 'bin/jest.js');
  const config = path.join(__dirname, 'jest.config.js');
  const rest = process.argv.slice(2).filter((argument) => argument !== '--required');
  const env = { ...process.env, PARE_INTEROP_PYTHON: peers.python };
  try {
    await run(process.execPath, [jest, '--config', config, ...rest], {
      env,
      onLine: (line) => console.error(line),
      timeoutMs: TEST_MINUTES * 60_000,
    });
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    if (error.code === null) console.error(`test:interop: ended after ${TEST_MINUTES} minutes`);
    process.exitCode = 1;
  }
  console.error(`test:interop: ${((Date.now() - began) / 1000).toFixed(0)} s`);
}

main().catch((error) => {
  console.error(`test:interop: ${error.message}`);
  process.exitCode = 1;
});
