'use strict';
const fs = require('node:fs');
const path = require('node:path');

/** Folders of node_modules that `names` need, by the lock file. */
function closure(root, names) {
  const lock = JSON.parse(fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages;
  const found = new Set();
  const add = (name, from) => {
    // As Node looks: in the package's own node_modules, then in those around it.
    for (let folder = from; ; folder = folder.slice(0, folder.lastIndexOf('node_modules/'))) {
      const candidate = path.posix.join(folder, 'node_modules', name);
      if (lock[candidate] && fs.existsSync(path.join(root, candidate))) {
        if (found.has(candidate)) return;
        found.add(candidate);
        const { dependencies, optionalDependencies, peerDependencies } = lock[candidate];
        const all = { ...dependencies, ...optionalDependencies, ...peerDependencies };
        for (const needed of Object.keys(all)) add(needed, candidate);
        return;
      }
      if (folder === '') return; // optional, and not for this system
    }
  };
  for (const name of names) add(name, '');
  return [...found];
}

module.exports = { closure };
