'use strict';
/**
 * Completes package-lock.json after `npm install NAME`: npm leaves out the optional packages for
 * other systems that the registry in use does not carry, and `npm ci` then calls the lock file out
 * of step. They are entered by name, system and version; they are never installed on Linux.
 */
const fs = require('node:fs');
const path = require('node:path');

const SYSTEM = new RegExp(
  '-(android|darwin|freebsd|linux|openharmony|win32)-(arm64|arm|x64|ia32|ppc64|riscv64|s390x|loong64)' +
    '(?:-(\\w+))?$',
);

const file = path.join(path.dirname(__dirname), 'package-lock.json');
const lock = JSON.parse(fs.readFileSync(file, 'utf8'));
for (const parent of Object.values({ ...lock.packages })) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    const system = SYSTEM.exec(name);
    if (lock.packages[key] || !system) continue;
    const [, os, cpu, abi] = system;
    lock.packages[key] = {
      version,
      cpu: [cpu],
      ...(parent.dev && { dev: true }),
      ...(os === 'linux' && { libc: [abi.startsWith('musl') ? 'musl' : 'glibc'] }),
      optional: true,
      os: [os],
    };
  }
}
const { '': root, ...others } = lock.packages;
const sorted = Object.entries(others).sort(([a], [b]) => a.localeCompare(b, 'en'));
lock.packages = { '': root, ...Object.fromEntries(sorted) };
fs.writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
