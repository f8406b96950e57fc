/** Adapters by name, as an application uses them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LoraError } from '../../lib/lora';
import { SpeechTranslator } from '../../lib/qwen2-audio/translator';
import { memory } from '../../lib/torch';
import { writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';
import { writeRandomAdapter } from './random-adapter';

jest.setTimeout(120_000);

let folder: string;
const path = (name: string): string => join(folder, name);
const request = { to: 'German', maxNewTokens: 8 };

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-adapters-'));
  writeTinyCheckpoint(path('model'));
  writeTone(path('tone.wav'), 1, 400);
  writeRandomAdapter(path('first'), path('model'), { r: 2, loraAlpha: 4 }, 1);
  const attention = { r: 3, loraAlpha: 6, useRslora: true, targetModules: ['q_proj', 'v_proj'] };
  writeRandomAdapter(path('second'), path('model'), attention, 2);
});
afterAll(() => rmSync(folder, { recursive: true }));

async function ids(translator: SpeechTranslator): Promise<string> {
  return (await translator.translate(path('tone.wav'), request)).tokenIds.join();
}

/** What a translator with one adapter, or none, says. */
async function alone(adapter?: string): Promise<string> {
  using translator = await SpeechTranslator.load(path('model'), { adapter });
  return await ids(translator);
}

test('a translator switches between adapters', async () => {
  const [base, first, second] = [
    await alone(),
    await alone(path('first')),
    await alone(path('second')),
  ];
  expect(new Set([base, first, second]).size).toBe(3);
  const before = memory().handles;
  const translator = await SpeechTranslator.load(path('model'), { adapter: path('first') });
  translator.loadAdapter(path('second'), { name: 'second' });
  expect(await ids(translator)).toBe(first);
  translator.setAdapter('second');
  expect(await ids(translator)).toBe(second);
  translator.disableAdapter();
  expect(await ids(translator)).toBe(base);
  translator.setAdapter('default');
  expect(await ids(translator)).toBe(first);
  translator.deleteAdapter('default');
  expect(await ids(translator)).toBe(second);
  expect(() => translator.setAdapter('default')).toThrow(LoraError);
  translator.dispose();
  expect(memory().handles).toBe(before);
});
