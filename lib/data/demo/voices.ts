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

/** Voices for training, by how their throat is made; the planner draws a group, then a voice. */
export const trainingVoices: { weight: number; voices: Voice[] }[] = [
  { weight: 0.24, voices: ['slt', 'rms', 'awb', 'kal16'].map(flite) },
  {
    weight: 0.34,
    voices: spread(
      'f1 f2 f3 f5 Alicia Andrea Annie anika aunty belinda grandma steph steph2 steph3 caleb zac',
    ),
  },
  {
    weight: 0.42,
    voices: spread(
      'm1 m2 m4 m5 m6 m8 Alex Andy Denis Diogo Gene Henrique Hugo Lee Mario Michael Mike Nguyen ' +
        'Reed Storm adam antonio boris david ed edward ian iven3 iven4 john klatt3 klatt4 klatt6 ' +
        'marcelo max michel miguel pablo paul pedro quincy rob robert sandro travis announcer',
    ),
  },
];

/** Voices that speak in `test-voices` and nowhere else. */
export const heldOutVoices: Voice[] = [
  espeak('en-us', 'm3'),
  espeak('en', 'f4'),
  espeak('en-gb-scotland', 'm7'),
  espeak('en-us', 'linda'),
  espeak('en-gb-x-rp', 'benjamin'),
  espeak('en-us', 'shelby'),
  espeak('en-us-nyc', 'norbert'),
  espeak('en', 'victor'),
];
