'use strict';
const { spawnSync } = require('node:child_process');

const PYTHON = process.env.PYTHON || 'python3';

/** What each step needs: the command that shows it is there, and the Debian package that has it. */
const NEEDS = {
  compiler: [
    { name: 'g++', probe: [process.env.CXX || 'g++', '--version'], debian: 'g++' },
    { name: 'make', probe: ['make', '--version'], or: ['ninja', '--version'], debian: 'make' },
    { name: 'cmake', probe: ['cmake', '--version'], debian: 'cmake' },
  ],
  pip: [
    { name: 'python3', probe: [PYTHON, '--version'], debian: 'python3' },
    {
      name: 'pip for python3',
      probe: [PYTHON, '-m', 'pip', '--version'],
      debian: 'python3-pip',
    },
  ],
};

/**
 * @param {('compiler' | 'pip')[]} kinds
 * @throws an error of one line that names all that is missing and the Debian packages that have it
 */
function checkPrerequisites(kinds, env = process.env) {
  const works = ([command, ...args]) => spawnSync(command, args, { env }).status === 0;
  const missing = kinds
    .flatMap((kind) => NEEDS[kind])
    .filter(({ probe, or }) => !works(probe) && !(or && works(or)));
  const node = Number(process.versions.node.split('.')[0]);
  if (node < 20) missing.unshift({ name: `Node 20 or later (this is ${node})`, debian: 'nodejs' });
  if (missing.length === 0) return;
  const names = missing.map(({ name }) => name).join(', ');
  const packages = missing.map(({ debian }) => debian).join(' ');
  throw new Error(`missing: ${names}; on Debian: apt-get install ${packages}`);
}

module.exports = { checkPrerequisites };
