/** What the package brings to try it with, without a download: the demo's teacher and some speech. */
import { join } from 'node:path';

const recipes = join(__dirname, '../recipes');

/** Absolute paths. */
export const demo: {
  /** Checkpoint of 5.2 M parameters: English dates, times, amounts into German and Chinese. */
  readonly teacher: string;
  /** Corpus folder: splits `dev` and `test` of 8 utterances each, of the demo's own. */
  readonly clips: string;
  /** One of them (wav, 16 kHz): "Sunday, January third". */
  readonly clip: string;
  /** The recipe that `npm run demo` follows. It speaks its corpus itself: docs/notebooks.md. */
  readonly recipe: string;
} = {
  teacher: join(recipes, 'demo-teacher'),
  clips: join(recipes, 'demo-clips'),
  clip: join(recipes, 'demo-clips/audio/test-00014.wav'),
  recipe: join(recipes, 'demo.yaml'),
};
