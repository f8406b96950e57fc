'use strict';
/**
 * Brings a checkout to where it can run: node_modules, libtorch, the addon, dist/. Each step is
 * skipped when its result is there and nothing that it is made of has changed. `npm test` and
 * `npm run demo` call this first, so it needs nothing but Node.
 */
const fs = require('node:fs');
const path = require('node:path');
const { checkPrerequisites } = require('./prerequisites.js');
const { ensureLibtorch, findLibtorch } = require('./libtorch.js');
const { withLock } = require('./lock.js');
const { npm } = require('./npm.js');
const { step } = require('./progress.js');
const { compileTypeScript } = require('./typescript.js');

const ROOT = path.dirname(__dirname);
const BUILD = path.join(ROOT, 'build');

async function setup() {
  const began = Date.now();
  checkPrerequisites([]);
  await withLock(path.join(BUILD, 'setup.lock'), allSteps, (holder) =>
    console.error(`waiting for process ${holder.pid}, which sets pare up here`),
  );
  console.error(`pare is set up (${((Date.now() - began) / 1000).toFixed(1)} s)`);
}

async function allSteps() {
  const found = findLibtorch();
  // All that is missing is named before anything is downloaded.
  const addon = fs.existsSync(path.join(BUILD, 'pare.node'));
  checkPrerequisites([...(addon ? [] : ['compiler']), ...(found ? [] : ['pip'])]);
  if (!modulesAreCurrent()) await installModules();
  const libtorch = found ?? (await ensureLibtorch());
  const { addonIsCurrent, buildAddon } = require('./build.js'); // needs node_modules
  if (!addonIsCurrent(libtorch)) {
    checkPrerequisites(['compiler']);
    await buildAddon(libtorch);
  }
  await compileTypeScript(ROOT);
}

/** Whether node_modules holds every package of package-lock.json, in its version. */
function modulesAreCurrent() {
  const read = (file) => JSON.parse(fs.readFileSync(path.join(ROOT, file), 'utf8')).packages;
  try {
    const wanted = read('package-lock.json');
    const installed = read('node_modules/.package-lock.json');
    return Object.entries(wanted).every(
      ([name, { version, optional }]) =>
        name === '' || installed[name]?.version === version || (optional && !installed[name]),
    );
  } catch {
    return false;
  }
}

async function installModules() {
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund'];
  // `ci` removes node_modules first, under the feet of whatever runs now; a fresh one needs it.
  const fresh = !fs.existsSync(path.join(ROOT, 'node_modules'));
  const attempts = fresh ? ['ci', 'install'] : ['install'];
  for (const command of attempts) {
    try {
      await step(`installing node_modules (npm ${command})`, () =>
        npm([command, ...flags], { cwd: ROOT }),
      );
      return;
    } catch (error) {
      if (command === attempts.at(-1)) throw error;
    }
  }
}

setup().catch((error) => {
  console.error(`pare: ${error.message}`);
  process.exitCode = 1;
});
