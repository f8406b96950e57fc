/** What `pare doctor` finds out. Nothing here needs the addon to be there. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, availableParallelism, cpus, freemem, platform, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { buildCommand } from '../torch/load-addon';

export interface Finding {
  name: string;
  /** `note` is worth knowing and stops nothing. */
  status: 'ok' | 'note' | 'missing';
  detail: string;
}

// The set-up's own search, two levels up from lib/cli as from dist/cli.
interface SetUp {
  findLibtorch(options: { env: NodeJS.ProcessEnv }): Libtorch | undefined;
  cacheFolder(env: NodeJS.ProcessEnv): string;
}
interface Libtorch {
  root: string;
  version: string;
  cuda: boolean;
  source: string;
}
interface Prerequisites {
  checkPrerequisites(kinds: string[], env: NodeJS.ProcessEnv): void;
}

const root = join(__dirname, '../..');
const setUp = <T>(file: string): T =>
  createRequire(join(root, 'package.json'))(join(root, 'cmake', file)) as T;

/** Looks at Node, addon, libtorch, processor, GPU, memory, disk and what a build needs. */
export async function diagnose(env: NodeJS.ProcessEnv): Promise<Finding[]> {
  const addon = await lookAtAddon();
  const libtorch = lookAtLibtorch(env, addon);
  return [
    lookAtNode(),
    addon.finding,
    libtorch,
    ...lookAtTools(env, addon.works, libtorch.status === 'ok'),
    lookAtProcessor(addon.threads),
    lookAtGpu(addon),
    ...lookAtNccl(addon),
    lookAtMemory(),
    ...lookAtDisks(env),
  ];
}

function lookAtNode(): Finding {
  const version = process.versions.node;
  const isOld = Number(version.split('.')[0]) < 20;
  const detail = `${version}, ${platform()} ${arch()}`;
  if (!isOld) return { name: 'Node', status: 'ok', detail };
  return { name: 'Node', status: 'missing', detail: `${detail}; 20 or later is needed` };
}

interface Addon {
  works: boolean;
  finding: Finding;
  torchVersion?: string;
  threads?: number;
  cuda?: boolean;
  nccl?: boolean;
}

async function lookAtAddon(): Promise<Addon> {
  try {
    const { binding } = await import('../torch/binding');
    return {
      works: true,
      finding: { name: 'addon', status: 'ok', detail: 'loads' },
      torchVersion: binding.torchVersion(),
      threads: binding.getNumThreads(),
      cuda: binding.cudaIsAvailable(),
      nccl: binding.distributedBackends().includes('nccl'),
    };
  } catch (error) {
    return { works: false, finding: { name: 'addon', status: 'missing', detail: reason(error) } };
  }
}

function lookAtLibtorch(env: NodeJS.ProcessEnv, addon: Addon): Finding {
  const name = 'libtorch';
  // What the running program has mapped is what counts.
  const loaded = addon.works ? mappedLibrary('libtorch_cpu.so') : undefined;
  const where = loaded === undefined ? '' : `, loaded from ${dirname(loaded)}`;
  try {
    const found = setUp<SetUp>('libtorch.js').findLibtorch({ env });
    if (addon.works) {
      const place = where || (found === undefined ? '' : `, in ${found.root}`);
      return { name, status: 'ok', detail: `${addon.torchVersion}${place}` };
    }
    if (found === undefined) {
      const detail = `not found; run: ${buildCommand()}, which fetches it, or set LIBTORCH`;
      return { name, status: 'missing', detail };
    }
    const build = found.cuda ? 'CUDA' : 'CPU';
    const detail = `${found.version}, ${build} build, in ${found.root} (${found.source})`;
    return { name, status: 'ok', detail };
  } catch (error) {
    // A wrong LIBTORCH stops the next build, not an addon that is built.
    const status = addon.works ? 'note' : 'missing';
    const detail = addon.works ? `${addon.torchVersion}${where}; ${reason(error)}` : reason(error);
    return { name, status, detail };
  }
}

/** The file that this process has mapped under a library's name. */
function mappedLibrary(library: string): string | undefined {
  try {
    const maps = readFileSync('/proc/self/maps', 'utf8');
    const line = maps.split('\n').find((entry) => entry.endsWith(`/${library}`));
    return line?.slice(line.indexOf('/'));
  } catch {
    return undefined;
  }
}

/** Compiler and pip: needed only for what is not there yet. */
function lookAtTools(env: NodeJS.ProcessEnv, built: boolean, hasLibtorch: boolean): Finding[] {
  const tools = [
    { name: 'build tools', kind: 'compiler', found: 'g++, make, cmake', optional: built },
    { name: 'pip', kind: 'pip', found: 'python3 with pip', optional: built || hasLibtorch },
  ];
  return tools.map(({ name, kind, found, optional }) => {
    try {
      setUp<Prerequisites>('prerequisites.js').checkPrerequisites([kind], env);
      return { name, status: 'ok', detail: found };
    } catch (error) {
      const why = optional ? ' (needed to build only)' : '';
      return { name, status: optional ? 'note' : 'missing', detail: `${reason(error)}${why}` };
    }
  });
}

/** Instruction sets that matrix products use, by /proc/cpuinfo's names. */
const features = ['avx2', 'fma', 'f16c', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_bf16'];

function lookAtProcessor(threads: number | undefined): Finding {
  const model = cpus()[0]?.model ?? arch();
  let flags: string[] = [];
  try {
    const line = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'));
    flags = line?.[1]?.trim().split(/\s+/) ?? [];
  } catch {
    // Another system than Linux.
  }
  const has = features.filter((feature) => flags.includes(feature));
  const parts = [`${model.trim()}, ${availableParallelism()} cores`];
  if (threads !== undefined) parts.push(`${threads} libtorch threads`);
  if (flags.length > 0) parts.push(has.length > 0 ? has.join(' ') : 'no vector extension known');
  return { name: 'processor', status: 'ok', detail: parts.join(', ') };
}

function lookAtGpu({ cuda, works }: Addon): Finding {
  const query = ['--query-gpu=name,memory.total,driver_version', '--format=csv,noheader'];
  const probe = spawnSync('nvidia-smi', query, { encoding: 'utf8' });
  const gpus = probe.status === 0 ? probe.stdout.trim().split('\n').filter(Boolean) : [];
  const name = 'CUDA';
  if (gpus.length === 0) return { name, status: 'note', detail: 'no NVIDIA GPU; runs on the CPU' };
  const detail = gpus.join('; ');
  if (cuda) return { name, status: 'ok', detail };
  const why = works
    ? `this libtorch has no CUDA; PARE_CUDA=1 ${buildCommand()}`
    : 'the addon is missing';
  return { name, status: 'note', detail: `${detail}; not used: ${why}` };
}

/** What several GPUs talk by; nothing to tell of a CPU build. */
function lookAtNccl({ works, nccl }: Addon): Finding[] {
  if (!works || mappedLibrary('libtorch_cuda.so') === undefined) return [];
  if (nccl) return [{ name: 'NCCL', status: 'ok', detail: 'built in' }];
  const detail =
    'not built in: CUDA tensors cannot go from process to process; nccl.h, cusparse.h, ' +
    `cublas_v2.h or cusolverDn.h was not found; install torch's nvidia packages or set ` +
    `NCCL_HOME, then: ${buildCommand()}`;
  return [{ name: 'NCCL', status: 'note', detail }];
}

function lookAtMemory(): Finding {
  const limit = process.constrainedMemory();
  const total = totalmem();
  // Without a limit, Linux reports an enormous number.
  const isLimited = limit !== undefined && limit > 0 && limit < total;
  const allowed = isLimited ? `, of which ${gigabytes(limit)} are allowed here` : '';
  const detail = `${gigabytes(freemem())} free of ${gigabytes(total)}${allowed}`;
  return { name: 'memory', status: 'ok', detail };
}

function lookAtDisks(env: NodeJS.ProcessEnv): Finding[] {
  const folders = [{ name: 'disk', path: process.cwd() }];
  try {
    folders.push({ name: 'cache', path: setUp<SetUp>('libtorch.js').cacheFolder(env) });
  } catch {
    // The set-up's files are missing; other findings say so.
  }
  return folders.map(({ name, path }) => {
    let existing = path;
    while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
    const { bavail, bsize } = statfsSync(existing);
    return { name, status: 'ok', detail: `${gigabytes(bavail * bsize)} free for ${path}` };
  });
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/\s*\n\s*/g, ' ');
}
