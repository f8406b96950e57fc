/**
 * What the real size takes: every step on a checkpoint of Qwen2-Audio-7B's shape, each in a process
 * of its own. The kernel says how much memory (VmHWM; RssAnon and RssFile every 50 ms), how many
 * bytes from and to the disk (/proc/PID/io), and how long. Files are put out of the page cache, or
 * into it, where a step's title says so. Writes the table in bench/SCALE.md.
 *
 *   npx tsc -p bench/tsconfig.json
 *   PARE_ADDON=build/pare.node node build/bench/bench/scale.js FOLDER [STEP]...
 *
 * FOLDER keeps the checkpoints (42 GB, at most 37 at a time) and the results; what is there is not
 * made again. PARE_SCALE_SHAPE=qwen2-audio-tiny tries it all in a minute.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { prunedFolder, steps, type Findings, type Step } from './scale-steps';

const shape = process.env.PARE_SCALE_SHAPE ?? 'qwen2-audio-7b';

/** What the kernel says of a process. */
interface Measured {
  seconds: number;
  /** Of user and system, of all threads. */
  processorSeconds: number;
  /** Bytes: the most resident at a time, and what of it was its own and what pages of files. */
  peak: number;
  peakAnonymous: number;
  peakFile: number;
  read: number;
  written: number;
  /** The load average of the last minute: of 2 on 2 cores and less, no other work was in the way. */
  load: number;
}

interface Result extends Measured {
  findings: Findings;
}

/** `key: number` lines of a file of /proc. */
function numbers(path: string): Map<string, number> {
  const lines = readFileSync(path, 'utf8').matchAll(/^(\w+):\s+(\d+)( kB)?/gm);
  return new Map(Array.from(lines, ([, key, n, kB]) => [key!, Number(n) * (kB ? 1024 : 1)]));
}

/** In the child: runs a step and says what the kernel counted. */
async function runStep(name: string, folder: string): Promise<void> {
  const started = performance.now();
  const findings = await steps[name]!.run(folder, shape);
  const seconds = (performance.now() - started) / 1000;
  const status = numbers('/proc/self/status');
  const io = numbers('/proc/self/io');
  const { user, system } = process.cpuUsage();
  process.send!({
    findings,
    seconds,
    processorSeconds: (user + system) / 1e6,
    peak: status.get('VmHWM'),
    read: io.get('read_bytes'),
    written: io.get('write_bytes'),
    load: loadavg()[0],
  });
  process.disconnect();
}

/** Runs a step in a child and watches its memory. */
async function measure(name: string, folder: string): Promise<Result> {
  const child = spawn(process.execPath, [__filename, '--step', name, folder], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  let told: Omit<Result, 'peakAnonymous' | 'peakFile'> | undefined;
  child.on('message', (message) => (told = message as typeof told));
  let [peakAnonymous, peakFile] = [0, 0];
  const watch = setInterval(() => {
    try {
      const status = numbers(`/proc/${child.pid}/status`);
      peakAnonymous = Math.max(peakAnonymous, status.get('RssAnon') ?? 0);
      peakFile = Math.max(peakFile, status.get('RssFile') ?? 0);
    } catch {
      // It has ended.
    }
  }, 50);
  const code = await new Promise((resolve) => child.on('exit', resolve));
  clearInterval(watch);
  if (told === undefined) throw new Error(`${name} ended with ${String(code)}`);
  return { ...told, peakAnonymous, peakFile };
}

function weightFiles(dir: string): string[] {
  const names = readdirSync(dir).filter((name) => name.endsWith('.safetensors'));
  return names.map((name) => join(dir, name));
}

/** Puts files out of the page cache, or into it. */
function prepare({ cold, warm }: Step, folder: string): void {
  const quiet = { stdio: 'ignore' } as const;
  for (const file of cold === undefined ? [] : weightFiles(join(folder, cold))) {
    execFileSync('dd', [`if=${file}`, 'iflag=nocache', 'count=0'], quiet);
  }
  for (const file of warm === undefined ? [] : weightFiles(join(folder, warm))) {
    execFileSync('dd', [`if=${file}`, 'of=/dev/null', 'bs=8M'], quiet);
  }
}

/** Other work on the machine may need the memory: it is waited for. */
async function waitForMemory(gigabytes: number): Promise<void> {
  const free = (): number => numbers('/proc/meminfo').get('MemAvailable')! / 1e9;
  for (let told = false; free() < gigabytes; await setTimeout(5000)) {
    if (!told) console.error(`waiting for ${gigabytes} GB of free memory`);
    told = true;
  }
}

const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(2);

function row(name: string, { findings, ...r }: Result): string {
  const found = Object.entries(findings).map(([key, value]) => {
    return `${key}: ${typeof value === 'number' ? value.toLocaleString('en') : value}`;
  });
  const cells = [
    steps[name]!.title,
    r.seconds.toFixed(1),
    r.processorSeconds.toFixed(0),
    r.load.toFixed(1),
    ...[r.peak, r.peakAnonymous, r.peakFile, r.read, r.written].map(gigabytes),
    found.join('; '),
  ];
  return `| ${cells.join(' | ')} |`;
}

const head = [
  ...['step', 'seconds', 'processor s', 'load', 'peak GB', 'own GB', 'of files GB', 'read GB'],
  ...['written GB', 'found'],
];

function table(results: Readonly<Record<string, Result>>): string {
  return [
    `${shape}; ${cpus()[0]?.model}, ${cpus().length} cores, ` +
      `${(totalmem() / 1e9).toFixed(0)} GB of memory; Node ${process.versions.node}\n`,
    `| ${head.join(' | ')} |`,
    `|${head.map(() => '---|').join('')}`,
    ...Object.keys(steps).flatMap((name) => (results[name] ? [row(name, results[name])] : [])),
  ].join('\n');
}

const marks = ['<!-- begin of the table -->', '<!-- end of the table -->'] as const;

/** Replaces the table in SCALE.md; what is written around it stays. */
function publish(results: Readonly<Record<string, Result>>): void {
  const path = join(process.cwd(), 'bench', 'SCALE.md');
  const before = existsSync(path) ? readFileSync(path, 'utf8') : `# Scale\n\n${marks.join('\n')}\n`;
  const [begin, end] = marks.map((mark) => before.indexOf(mark)) as [number, number];
  const intro = before.slice(0, begin + marks[0].length);
  writeFileSync(path, `${intro}\n\n${table(results)}\n\n${before.slice(end)}`);
}

async function main(): Promise<void> {
  const [folder, ...chosen] = process.argv.slice(2);
  if (folder === undefined) throw new Error('give a folder for the checkpoints');
  const unknown = chosen.find((name) => !(name in steps));
  if (unknown !== undefined)
    throw new Error(`no step ${unknown}; ${Object.keys(steps).join(', ')}`);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'results.json');
  const results = (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}) as Record<
    string,
    Result
  >;
  for (const name of chosen.length > 0 ? chosen : Object.keys(steps)) {
    if (chosen.length === 0 && name in results) continue;
    const step = steps[name]!;
    await waitForMemory(shape === 'qwen2-audio-7b' ? step.needs : 0.5);
    if (step.makes !== undefined)
      rmSync(join(folder, step.makes), { recursive: true, force: true });
    prepare(step, folder);
    results[name] = await measure(name, folder);
    console.log(row(name, results[name]));
    rmSync(join(folder, prunedFolder), { recursive: true, force: true });
    writeFileSync(file, JSON.stringify(results, null, 1));
  }
  if (shape === 'qwen2-audio-7b') publish(results);
}

const [first, name, folder] = process.argv.slice(2);
(first === '--step' ? runStep(name!, folder!) : main()).catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
