/** Recipes over corpora in other forms than pare's own. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import type { Utterance } from '../../lib/data';
import { runRecipe } from '../../lib/pipeline';
import { RecipeError, readRecipe } from '../../lib/pipeline/recipe';
import { tinyCorpus } from './tiny-corpus';
import { tinyRecipe, writeRecipe } from './tiny-recipe';

jest.setTimeout(600_000);

let dir: string;
let splits: Record<string, Utterance[]>;
const at = (...names: string[]): string => join(dir, ...names);
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pare-corpora-'));
  splits = tinyCorpus(at('own'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const columns = { text: 'en', translations: { de: 'german', zh: 'chinese' } };

/** A recipe that trains a teacher and evaluates it. */
function recipeOf(name: string, corpus: Record<string, unknown>): string {
  const { seed, languages, generation, teacher } = tinyRecipe(at('own'), at('run'));
  const output = at(`run-${name}`);
  return writeRecipe(
    dir,
    { ...{ name, output, seed, languages, generation, teacher }, corpus } as never,
    `${name}.yaml`,
  );
}

const lossesOf = (name: string): number[] =>
  readFileSync(at(`run-${name}`, 'teacher', 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { loss: number }).loss);

test('a manifest of the same utterances gives the same training to the bit, and is known again', async () => {
  const dirOf = at('own', 'audio');
  mkdirSync(at('manifests'));
  for (const [split, utterances] of Object.entries(splits)) {
    const rows = utterances.map(({ audio, seconds, text, translations, speaker, group }) =>
      JSON.stringify({
        ...{ audio_filepath: audio.replace('audio', dirOf), seconds, speaker, group },
        ...{ en: text, german: translations.de, chinese: translations.zh },
      }),
    );
    writeFileSync(at('manifests', `${split}.jsonl`), rows.join('\n'));
  }
  await runRecipe(recipeOf('own', { path: at('own') }));
  const file = recipeOf('manifests', { path: at('manifests'), columns });
  await runRecipe(file);
  expect(lossesOf('manifests')).toEqual(lossesOf('own'));
  const made: string[] = [];
  const stage = at('run-manifests', 'teacher', 'stage.json');
  const before = readFileSync(stage, 'utf8');
  await runRecipe(file, { onStage: (name) => void made.push(name) });
  expect(made).toContain('teacher');
  expect(readFileSync(stage, 'utf8')).toBe(before);
});

test('Parquet files of the same utterances are trained on in blocks, the same each time', async () => {
  mkdirSync(at('tables'));
  for (const [split, utterances] of Object.entries(splits)) {
    const texts = (of: (utterance: Utterance) => string): string[] => utterances.map(of);
    const bytes = parquetWriteBuffer({
      columnData: [
        {
          ...{ name: 'audio', type: 'BYTE_ARRAY' as const, encoding: 'PLAIN' as const },
          data: utterances.map(({ audio }) => new Uint8Array(readFileSync(at('own', audio)))),
        },
        { name: 'en', type: 'STRING', data: texts(({ text }) => text) },
        { name: 'german', type: 'STRING', data: texts(({ translations }) => translations.de!) },
        { name: 'chinese', type: 'STRING', data: texts(({ translations }) => translations.zh!) },
      ],
      rowGroupSize: 5,
    });
    writeFileSync(at('tables', `${split}.parquet`), new Uint8Array(bytes));
  }
  await runRecipe(recipeOf('tables', { path: at('tables'), columns }));
  const losses = lossesOf('tables');
  expect(losses).toHaveLength(lossesOf('own').length);
  expect(losses.at(-1)).toBeLessThan(losses[0]!);
  await runRecipe(recipeOf('again', { path: at('tables'), columns }));
  expect(lossesOf('again')).toEqual(losses);
});

test.each<[string, Record<string, unknown>, RegExp]>([
  ['a mistyped source', { hubb: 'a/b' }, /corpus: unknown key "hubb"; did you mean "hub"/],
  [
    'a mistyped column',
    { path: 'x', columns: { speeker: 'y' } },
    /corpus\.columns: unknown key "speeker"; did you mean "speaker"/,
  ],
  ['two sources', { path: 'x', hub: 'a/b' }, /corpus: give either path, hub or demo/],
  ['no source', {}, /corpus: give either path, hub or demo/],
])('%s is named', (_, corpus, says) => {
  const file = recipeOf('wrong', corpus);
  expect(() => readRecipe(file)).toThrow(RecipeError);
  expect(() => readRecipe(file)).toThrow(says);
});
