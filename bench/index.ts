/**
 * npm run bench [-- PART...]
 *
 * Installs what `pare` is raced against (the Python packages of test/oracle/requirements.txt,
 * node-llama-cpp), then runs every part, or those that are named, and writes
 * bench/RESULTS.md anew from the sections of all parts that were ever run here.
 *
 * PARE_BENCH_PYTHON names another Python that has the packages; PARE_BENCH_ROUNDS (5) is how often
 * contestants take turns.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { availableParallelism } from 'node:os';
import { root } from './settings';

const parts = [
  'few-rows',
  'bitsandbytes',
  'qlora-step',
  'generation',
  'importance',
  'start-up',
  'bridge',
] as const;
const folder = join(root, 'build/bench');
const llama = '3.22.1';
/** Writes llama.cpp's files. */
const gguf = 'gguf==0.19.0';

function note(text: string): void {
  console.error(`bench: ${text}`);
}

function run(command: string, args: readonly string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

async function preparePython(): Promise<string> {
  const given = process.env.PARE_BENCH_PYTHON;
  if (given !== undefined) return given;
  // A build script, and plain JavaScript.
  const script = join(root, 'cmake/peers.js');
  const { preparePeers } = (await import(script)) as {
    preparePeers(options: { more: string[] }): Promise<{ python?: string; skipped?: string }>;
  };
  const { python, skipped } = await preparePeers({ more: [gguf] });
  if (python !== undefined) return python;
  console.error(`bench: there is nothing to be raced against, since ${skipped}`);
  process.exit(1);
}

function installLlama(): string {
  const dir = join(folder, `node-llama-cpp-${llama}`);
  if (existsSync(join(dir, 'installed'))) return dir;
  note('installing node-llama-cpp …');
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'package.json'), '{ "private": true }\n');
  const platform = `@node-llama-cpp/${process.platform}-${process.arch}@${llama}`;
  const quietly = ['--ignore-scripts', '--no-audit', '--no-fund', '--omit=optional'];
  run('npm', ['install', ...quietly, '--prefix', dir, `node-llama-cpp@${llama}`, platform]);
  writeFileSync(join(dir, 'installed'), '');
  return dir;
}

async function main(): Promise<void> {
  const asked = process.argv.slice(2);
  const unknown = asked.find((part) => !(parts as readonly string[]).includes(part));
  if (unknown !== undefined) {
    console.error(`bench: there is no part ${unknown}; there are ${parts.join(', ')}`);
    process.exit(2);
  }
  const threads = String(availableParallelism());
  const env = {
    ...process.env,
    PARE_ADDON: join(root, 'build/pare.node'),
    PARE_BENCH_PYTHON: await preparePython(),
    PARE_BENCH_PACKAGES: installLlama(),
    OMP_NUM_THREADS: threads,
    MKL_NUM_THREADS: threads,
    HF_HUB_OFFLINE: '1',
  };
  const sections = join(folder, 'sections');
  mkdirSync(sections, { recursive: true });
  for (const part of parts.filter((name) => asked.length === 0 || asked.includes(name))) {
    note(`${part} …`);
    const script = join(__dirname, 'parts', `${part}.js`);
    const section = execFileSync(process.execPath, [script], {
      cwd: root,
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
      maxBuffer: 1 << 24,
    });
    writeFileSync(join(sections, `${part}.md`), section);
  }
  const known = parts
    .map((part) => join(sections, `${part}.md`))
    .filter((path) => existsSync(path));
  const intro = readFileSync(join(root, 'bench/intro.md'), 'utf8');
  const notes = readFileSync(join(root, 'bench/notes.md'), 'utf8');
  const measured = known.map((path) => readFileSync(path, 'utf8'));
  const text = [intro, ...measured, notes].join('\n');
  writeFileSync(join(root, 'bench/RESULTS.md'), text);
  run('npx', ['prettier', '--write', join(root, 'bench/RESULTS.md')]);
  note('bench/RESULTS.md is written');
}

void main();
