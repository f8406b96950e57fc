'use strict';
/**
 * Packs the addon of this machine, stripped, as a package of npm for machines like it, into
 * build/packages or the folder that is given. cmake/pack-package.js makes the package that names it.
 */
const fs = require('node:fs');
const path = require('node:path');
const { BUILD, ROOT, buildAddon, sourceHash } = require('./build.js');
const { findLibtorch } = require('./libtorch.js');
const { npm } = require('./npm.js');
const { placePrebuilt, platformPackage } = require('./prebuilt.js');
const { run } = require('./run.js');

async function packPlatform(output) {
  const libtorch = findLibtorch();
  const compiled = path.join(BUILD, 'cmake');
  if (!fs.existsSync(path.join(compiled, 'cmake_install.cmake'))) await buildAddon(libtorch);
  fs.mkdirSync(output, { recursive: true });
  const folder = fs.mkdtempSync(path.join(BUILD, 'platform-'));
  try {
    // CMake's own installation writes the search path anew: none of this machine's is left.
    const install = ['--install', compiled, '--config', 'Release', '--strip', '--prefix', folder];
    await run('cmake', install);
    const { version, license } = readPackage();
    const { name, ...machines } = platformPackage(libtorch.cuda);
    const built = { libtorch: libtorch.version, cuda: libtorch.cuda };
    const addon = path.join(folder, 'pare.node');
    await check({ name, addon, ...built }, libtorch);
    const needs = `${libtorch.cuda ? 'a CUDA' : 'a CPU'} build of libtorch ${libtorch.version}`;
    const description = `The addon of pare ${version}, compiled for ${needs}`;
    const fields = { name, version, description, license, ...machines, preferUnplugged: true };
    const pare = { ...built, sources: sourceHash() };
    const json = JSON.stringify({ ...fields, pare }, null, 2);
    fs.writeFileSync(path.join(folder, 'package.json'), `${json}\n`);
    fs.writeFileSync(path.join(folder, 'README.md'), readme(name, version, needs, addon));
    fs.copyFileSync(path.join(ROOT, 'LICENSE'), path.join(folder, 'LICENSE'));
    await npm(['pack', '--pack-destination', output], { cwd: folder });
    const file = `${name.slice(1).replace('/', '-')}-${version}.tgz`;
    console.log(path.join(output, file));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

function readPackage() {
  return JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
}

/** Loads the addon from another folder, as it will be loaded. */
async function check(prebuilt, libtorch) {
  const elsewhere = fs.mkdtempSync(path.join(BUILD, 'loaded-'));
  try {
    const why = placePrebuilt(prebuilt, libtorch, path.join(elsewhere, 'pare.node'));
    if (why !== undefined) throw new Error(`the packed addon does not serve: ${why}`);
  } finally {
    fs.rmSync(elsewhere, { recursive: true });
  }
}

function readme(name, version, needs, addon) {
  const versions = fs.readFileSync(addon, 'latin1').match(/GLIBC_2\.\d+/g) ?? [];
  const newest = Math.max(...versions.map((found) => Number(found.slice('GLIBC_2.'.length))));
  const glibc = versions.length > 0 ? ` and glibc 2.${newest} or later` : '';
  return (
    `# ${name}\n\nThe native addon of pare ${version}, compiled. It needs ${needs}${glibc}, which it ` +
    'does not bring: the installation of `pare`, of which this is an optional dependency, finds or ' +
    'fetches libtorch, copies the addon to its own `build/`, and links libtorch there. Where it does ' +
    'not fit, the addon is built from source instead.\n'
  );
}

packPlatform(path.resolve(process.argv[2] ?? path.join(BUILD, 'packages'))).catch((error) => {
  console.error(`pare: ${error.message}`);
  process.exitCode = 1;
});
