'use strict';
/**
 * npm run test:interop: the Python peers, then the round trips with them. Where no package index can
 * be reached it says so and ends well, unless `--required` is given. `PARE_INTEROP_PYTHON` names a
 * Python that has the peers already.
 */
const path = require('node:path');
const { CommandError, run } = require('../../cmake/run.js');
const { preparePeers } = require('../../cmake/peers.js');

async function main() {
  const began = Date.now();
  const required = process.argv.includes('--required');
  const given = process.env.PARE_INTEROP_PYTHON;
  const peers = given ? { python: given } : await preparePeers();
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
    });
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    process.exitCode = 1;
  }
  console.error(`test:interop: ${((Date.now() - began) / 1000).toFixed(0)} s`);
}

main().catch((error) => {
  console.error(`test:interop: ${error.message}`);
  process.exitCode = 1;
});
