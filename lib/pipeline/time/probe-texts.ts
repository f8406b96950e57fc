/** Texts of so many tokens, and how many tokens the corpus' texts are. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { existsSync } from 'node:fs';
import { trainTokenizer } from '../../compress';
import type { Utterance } from '../../data';
import { translationInstruction, translatorSystemPrompt } from '../../qwen2-audio';
import { qwen2AudioSpecialTokens, saveBpe, syntheticVocabulary, Tokenizer } from '../../text';
import { usualBytes } from '../lessons';
import type { Recipe } from '../recipe-schema';
import type { Budget } from './stopwatch';

/** Utterances that a vocabulary is learnt from, or whose tokens are counted. */
const sample = 200;

export class ProbeTexts {
  readonly #bytesPerToken = new Map<string, number>();
  /** Texts of the corpus by their tokens, or nothing where texts are made up. */
  readonly #known = new Map<number, string>();

  private constructor(
    readonly tokenizer: Tokenizer,
    /** Seconds of the processors that learning a vocabulary takes, for an utterance. */
    readonly secondsToLearn: number,
  ) {}

  /**
   * @param isWhole whether the model has the recipe's own vocabulary
   * @param utterances of the training split; none where the corpus is not there
   */
  static async of(
    recipe: Recipe,
    isWhole: boolean,
    utterances: readonly Utterance[],
    budget: Budget,
  ): Promise<ProbeTexts> {
    const { teacher, languages } = recipe;
    const some = spread(utterances, sample);
    const dir = mkdtempSync(join(tmpdir(), 'pare-plan-'));
    try {
      let secondsToLearn = 0;
      let own: Tokenizer | undefined;
      const { checkpoint, random } = teacher;
      if (checkpoint !== undefined && existsSync(join(checkpoint, 'tokenizer_config.json'))) {
        own = Tokenizer.fromPretrained(checkpoint);
      } else if (random !== undefined && some.length > 0) {
        const learn = (): void => trainTokenizer(dir, some, languages, random.vocabSize);
        secondsToLearn = (await budget.time(learn)) / some.length;
        own = Tokenizer.fromPretrained(dir);
      }
      const made = own !== undefined && isWhole ? own : madeUp(join(dir, 'made-up'));
      const texts = new ProbeTexts(made, secondsToLearn);
      const vocabSize = random?.vocabSize ?? Infinity;
      for (const language of [...languages, '']) {
        const all = some.map((u) => (language === '' ? u.text : u.translations[language]!));
        const bytes = all.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
        let tokens = 0;
        for (const text of own === undefined ? [] : all) {
          const count = own!.encode(text).length;
          tokens += count;
          if (made === own) texts.#known.set(count, text);
        }
        texts.#bytesPerToken.set(language, tokens > 0 ? bytes / tokens : usualBytes(vocabSize));
      }
      return texts;
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  }

  /** Tokens of a text in a language, or of a transcript. */
  count(text: string, language: string = ''): number {
    return Math.max(1, Math.round(Buffer.byteLength(text) / this.#bytesPerToken.get(language)!));
  }

  /** A text of about so many tokens. */
  ofLength(tokens: number): string {
    if (this.#known.size === 0) return '1'.repeat(tokens);
    let best = 0;
    for (const count of this.#known.keys()) {
      if (best === 0 || Math.abs(count - tokens) < Math.abs(best - tokens)) best = count;
    }
    return this.#known.get(best)!;
  }
}

/** So many of a list, evenly spread. */
export function spread<T>(all: readonly T[], count: number): T[] {
  if (all.length <= count) return [...all];
  return Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)]!);
}

/** A tokenizer of the prompts' words and single bytes. */
function madeUp(dir: string): Tokenizer {
  const prompts = [translatorSystemPrompt, ...['de', 'zh'].map(translationInstruction)];
  saveBpe(dir, syntheticVocabulary(prompts, 600, qwen2AudioSpecialTokens));
  return Tokenizer.fromPretrained(dir);
}
