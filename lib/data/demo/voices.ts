/** A synthetic speaker. `id` is the speaker's name in the corpus. */
export interface Voice {
  id: string;
  engine: 'flite' | 'espeak';
  /** The synthesiser's own name of the voice. */
  name: string;
}

const accents = [
  'en-us',
  'en',
  'en-gb-scotland',
  'en-us-nyc',
  'en-gb-x-rp',
  'en-us',
  'en-gb-x-gbclan',
  'en-029',
  'en-gb-x-gbcwmd',
];

const espeak = (accent: string, variant: string): Voice => ({
  id: `espeak-${accent}-${variant.toLowerCase()}`,
  engine: 'espeak',
  name: `${accent}+${variant}`,
});
/** Gives the variants accents in turn, so that neither tells the other. */
const spread = (variants: string): Voice[] =>
  variants.split(' ').map((variant, i) => espeak(accents[i % accents.length]!, variant));
const flite = (name: string): Voice => ({ id: `flite-${name}`, engine: 'flite', name });

/**
 * Voices for training, by how their throat is made; the planner draws a group, then a voice. All
 * are voices of which a recogniser for American English (pocketsphinx with the demo's grammar)
 * made out at least a third of the words; espeak has others that nobody understands.
 */
export const trainingVoices: { weight: number; voices: Voice[] }[] = [
  { weight: 0.24, voices: ['slt', 'rms', 'awb', 'kal16'].map(flite) },
  {
    weight: 0.33,
    voices: [
      ...['en-us', 'en', 'en-gb-x-rp', 'en-us-nyc'].map((accent) => espeak(accent, 'f1')),
      ...['en-us', 'en', 'en-gb-x-gbclan', 'en-gb-scotland'].map((accent) => espeak(accent, 'f2')),
      ...['en-us', 'en-gb-x-rp', 'en-029'].map((accent) => espeak(accent, 'f4')),
      ...spread('anika steph2 steph3 caleb aunty linda belinda steph grandma'),
    ],
  },
  {
    weight: 0.43,
    voices: spread(
      'm1 m3 m4 m5 m7 m8 Alex Denis Diogo Gene Gene2 Hugo Mike mike2 Nguyen Reed Storm antonio ' +
        'announcer david ed edward edward2 grandpa iven iven3 john michel miguel pablo paul ' +
        'victor RicishayMax2 RicishayMax3 klatt klatt2 klatt3 klatt4 klatt5 klatt6 robosoft ' +
        'robosoft3 robosoft5 robosoft6 robosoft8',
    ),
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
