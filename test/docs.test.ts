/** The examples of docs/, run page by page as they stand, and the links between pages. */
import { transform } from '@swc/core';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import * as pare from '../lib';
import { seededRandom } from '../lib/data/random';
import { attachLora, saveAdapter } from '../lib/lora';
import { loadModel } from '../lib/qwen2-audio';
import { Generator } from '../lib/torch';
import { tinyCorpus } from './pipeline/tiny-corpus';
import { tinyRecipe, writeRecipe } from './pipeline/tiny-recipe';

const root = join(__dirname, '..');
const docs = join(root, 'docs');
const pages = readdirSync(docs).filter((name) => name.endsWith('.md'));
const read = (page: string): string => readFileSync(join(docs, page), 'utf8');
const blocksOf = (page: string): string[] =>
  [...read(page).matchAll(/^```ts\n([\s\S]*?)^```/gm)].map((match) => match[1]!);

/** Where the examples run: it has what their paths name. */
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-docs-'));
  symlinkSync(join(root, 'recipes'), join(dir, 'recipes'));
  symlinkSync(join(root, 'test'), join(dir, 'test'));
  cpSync(join(root, 'test/fixtures/clip.wav'), join(dir, 'talk.wav'));
  cpSync(join(root, 'recipes/demo-teacher'), join(dir, 'base'), { recursive: true });
  tinyCorpus(join(dir, 'corpus'));
  writeRecipe(dir, tinyRecipe(join(dir, 'corpus'), join(dir, 'run')), 'recipe.yaml');
  for (const name of ['a', 'b']) {
    const texts = ['one two three', `four five ${name}`];
    const references = ['one two three', 'four five six'];
    const line = { split: 'test', language: 'de', texts, references };
    writeFileSync(join(dir, `${name}.jsonl`), JSON.stringify(line));
  }
  mkdirSync(join(dir, 'adapters'));
  const model = loadModel(join(dir, 'base'));
  const lora = { r: 2, loraAlpha: 4, useRslora: false };
  const adapter = attachLora(model, lora, { generator: new Generator(1) });
  for (const name of ['german', 'chinese']) saveAdapter(join(dir, 'adapters', name), adapter);
  adapter.dispose();
  model.dispose();
});
afterAll(() => rmSync(dir, { recursive: true }));

type Program = (library: typeof pare, output: unknown, input: unknown) => Promise<void>;
const AsyncFunction = (async () => undefined).constructor as new (...parts: string[]) => Program;

/** Runs a page's blocks as one program and returns what it logged. */
async function run(page: string): Promise<unknown[][]> {
  const logged: unknown[][] = [];
  // What several blocks import is declared once.
  const names = new Set<string>();
  const source = blocksOf(page)
    .join('\n')
    .replace(/^import \{([^}]*)\} from 'pare';$/gm, (_, list: string) => {
      for (const name of list.split(',')) if (name.trim() !== '') names.add(name.trim());
      return '';
    });
  const { code } = await transform(source, {
    jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
    isModule: true,
  });
  // A recipe of a test's size in place of the demo's.
  const runnable = code.replace('recipes/demo.yaml', join(dir, 'recipe.yaml'));
  const body = `const { ${[...names].join(', ')} } = pare;\n${runnable.replace(/^export \{\s*\};$/m, '')}`;
  const before = process.cwd();
  process.chdir(dir);
  try {
    const log = (...items: unknown[]): number => logged.push(items);
    // Half a second of noise: 44.1 kHz, stereo, 16 bits.
    const stdin = Readable.from([noise(44100)]);
    const stdout = { write: (text: string) => logged.push([text]) };
    const output = { log, error: log };
    await new AsyncFunction('pare', 'console', 'process', body)(pare, output, { stdin, stdout });
  } finally {
    process.chdir(before);
  }
  return logged;
}

/** 16-bit samples. */
function noise(samples: number): Buffer {
  const random = seededRandom('docs');
  const bytes = Buffer.alloc(2 * samples);
  for (let i = 0; i < samples; i++) bytes.writeInt16LE(random.index(16000) - 8000, 2 * i);
  return bytes;
}

test.each(pages.filter((page) => blocksOf(page).length > 0))('%s runs', async (page) => {
  const logged = await run(page);
  for (const line of logged.flat()) expect(line).toBeDefined();
});

test('the pages say what is true of their examples', async () => {
  const [loss, shape, handles] = (await run('tensors.md'))[0]!;
  expect(loss).toBeGreaterThan(0);
  expect(shape).toEqual([8, 64]);
  // The weight's gradient is all that stays.
  expect(handles).toBe(1);
  const [layers, name] = (await run('extending.md'))[0]!;
  expect([layers, name]).toEqual([12, 'language_model.model.layers.0.mlp.scale']);
});

test('every page is in the list, and every link leads somewhere', () => {
  const index = read('README.md');
  for (const page of pages) if (page !== 'README.md') expect(index).toContain(`](${page}`);
  const files = [...pages.map((page) => join(docs, page)), join(root, 'README.md')];
  for (const file of files) {
    const text = readFileSync(file, 'utf8');
    for (const [, target] of text.matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g)) {
      expect({ file, target, exists: existsSync(join(dirname(file), target!)) }).toMatchObject({
        exists: true,
      });
    }
  }
});
