'use strict';
/**
 * Packs pare itself for npm, into build/packages or the folder that is given. What `npm pack` takes
 * is packed, with another package.json: it names the platform packages that lie in that folder (of
 * this machine and others; cmake/pack-platform.js makes them) as optional dependencies, and has
 * nothing that is for development.
 *
 * package.json itself names none: until they are published, whoever registers such a name first
 * could put a program of theirs into every installation.
 */
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { BUILD, ROOT, sourceHash } = require('./build.js');
const { npm } = require('./npm.js');

async function packPackage(output) {
  fs.mkdirSync(output, { recursive: true });
  const json = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
  const optionalDependencies = platformPackages(output, json.version);
  const folder = fs.mkdtempSync(path.join(BUILD, 'package-'));
  try {
    for (const file of await packedFiles()) {
      const target = path.join(folder, file);
      fs.mkdirSync(path.dirname(target), { recursive: true });
      fs.copyFileSync(path.join(ROOT, file), target);
    }
    const { install } = json.scripts;
    const published = { ...json, scripts: { install }, devDependencies: undefined };
    fs.writeFileSync(
      path.join(folder, 'package.json'),
      `${JSON.stringify({ ...published, optionalDependencies }, null, 2)}\n`,
    );
    await npm(['pack', '--pack-destination', output], { cwd: folder });
    console.log(path.join(output, `${json.name}-${json.version}.tgz`));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

/** What npm takes for the package, by `files` of package.json. */
async function packedFiles() {
  const flags = ['--dry-run', '--json', '--ignore-scripts', '--loglevel=silent'];
  const [{ files }] = JSON.parse(await npm(['pack', ...flags], { cwd: ROOT }));
  return files.map((file) => file.path);
}

/** The platform packages in a folder, with their version, which must be this one's. */
function platformPackages(folder, version) {
  const sources = sourceHash();
  const packages = fs
    .readdirSync(folder)
    .filter((file) => /^pare-addon-.*\.tgz$/.test(file))
    .map((file) => {
      const archive = path.join(folder, file);
      const json = JSON.parse(execFileSync('tar', ['-xOzf', archive, 'package/package.json']));
      if (json.version !== version || json.pare.sources !== sources) {
        throw new Error(`${archive} was built from other sources: delete it or pack it again`);
      }
      return [json.name, version];
    });
  return packages.length > 0 ? Object.fromEntries(packages) : undefined;
}

packPackage(path.resolve(process.argv[2] ?? path.join(BUILD, 'packages'))).catch((error) => {
  console.error(`pare: ${error.message}`);
  process.exitCode = 1;
});
