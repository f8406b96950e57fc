'use strict';
/**
 * What runs the notebooks: Jupyter, and tslab as its kernel, in the cache. Nothing is installed into
 * the user's own Jupyter. As a program it prints what {@link prepareNotebooks} gives, as JSON; with
 * `open` (npm run notebooks) it serves the folder notebooks/ in JupyterLab instead.
 */
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { npm } = require('./npm.js');
const { pythonEnvironment } = require('./python-environment.js');

// docs/dependencies.md says why these.
const NBCONVERT = 'nbconvert==7.17.2';
const JUPYTERLAB = 'jupyterlab~=4.0';
const TSLAB = 'tslab@1.0.22';

const ROOT = path.dirname(__dirname);

/**
 * @param {string[]} packages of Python, as pip takes them
 * @returns {Promise<{jupyter: string, data: string} | {skipped: string}>} the program, and the folder
 *   for JUPYTER_DATA_DIR, whose kernel is called tslab
 */
async function prepareNotebooks(packages = [NBCONVERT], env = process.env) {
  const made = await pythonEnvironment(
    {
      name: 'notebooks',
      title: `installing ${[...packages, TSLAB].join(' and ')}`,
      oldest: [3, 9],
      contents: [...packages, TSLAB, process.execPath],
      install: async (pip, folder) => {
        await pip(...packages);
        // As a user does: installed otherwise, it does not find its own @types/node.
        const quietly = ['--ignore-scripts', '--no-audit', '--no-fund'];
        await npm(['install', ...quietly, '--global', '--prefix', folder, TSLAB]);
        writeKernel(folder);
      },
    },
    env,
  );
  if (made.skipped !== undefined) return made;
  return { jupyter: path.join(made.folder, 'bin/jupyter'), data: dataOf(made.folder) };
}

const dataOf = (folder) => path.join(folder, 'jupyter');

/** As `tslab install` does, which needs IPython. */
function writeKernel(folder) {
  const kernel = path.join(dataOf(folder), 'kernels/tslab');
  const tslab = path.join(folder, 'bin/tslab');
  fs.mkdirSync(kernel, { recursive: true });
  const argv = [process.execPath, tslab, 'kernel', '--config-path', '{connection_file}'];
  const spec = { argv, display_name: 'TypeScript', language: 'typescript' };
  fs.writeFileSync(path.join(kernel, 'kernel.json'), JSON.stringify(spec));
}

/** Lets notebooks of the folder import this checkout by its name. */
function linkPackage(folder) {
  const modules = path.join(folder, 'node_modules');
  const link = path.join(modules, 'pare');
  fs.mkdirSync(modules, { recursive: true });
  fs.rmSync(link, { force: true });
  fs.symlinkSync(ROOT, link, 'dir');
}

async function open(args) {
  const tools = await prepareNotebooks([JUPYTERLAB]);
  if (tools.skipped !== undefined) throw new Error(`JupyterLab is needed, but ${tools.skipped}`);
  const folder = path.join(ROOT, 'notebooks');
  linkPackage(folder);
  const jupyter = spawn(tools.jupyter, ['lab', `--notebook-dir=${folder}`, ...args], {
    env: { ...process.env, JUPYTER_PATH: tools.data },
    stdio: 'inherit',
  });
  // Ctrl-C is for Jupyter, which asks whether it is meant.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => jupyter.kill());
  jupyter.on('close', (code) => (process.exitCode = code ?? 1));
}

async function main([command, ...args]) {
  if (command === 'open') return open(args);
  console.log(JSON.stringify(await prepareNotebooks()));
}

if (require.main === module) {
  main(process.argv.slice(2)).catch((error) => {
    console.error(`notebooks: ${error.message}`);
    process.exitCode = 1;
  });
}

module.exports = { prepareNotebooks };
