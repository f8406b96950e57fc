/** `pare run` started by PyTorch's own torchrun, where a Python with torch is at hand. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readLog } from '../../lib/pipeline/stages/teacher';
import { hasState, pareProgram, pidOf, run, until, type Program } from '../distributed/pare';
import { freePort } from '../distributed/processes';
import { artifacts, leftovers } from '../pipeline/folders';
import { tinyCorpus } from '../pipeline/tiny-corpus';
import { tinyRecipe, writeRecipe } from '../pipeline/tiny-recipe';

jest.setTimeout(1_200_000);

/** Found without being imported, which takes seconds. */
function pythonWithTorch(): string | undefined {
  const { PARE_INTEROP_PYTHON, PYTHON } = process.env;
  const code = 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)';
  return [PARE_INTEROP_PYTHON, PYTHON, 'python3'].find(
    (python) => python && spawnSync(python, ['-c', code], { cwd: tmpdir() }).status === 0,
  );
}

const python = pythonWithTorch();
if (python === undefined) {
  console.warn('no Python with torch here, so torchrun is not tried; PYTHON may name one');
}
const withTorchrun = python === undefined ? test.skip : test;

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-torchrun-'));
  tinyCorpus(join(dir, 'corpus'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function recipeFor(name: string): string {
  const recipe = tinyRecipe(join(dir, 'corpus'), join(dir, name));
  recipe.teacher.train.steps = 40;
  return writeRecipe(dir, recipe, `${name}.yaml`);
}

function torchrun(args: readonly string[], recipe: string): Program {
  const program = [process.execPath, pareProgram, 'run', recipe, '--rank-timeout', '120'];
  return run(python!, ['-m', 'torch.distributed.run', '--no-python', ...args, ...program], {
    // torchrun's own rendezvous is on this machine's address, whatever its name leads to.
    ...{ MASTER_ADDR: '127.0.0.1', PYTHONWARNINGS: 'ignore' },
  });
}

const losses = (name: string): number[] =>
  readLog(join(dir, name, 'teacher', 'log.jsonl')).map(({ loss }) => loss);

/** All that a recipe is to leave, with the losses of a run that nothing has disturbed. */
function expectWhole(name: string, like: string): void {
  expect(leftovers(join(dir, name))).toEqual([]);
  expect(artifacts(join(dir, name))).toEqual(artifacts(join(dir, like)));
  expect(losses(name)).toHaveLength(40);
  for (const [i, loss] of losses(name).entries()) {
    expect(Math.abs(loss - losses(like)[i]!)).toBeLessThan(1e-5);
  }
}

withTorchrun('two ranks of one agent', async () => {
  const { code, out, err } = await torchrun(['--nproc-per-node', '2'], recipeFor('one')).ended;
  expect([code, err]).toEqual([0, expect.any(String)]);
  expect(out).toContain(`report:  ${join(dir, 'one', 'report.html')}`);
  expect(existsSync(join(dir, 'one', 'report.html'))).toBe(true);
});

const agents = {
  static: (port: number, node: number) => [
    ...['--master-addr', '127.0.0.1', '--master-port', String(port), '--node-rank', String(node)],
  ],
  c10d: (port: number) => [
    ...['--rdzv-backend', 'c10d', '--rdzv-endpoint', `127.0.0.1:${port}`, '--rdzv-id', 'pare'],
    ...['--local-addr', '127.0.0.1'],
  ],
} as const;

describe.each(['static', 'c10d'] as const)('two agents, %s rendezvous', (backend) => {
  withTorchrun('a rank is killed in training, and the run goes on', async () => {
    const port = await freePort();
    const recipe = recipeFor(backend);
    const own = ['--nnodes', '2', '--nproc-per-node', '1', '--max-restarts', '2'];
    const nodes = [0, 1].map((node) => torchrun([...own, ...agents[backend](port, node)], recipe));
    await until(() => hasState(join(dir, backend), 'teacher'));
    const pid = nodes.map((node) => pidOf(node, 1)).find((found) => found !== undefined)!;
    process.kill(pid, 'SIGKILL');
    for (const { code, err } of await Promise.all(nodes.map(({ ended }) => ended))) {
      expect([code, err]).toEqual([0, expect.any(String)]);
    }
    expectWhole(backend, 'one');
  });
});

withTorchrun('rank 0 is killed in training, and the run goes on', async () => {
  const name = 'leader';
  const args = ['--nproc-per-node', '2', '--max-restarts', '1'];
  const program = torchrun(args, recipeFor(name));
  await until(() => hasState(join(dir, name), 'teacher'));
  process.kill(pidOf(program, 0)!, 'SIGKILL');
  const { code, err } = await program.ended;
  expect([code, err]).toEqual([0, expect.any(String)]);
  expectWhole(name, 'one');
});
