'use strict';
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const pinnedChecksums = require('./checksums.json');
const { VERSION, cachedFolder, fetchLibtorch } = require('./fetch-libtorch.js');
const { withLock } = require('./lock.js');

const OLDEST = [2, 11];

/**
 * @typedef {object} Libtorch
 * @property {string} root the folder that holds lib/ and include/
 * @property {string} version as "2.13"
 * @property {boolean} cuda whether it is a CUDA build
 * @property {string} source where it was found
 */

/** The folder for downloads: PARE_CACHE, or `pare` in the user's cache folder. */
function cacheFolder(env = process.env) {
  if (env.PARE_CACHE) return path.resolve(env.PARE_CACHE);
  return path.join(env.XDG_CACHE_HOME || path.join(env.HOME || os.homedir(), '.cache'), 'pare');
}

/** Reads what a folder holds; undefined if it is no libtorch. Accepts `torch/` inside it. */
function describe(folder, source) {
  for (const root of ['', 'torch', 'libtorch'].map((name) => path.join(folder, name))) {
    if (!fs.existsSync(path.join(root, 'lib', 'libtorch_cpu.so'))) continue;
    const version = versionOf(root);
    if (!version) continue;
    const cuda = fs.existsSync(path.join(root, 'lib', 'libtorch_cuda.so'));
    return { root, version, cuda, source };
  }
  return undefined;
}

function versionOf(root) {
  for (const header of ['torch/headeronly/version.h', 'torch/csrc/api/include/torch/version.h']) {
    try {
      const text = fs.readFileSync(path.join(root, 'include', header), 'utf8');
      const major = /#define TORCH_VERSION_MAJOR (\d+)/.exec(text);
      const minor = /#define TORCH_VERSION_MINOR (\d+)/.exec(text);
      if (major && minor) return `${major[1]}.${minor[1]}`;
    } catch {
      // Older or newer than this layout.
    }
  }
  return undefined;
}

function isOld({ version }) {
  const [major, minor] = version.split('.').map(Number);
  return major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]);
}

/** Whether a CUDA build is wanted: PARE_CUDA=1 or 0 says so, else whether a GPU is there. */
function wantsCuda(env = process.env) {
  if (env.PARE_CUDA === '1') return true;
  if (env.PARE_CUDA === '0') return false;
  return hasGpu(env);
}

/** Whether an NVIDIA GPU is there. */
function hasGpu(env = process.env) {
  if (fs.existsSync('/dev/nvidia0')) return true;
  const probe = spawnSync('nvidia-smi', ['-L'], { env, encoding: 'utf8' });
  return probe.status === 0 && /^GPU \d/m.test(probe.stdout);
}

/** Where the torch of the Python on the PATH lies, found without importing it. */
function installedTorch(python, env) {
  const code =
    'import importlib.util as u; s = u.find_spec("torch"); ' +
    'print(s.submodule_search_locations[0] if s and s.submodule_search_locations else "")';
  // In a folder of its own, or a folder named torch in the current one would be taken for it.
  const found = spawnSync(python, ['-c', code], { env, cwd: '/', encoding: 'utf8' });
  return found.status === 0 ? found.stdout.trim() : '';
}

/**
 * Finds libtorch without downloading: LIBTORCH, an installed Python torch, the cache.
 * @param {{env?: object, python?: string, cuda?: boolean, log?: (line: string) => void}} options
 * @returns {Libtorch | undefined}
 * @throws if LIBTORCH is set to something that is no libtorch, or too old
 */
function findLibtorch(options = {}) {
  const env = options.env ?? process.env;
  const python = options.python ?? env.PYTHON ?? 'python3';
  const cuda = options.cuda ?? wantsCuda(env);
  const log = options.log ?? (() => {});
  if (env.LIBTORCH) {
    const found = describe(path.resolve(env.LIBTORCH), 'LIBTORCH');
    const what = found ? `is libtorch ${found.version}, too old` : 'holds no libtorch';
    if (found && !isOld(found)) return found;
    throw new Error(
      `LIBTORCH=${env.LIBTORCH} ${what}: set it to a folder with lib/ and include/ of libtorch ` +
        `${OLDEST.join('.')} or later, or unset it`,
    );
  }
  const installed = installedTorch(python, env);
  const found = installed && describe(installed, 'the installed Python torch');
  // A CUDA build also runs without a GPU; a CPU build would leave a GPU idle.
  const fits = found && (cuda ? found.cuda : !found.cuda || env.PARE_CUDA !== '0');
  if (fits && !isOld(found)) return found;
  if (found) {
    const kind = found.cuda ? 'a CUDA build' : 'a CPU build';
    log(`passing over the Python torch ${found.version} (${kind}) in ${found.root}`);
  }
  return describe(cachedFolder(cacheFolder(env), cuda ? 'cuda' : 'cpu'), 'the cache');
}

/**
 * Finds libtorch, downloading it into the cache if need be. Several processes may do so at once.
 * @param {{env?: object, python?: string, cuda?: boolean, checksums?: Record<string, string>,
 *   log?: (line: string) => void}} options
 * @returns {Promise<Libtorch>}
 */
async function ensureLibtorch(options = {}) {
  const env = options.env ?? process.env;
  const python = options.python ?? env.PYTHON ?? 'python3';
  const cuda = options.cuda ?? wantsCuda(env);
  const log = options.log ?? ((line) => process.stderr.write(`${line}\n`));
  const found = findLibtorch({ env, python, cuda, log });
  if (found) return found;
  if (process.platform !== 'linux') {
    throw new Error('libtorch is fetched for Linux only: set LIBTORCH to an unpacked libtorch');
  }
  const cache = cacheFolder(env);
  const context = { python, env, checksums: options.checksums ?? pinnedChecksums };
  return withLock(
    path.join(cache, 'libtorch.lock'),
    async () => {
      const search = () => findLibtorch({ env, python, cuda });
      if (!search()) await fetchLibtorch(context, cache, cuda ? 'cuda' : 'cpu');
      const fetched = search();
      if (!fetched) throw new Error(`libtorch ${VERSION} in ${cache} is not complete: delete it`);
      return fetched;
    },
    (holder) => log(`waiting for process ${holder.pid}, which fetches libtorch`),
  );
}

module.exports = { findLibtorch, ensureLibtorch, wantsCuda, hasGpu, cacheFolder };
