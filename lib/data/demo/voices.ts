/** A synthetic speaker. `id` is the speaker's name in the corpus. */
export interface Voice {
  id: string;
  engine: 'flite' | 'espeak';
  /** The synthesiser's own name of the voice. */
  name: string;
}

const espeak = (accent: string, variant: string): Voice => ({
  id: `espeak-${accent}-${variant.toLowerCase()}`,
  engine: 'espeak',
  name: `${accent}+${variant}`,
});
/** One variant of the voice, a throat, in several accents. */
const inAccents = (variant: string, accents: string): Voice[] =>
  accents.split(' ').map((accent) => espeak(accent, variant));
/** Many variants, one accent. */
const variants = (accent: string, names: string): Voice[] =>
  names.split(' ').map((variant) => espeak(accent, variant));
const flite = (name: string): Voice => ({ id: `flite-${name}`, engine: 'flite', name });

/**
 * Voices for training, by how their throat is made; the planner draws a group, then a voice. They
 * are voices of which a recogniser for American English (pocketsphinx, any row of the demo's
 * words) made out about a third of the words or more, less those that an earlier teacher still
 * misheard in the dev split (kal16, anika, Diogo, Gene2, grandpa, robosoft3, robosoft6). espeak
 * has others that nobody understands.
 */
export const trainingVoices: { weight: number; voices: Voice[] }[] = [
  { weight: 0.2, voices: ['slt', 'rms', 'awb'].map(flite) },
  {
    weight: 0.25,
    voices: [
      ...inAccents('f1', 'en-us en-us-nyc'),
      ...inAccents('f2', 'en-us en en-gb-x-rp'),
      ...inAccents('caleb', 'en-us en-us-nyc'),
    ],
  },
  {
    weight: 0.55,
    voices: [
      ...variants('en', 'klatt4 miguel'),
      ...variants('en-gb-x-rp', 'robosoft edward2 mike2'),
      ...variants('en-us-nyc', 'klatt6 edward Hugo'),
      ...variants('en-gb-x-gbclan', 'Reed robosoft5'),
      ...variants('en-gb-scotland', 'klatt5 Reed'),
      ...variants('en-us', 'm1 m3 m5 Denis Gene Nguyen announcer klatt3 michel robosoft8'),
    ],
  },
];

/** Voices that speak in `test-voices` and nowhere else; of the more intelligible ones. */
export const heldOutVoices: Voice[] = [
  espeak('en-us', 'f5'),
  espeak('en-us', 'm2'),
  espeak('en', 'f3'),
  espeak('en-gb-x-rp', 'benjamin'),
  espeak('en-us-nyc', 'adam'),
  espeak('en-us', 'Henrique'),
  espeak('en-gb-x-gbclan', 'm6'),
  espeak('en-us', 'sandro'),
];
