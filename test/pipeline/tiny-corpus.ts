/** A corpus of seconds: a word is a tone, its translations are functions of the tone. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeWav } from '../../lib/audio';
import type { Utterance } from '../../lib/data';

const sampleRate = 16000;

/** English, German and Chinese of a tone, in Hz. */
const words = [
  { hz: 220, en: 'red', de: 'rot', zh: '红' },
  { hz: 420, en: 'blue', de: 'blau', zh: '蓝' },
  { hz: 800, en: 'green', de: 'grün', zh: '绿' },
  { hz: 1500, en: 'white', de: 'weiß', zh: '白' },
  { hz: 2600, en: 'black', de: 'schwarz', zh: '黑' },
  { hz: 4300, en: 'yellow', de: 'gelb', zh: '黄' },
] as const;

/** The sound of some words: 0.25 s a tone, and silence before and behind that differs. */
function sound(indices: readonly number[], silence: number): Float32Array {
  const tone = sampleRate / 4;
  const samples = new Float32Array(silence + indices.length * tone + silence);
  for (const [i, index] of indices.entries()) {
    const { hz } = words[index]!;
    for (let t = 0; t < tone; t++) {
      const fade = Math.min(1, t / 400, (tone - t) / 400);
      const phase = (2 * Math.PI * hz * t) / sampleRate;
      samples[silence + i * tone + t] = 0.4 * fade * Math.sin(phase);
    }
  }
  return samples;
}

function utterance(dir: string, indices: readonly number[]): Utterance {
  const chosen = indices.map((i) => words[i]!);
  const id = chosen.map((word) => word.en).join('-');
  // 0.55 to 0.85 s, so that batches are ragged.
  const silence = 400 * (1 + ((2 * indices[0]! + 3 * indices[1]!) % 7));
  const samples = sound(indices, silence);
  const audio = `audio/${id}.wav`;
  writeWav(join(dir, audio), samples, sampleRate);
  return {
    id,
    audio,
    seconds: samples.length / sampleRate,
    speaker: 'sine',
    text: chosen.map((word) => word.en).join(' and '),
    translations: {
      de: chosen.map((word) => word.de).join(' und '),
      zh: chosen.map((word) => word.zh).join('和'),
    },
    group: id,
  };
}

/** Ordered pairs of words: 24 to train, 6 each for dev and test. */
export function tinySplits(dir: string): Record<'train' | 'dev' | 'test', Utterance[]> {
  const pairs = words.flatMap((_, a) => words.map((_, b) => [a, b] as const));
  const of = (keep: (sum: number) => boolean): Utterance[] =>
    pairs.filter(([a, b]) => keep((a + b) % 6)).map((pair) => utterance(dir, pair));
  return {
    train: of((sum) => sum < 4),
    dev: of((sum) => sum === 4),
    test: of((sum) => sum === 5),
  };
}

/** Writes corpus.json and the splits; what they hold can be changed to something wrong. */
export function writeCorpus(dir: string, splits: Record<string, readonly Utterance[]>): void {
  mkdirSync(dir, { recursive: true });
  const described = Object.entries(splits).map(([name, utterances]) => {
    const lines = utterances.map((one) => `${JSON.stringify(one)}\n`);
    writeFileSync(join(dir, `${name}.jsonl`), lines.join(''));
    const seconds = utterances.reduce((sum, one) => sum + one.seconds, 0);
    return [name, { utterances: utterances.length, seconds, speakers: 1 }] as const;
  });
  const description = {
    name: 'tones',
    version: '1',
    sampleRate,
    languages: { source: 'en', targets: ['de', 'zh'] },
    splits: Object.fromEntries(described),
  };
  writeFileSync(join(dir, 'corpus.json'), JSON.stringify(description));
}

/** The whole corpus in a new folder. */
export function tinyCorpus(dir: string): Record<'train' | 'dev' | 'test', Utterance[]> {
  mkdirSync(join(dir, 'audio'), { recursive: true });
  const splits = tinySplits(dir);
  writeCorpus(dir, splits);
  return splits;
}
