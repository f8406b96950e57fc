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
 * are voices of which a recogniser for American English (pocketsphinx with the demo's grammar)
 * made out half of the words or more; espeak has others that nobody understands. Accents other
 * than American go to the clearer variants.
 */
export const trainingVoices: { weight: number; voices: Voice[] }[] = [
  { weight: 0.24, voices: ['slt', 'rms', 'awb', 'kal16'].map(flite) },
  {
    weight: 0.33,
    voices: [
      ...inAccents('f1', 'en-us en en-gb-x-rp en-us-nyc en-029'),
      ...inAccents('f2', 'en-us en en-gb-x-rp en-gb-x-gbclan'),
      ...inAccents('f4', 'en-us en-us-nyc en-gb-x-rp'),
      ...inAccents('caleb', 'en-us en-us-nyc'),
      ...variants('en-us', 'anika aunty steph steph2 steph3'),
    ],
  },
  {
    weight: 0.43,
    voices: [
      ...variants('en', 'klatt4 david miguel robosoft6'),
      ...variants('en-gb-x-rp', 'robosoft edward2 mike2 victor m7'),
      ...variants('en-us-nyc', 'klatt6 edward Hugo'),
      ...variants('en-gb-x-gbclan', 'Reed robosoft5'),
      ...variants('en-gb-scotland', 'klatt5 Reed'),
      ...variants('en-029', 'klatt'),
      ...variants('en-gb-x-gbcwmd', 'klatt2'),
      ...variants(
        'en-us',
        'm1 m3 m4 m5 m8 Alex Denis Diogo Gene Gene2 Mike Nguyen Storm announcer ed grandpa iven ' +
          'john klatt3 michel pablo paul RicishayMax2 RicishayMax3 robosoft3 robosoft8',
      ),
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
