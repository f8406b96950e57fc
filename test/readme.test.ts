/** The README's two pieces of TypeScript, run as they stand but for the recipe's name. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as pare from '../lib';
import { tinyCorpus } from './pipeline/tiny-corpus';
import { tinyRecipe, writeRecipe } from './pipeline/tiny-recipe';

const root = join(__dirname, '..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const blocks = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1]!);

type Block = (library: typeof pare, output: unknown) => Promise<void>;
const AsyncFunction = (async () => undefined).constructor as new (...parts: string[]) => Block;

/** Runs a block in the package's folder and returns what it logged. */
async function run(source: string): Promise<unknown[][]> {
  const logged: unknown[][] = [];
  const log = (...items: unknown[]): number => logged.push(items);
  const body = source.replace(/import (\{[^}]*\}) from 'pare';/, 'const $1 = pare;');
  const before = process.cwd();
  process.chdir(root);
  try {
    await new AsyncFunction('pare', 'console', body)(pare, { log, error: () => undefined });
  } finally {
    process.chdir(before);
  }
  return logged;
}

test('there are two, of about ten lines each', () => {
  expect(blocks).toHaveLength(2);
  for (const block of blocks) expect(block.trim().split('\n').length).toBeLessThanOrEqual(11);
});

test('the first translates a file', async () => {
  const [line] = await run(blocks[0]!);
  const [text, tokens, seconds] = line!;
  expect(text).toBe('Sonntag, 31. Oktober');
  expect(tokens).toBeGreaterThan(3);
  expect(seconds).toBeGreaterThan(0);
});

test('the second runs a recipe', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pare-readme-'));
  try {
    const corpus = join(dir, 'corpus');
    tinyCorpus(corpus);
    const file = writeRecipe(dir, tinyRecipe(corpus, join(dir, 'run')));
    const logged = await run(blocks[1]!.replace('recipes/demo.yaml', file));
    const names = logged.slice(0, -1).map(([name]) => name);
    expect(names).toEqual(['teacher', 'pruned', 'healed', 'quantized', 'student']);
    expect(readFileSync(logged.at(-1)![1] as string, 'utf8')).toContain('<html');
  } finally {
    rmSync(dir, { recursive: true });
  }
});
