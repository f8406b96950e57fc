/**
 * The notebooks, executed by Jupyter's nbconvert with tslab as the kernel, in a folder that has `pare`
 * in node_modules as a user's has. They need dist/, which `npm test` makes.
 */
import { execFile, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(__dirname, '../..');
/** The slowest takes two minutes on two idle cores. */
const minutes = 30;
jest.setTimeout(minutes * 60_000);

interface Tools {
  jupyter: string;
  /** For JUPYTER_DATA_DIR. */
  data: string;
}

function prepare(): Tools | { skipped: string } {
  const { stdout, status } = spawnSync(process.execPath, [join(root, 'cmake/notebooks.js')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) throw new Error('Jupyter and tslab cannot be installed; see above');
  return JSON.parse(stdout) as Tools | { skipped: string };
}

const tools = prepare();
if ('skipped' in tools) console.warn(`skipped: the notebooks, since ${tools.skipped}`);
const withTools = 'skipped' in tools ? test.skip : test;

interface Output {
  output_type: string;
  name?: string;
  text?: string[];
  data?: Record<string, string[]>;
}

interface Executed {
  exitCode: number;
  /** What nbconvert and the kernel wrote themselves. */
  log: string;
  /** Of the cells with code. */
  cells: { source: string; outputs: Output[] }[];
}

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-notebooks-'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/pare'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Jupyter's program and environment, in which nothing of the user's own is read or written. */
function command(): { jupyter: string; env: NodeJS.ProcessEnv } {
  const { jupyter, data } = tools as Tools;
  const own = (kind: string): string => join(folder, '.jupyter', kind);
  const env = {
    ...process.env,
    JUPYTER_DATA_DIR: data,
    JUPYTER_CONFIG_DIR: own('config'),
    JUPYTER_RUNTIME_DIR: own('runtime'),
    IPYTHONDIR: own('ipython'),
  };
  return { jupyter, env };
}

function start(
  program: string,
  env: NodeJS.ProcessEnv,
  args: readonly string[],
): Promise<Pick<Executed, 'exitCode' | 'log'>> {
  const options = { env, cwd: folder, timeout: (minutes - 1) * 60_000 };
  return new Promise((resolve) =>
    execFile(program, args, options, (error, out, err) =>
      resolve({ exitCode: error === null ? 0 : 1, log: err + out }),
    ),
  );
}

/** Runs a notebook of the folder. */
async function execute(name: string): Promise<Executed> {
  const { jupyter, env } = command();
  const { exitCode, log } = await start(jupyter, env, [
    ...['nbconvert', '--to', 'notebook', '--execute', join(folder, name)],
    ...['--output-dir', join(folder, 'executed'), '--ExecutePreprocessor.kernel_name=tslab'],
    `--ExecutePreprocessor.timeout=${(minutes - 5) * 60}`,
    '--ExecutePreprocessor.startup_timeout=300',
  ]);
  if (exitCode !== 0) return { exitCode, log, cells: [] };
  const { cells } = JSON.parse(readFileSync(join(folder, 'executed', name), 'utf8')) as {
    cells: { cell_type: string; source: string[]; outputs: Output[] }[];
  };
  const code = cells.filter(({ cell_type: type }) => type === 'code');
  return {
    exitCode,
    log,
    cells: code.map(({ source, outputs }) => ({ source: source.join(''), outputs })),
  };
}

/** A notebook of these cells. */
async function executeCells(...sources: readonly string[]): Promise<Executed> {
  const cells = sources.map((source, i) => ({
    ...{ cell_type: 'code', id: `c${i}`, execution_count: null, metadata: {}, outputs: [] },
    source,
  }));
  const kernelspec = { name: 'tslab', display_name: 'TypeScript', language: 'typescript' };
  const notebook = { cells, metadata: { kernelspec }, nbformat: 4, nbformat_minor: 5 };
  writeFileSync(join(folder, 'cells.ipynb'), JSON.stringify(notebook));
  return execute('cells.ipynb');
}

/** One of the repository's, which must run to its end. */
async function executeOwn(name: string): Promise<Executed['cells']> {
  copyFileSync(join(root, 'notebooks', name), join(folder, name));
  const { exitCode, log, cells } = await execute(name);
  if (exitCode !== 0) throw new Error(`${name} failed:\n${log}`);
  const outputs = cells.flatMap((cell) => cell.outputs);
  expect(outputs.filter(({ output_type: type }) => type === 'error')).toEqual([]);
  expect(textOf(cells, 'stderr')).toBe('');
  return cells;
}

function textOf(cells: Executed['cells'], stream: 'stdout' | 'stderr'): string {
  return cells
    .flatMap(({ outputs }) => outputs.filter(({ name }) => name === stream))
    .map(({ text }) => text!.join(''))
    .join('');
}

function shown(cells: Executed['cells'], type: string): string[] {
  return cells.flatMap(({ outputs }) =>
    outputs.flatMap(({ data }) => data?.[type]?.join('') ?? []),
  );
}

/** Scores and their intervals as the cells print them, `97.3 [90.4, 100.0]`. */
function scoresIn(text: string): number[][] {
  return [...text.matchAll(/([\d.]+) \[([\d.]+), ([\d.]+)\]/g)].map((m) =>
    m.slice(1, 4).map(Number),
  );
}

function expectScores(scores: readonly number[][], atLeast: number): void {
  expect(scores.length).toBeGreaterThanOrEqual(atLeast);
  for (const [score, low, high] of scores) {
    expect(low).toBeGreaterThanOrEqual(0);
    expect(score).toBeGreaterThanOrEqual(low!);
    expect(high).toBeGreaterThanOrEqual(score!);
    expect(high).toBeLessThanOrEqual(100);
  }
}

describe('notebooks/', () => {
  test.each(['quickstart', 'tensors', 'compress'])(
    '%s has no outputs in the repository',
    (name) => {
      const text = readFileSync(join(root, `notebooks/${name}.ipynb`), 'utf8');
      expect(text.length).toBeLessThan(20_000);
      const { cells } = JSON.parse(text) as { cells: Partial<Executed['cells'][number]>[] };
      for (const { outputs } of cells) expect(outputs ?? []).toEqual([]);
    },
  );

  withTools('quickstart translates what it plays, draws what it prunes, scores both', async () => {
    const cells = await executeOwn('quickstart.ipynb');
    const text = textOf(cells, 'stdout');
    expect(text).toContain('German: Sonntag, 3. Januar (');
    expect(text).toContain('Chinese: 1月3日星期日 (');
    expect(text).toContain('Sonntag|');
    expect(text).toContain('parameters: 5178624');
    const [player, progress] = shown(cells, 'text/html');
    expect(player).toMatch(/<audio controls src="data:audio\/wav;base64,UklGR/);
    expect(progress).toContain('done after');
    const [map] = shown(cells, 'image/svg+xml');
    expect(map!.match(/class="cell-removed"/g)).toHaveLength(6 + 1); // and the legend
    expectScores(scoresIn(text), 2);
    expect(text).toContain('{ handles: 0, bytes: 0 }');
  });

  withTools('tensors computes what it says it does', async () => {
    const cells = await executeOwn('tensors.ipynb');
    const text = textOf(cells, 'stdout');
    expect(text).toContain('[ -2, 0, 6 ] expected [ -2, 0, 6 ]');
    expect(text).toContain('{ sum: 1000000, left: 0 }');
    expect(text).toMatch(/TorchError: matmul: .* \(2x3 and 1x2\)/);
    expect(text).toMatch(/TorchError: .* used after it was disposed/);
    expect(text).toContain('4.13 bits a value');
    // Of normally distributed values; the theory gives 9.2 %.
    const [, error] = /relative error ([\d.]+) %/.exec(text)!;
    expect(Math.abs(Number(error) - 9.2)).toBeLessThan(0.5);
    const layers = /(?:[\d.]+ % *){12}$/m
      .exec(text)![0]
      .match(/[\d.]+/g)!
      .map(Number);
    expect(layers).toHaveLength(12);
    for (const mean of layers) expect(Math.abs(mean - 9.2)).toBeLessThan(2);
    const [plot] = shown(cells, 'image/svg+xml');
    expect(plot!.match(/<circle/g)!.length).toBeGreaterThanOrEqual(12 * 7);
  });

  withTools('compress follows the recipe to its student, and draws every step', async () => {
    const cells = await executeOwn('compress.ipynb');
    const [progress] = shown(cells, 'text/html');
    for (const stage of ['teacher', 'importance', 'healed', 'quantized', 'student', 'done after']) {
      expect(progress).toContain(stage);
    }
    expect(progress).toContain('<svg');
    const [map, training, tradeOff] = shown(cells, 'image/svg+xml');
    expect(map!.match(/class="cell-removed"/g)).toHaveLength(6 + 1);
    expect(training!.match(/class="curve train"/g)!.length).toBeGreaterThanOrEqual(2);
    expect(tradeOff).toContain('class="mark teacher"');
    expect(tradeOff).toContain('class="mark student"');
    const text = textOf(cells, 'stdout');
    expect(text).toMatch(/decoder layers +12 +6 +50\.0 %/);
    expectScores(scoresIn(text), 8);
    expect(text).toMatch(/^translation: .+$/m);
    expect(text).toMatch(/^report: .*report\.html$/m);
  });
});

describe('a kernel', () => {
  withTools('that throws, or whose types are wrong, fails the notebook and says why', async () => {
    const thrown = await executeCells(`throw new Error('on purpose');`, `console.log('not here');`);
    expect(thrown.exitCode).toBe(1);
    expect(thrown.log).toContain('Error: on purpose');
    const mistyped = await executeCells(
      `import { torch } from 'pare';\nconst shape: string = torch.ones([2]).shape;`,
    );
    expect(mistyped.exitCode).toBe(1);
    expect(mistyped.log).toContain("Type 'number[]' is not assignable to type 'string'");
  });

  withTools('shows what libtorch warns of in the cell', async () => {
    const { exitCode, log, cells } = await executeCells(
      `import { torch } from 'pare';\nString(torch.ones([1]).var().item());`,
      `console.log('after');`,
    );
    expect({ exitCode, log }).toMatchObject({ exitCode: 0 });
    expect(textOf(cells, 'stdout')).toMatch(/NaN[\s\S]*after/);
    expect(textOf(cells, 'stderr')).toMatch(/TorchWarning: .*degrees of freedom is <= 0/);
  });

  withTools('does not lose, nor choke on, what native code writes', async () => {
    const { exitCode, log, cells } = await executeCells(
      `import { writeSync } from 'node:fs';
       writeSync(1, 'on descriptor one\\n');
       writeSync(2, 'on descriptor two\\n');`,
      `console.log('goes on');`,
    );
    expect(exitCode).toBe(0);
    expect(log).toContain('on descriptor one\n');
    expect(log).toContain('on descriptor two\n');
    expect(textOf(cells, 'stdout')).toMatch(/goes on\n$/);
  });

  withTools('outlives an interruption, which ends what `live` shows', async () => {
    writeFileSync(
      join(folder, 'long.ts'),
      `import { notebook } from 'pare';
       import { newDisplay } from 'tslab';
       await notebook.live(newDisplay(), async ({ signal, onProgress }) => {
         onProgress({ label: 'waiting', done: 0, total: 1 });
         await new Promise((_, reject) =>
           signal.addEventListener('abort', () => reject(signal.reason)));
       });`,
    );
    const { jupyter, env } = command();
    const { exitCode, log } = await start(join(jupyter, '../python'), env, [
      join(__dirname, 'interrupt.py'),
      join(folder, 'long.ts'),
    ]);
    expect({ exitCode, log }).toMatchObject({ exitCode: 0 });
    const { alive, shown, after } = JSON.parse(log.trim().split('\n').at(-1)!) as {
      alive: boolean;
      shown: string[];
      after: string;
    };
    expect({ alive, after }).toEqual({ alive: true, after: '42' });
    expect(shown[0]).toContain('waiting');
    expect(shown.at(-1)).toContain('interrupted after');
  });
});
