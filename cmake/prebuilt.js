'use strict';
/**
 * Addons that were built elsewhere: packages of npm, one a platform, which cmake/pack-platform.js
 * makes and the published package names as optional dependencies.
 */
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const { createRequire } = require('node:module');
const path = require('node:path');

/** The link beside an addon that was built elsewhere, by which it finds the libtorch of this machine. */
const LIBTORCH_LINK = 'libtorch';

/**
 * @typedef {object} Prebuilt
 * @property {string} name of its package
 * @property {string} addon the file
 * @property {string} libtorch the version that it was built with, as "2.13"
 * @property {boolean} cuda whether that was a CUDA build
 */

/** The name and the fields of package.json that say which machines a package is for. */
function platformPackage(cuda) {
  const { platform: os, arch: cpu, report } = process;
  report.excludeNetwork = true; // it would ask for the names of hosts
  const isGlibc = 'glibcVersionRuntime' in report.getReport().header;
  const name = [os, cpu, isGlibc ? 'gnu' : 'musl', ...(cuda ? ['cuda'] : [])].join('-');
  const libc = isGlibc ? 'glibc' : 'musl';
  return { name: `@pare/addon-${name}`, os: [os], cpu: [cpu], libc: [libc] };
}

/**
 * The installed package for this machine, if its addon is made of the very sources that are here.
 * PARE_PREBUILT=0 wants none.
 * @param {{root: string, sources: string, cuda: boolean}} wanted `sources` is their hash
 * @returns {Prebuilt | undefined}
 */
function findPrebuilt({ root, sources, cuda }) {
  if (process.env.PARE_PREBUILT === '0') return undefined;
  const { name } = platformPackage(cuda);
  let file;
  try {
    file = createRequire(path.join(root, 'package.json')).resolve(`${name}/package.json`);
  } catch {
    return undefined;
  }
  const { pare } = JSON.parse(fs.readFileSync(file, 'utf8'));
  if (pare.sources !== sources) {
    console.error(`pare: passing over ${name}, which was built from other sources`);
    return undefined;
  }
  const addon = path.join(path.dirname(file), 'pare.node');
  return { name, addon, libtorch: pare.libtorch, cuda: pare.cuda };
}

/**
 * Puts the addon at `addon`, with the link to libtorch beside it.
 * @returns {string | undefined} why it does not serve with this libtorch; nothing is left behind then
 */
function placePrebuilt(prebuilt, libtorch, addon) {
  const kind = ({ cuda }) => (cuda ? 'CUDA' : 'CPU');
  const built = `${prebuilt.libtorch} (${kind(prebuilt)})`;
  const here = `${libtorch.version} (${kind(libtorch)})`;
  if (built !== here) return `it was built with libtorch ${built}, and here is ${here}`;
  const temporary = `${addon}.tmp`;
  const link = path.join(path.dirname(addon), LIBTORCH_LINK);
  fs.rmSync(`${link}.tmp`, { force: true });
  fs.symlinkSync(path.join(libtorch.root, 'lib'), `${link}.tmp`);
  fs.renameSync(`${link}.tmp`, link);
  fs.copyFileSync(prebuilt.addon, temporary);
  const failure = loadFailure(temporary);
  if (failure === undefined) {
    fs.renameSync(temporary, addon);
    return undefined;
  }
  fs.rmSync(temporary);
  fs.rmSync(link);
  return failure;
}

/** What the system's loader says of an addon of which every symbol is looked up; in another process. */
function loadFailure(addon) {
  const program =
    "process.dlopen({ exports: {} }, process.argv[1], require('node:os').constants.dlopen.RTLD_NOW)";
  const { status, signal, stderr } = spawnSync(process.execPath, ['-e', program, addon], {
    encoding: 'utf8',
  });
  if (status === 0) return undefined;
  const [, said] = /^Error: (.*)$/m.exec(stderr) ?? [];
  return `it cannot be loaded: ${said ?? `Node was ended (${signal ?? status})`}`;
}

module.exports = { LIBTORCH_LINK, platformPackage, findPrebuilt, placePrebuilt };
