import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { PareError } from '../errors';

/** The addon, or libtorch beneath it, is missing or does not fit this machine. */
export class AddonNotFoundError extends PareError {}

/** What the system's loader says, and what it means. */
const reasons: [RegExp, (name: string) => string][] = [
  [
    /(lib(?:torch|c10|gomp)[\w-]*\.so[\w.]*): cannot open shared object file/,
    (library) => `libtorch is gone (${library} is not where it was when the addon was built)`,
  ],
  [
    /(lib[\w-]+\.so[\w.]*): cannot open shared object file/,
    (library) => `the library ${library} is missing`,
  ],
  [
    /version [`']?(GLIBC(?:XX)?_[\w.]+)'? not found/,
    (version) => `it was built for another system (${version} is missing)`,
  ],
  [/undefined symbol/, () => 'it was built with another version of libtorch'],
  [/invalid ELF header|wrong ELF class|file too short/, () => 'it is no library for this machine'],
];

// Two levels up is the package, from lib/torch as from dist/torch.
const root = join(__dirname, '../..');

/** The command that brings the addon: in a checkout, or where the package is installed. */
export function buildCommand(): string {
  return existsSync(join(root, 'cmake/setup.js')) ? 'npm run build' : 'npm rebuild pare';
}

/**
 * Loads the native addon: `build/pare.node` in the package, or the file that the environment
 * variable `PARE_ADDON` names.
 * @throws AddonNotFoundError saying what is missing and what to run
 */
export function loadAddon(): unknown {
  const given = process.env.PARE_ADDON;
  const path = given ? resolve(given) : join(root, 'build/pare.node');
  const remedy = given ? 'correct or unset PARE_ADDON' : `run: ${buildCommand()}`;
  if (!existsSync(path)) {
    throw new AddonNotFoundError(`the native addon ${path} is missing; ${remedy}`);
  }
  limitSpinning();
  limitKernels();
  // The ordinary `require` would go through jest's module registry under test.
  const addon: { exports: unknown } = { exports: {} };
  try {
    process.dlopen(addon as unknown as NodeModule, path);
  } catch (cause) {
    throw new AddonNotFoundError(
      `the native addon ${path} cannot be loaded: ${explain(cause)}; ${remedy}`,
      { cause },
    );
  }
  return addon.exports;
}

/**
 * libgomp's threads spin at the end of each parallel loop, by default long enough that on a busy
 * machine they take the processor from the thread they wait for: a training step was seen to take
 * 10 times as long. Short spins keep most of the speed of an idle machine. Read when libgomp loads.
 */
function limitSpinning(): void {
  if (process.env.OMP_WAIT_POLICY === undefined) process.env.GOMP_SPINCOUNT ??= '20000';
}

/**
 * oneDNN keeps the last 1,024 kernels it compiled, and in training most batches have shapes of
 * their own: 80 steps of a 5 M-parameter model were seen to keep 600 MB. Fewer cost no time.
 */
function limitKernels(): void {
  process.env.ONEDNN_PRIMITIVE_CACHE_CAPACITY ??= '128';
}

/** In words what the system's loader said; under jest its errors belong to another realm. */
function explain(cause: unknown): string {
  const said = (cause as Error | undefined)?.message ?? String(cause);
  for (const [pattern, words] of reasons) {
    const found = pattern.exec(said);
    if (found) return words(found[1] ?? '');
  }
  return said;
}
