'use strict';
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

/** The files under `folder` whose names end in one of `endings`, sorted. */
function filesUnder(folder, endings) {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/** A hash of names and contents (not times: a fresh checkout of the same files is the same). */
function hashFiles(root, files, extra = {}) {
  const hash = createHash('sha256').update(JSON.stringify(extra));
  for (const file of files) {
    hash.update(`\0${path.relative(root, file)}\0`).update(fs.readFileSync(file));
  }
  return hash.digest('hex');
}

/** What the stamp file says was built last; empty when it is missing. */
function readStamp(file) {
  try {
    return fs.readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

function writeStamp(file, hash) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(`${file}.tmp`, `${hash}\n`);
  fs.renameSync(`${file}.tmp`, file);
}

module.exports = { filesUnder, hashFiles, readStamp, writeStamp };
