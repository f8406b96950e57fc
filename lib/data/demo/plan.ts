import { seededRandom, type Random } from '../random';
import { allPhrases, type Phrase, type PhraseKind } from './phrases';
import type { SpeechJob } from './pool';
import { heldOutVoices, trainingVoices, type Voice } from './voices';

/** How many utterances each split gets. */
export interface DemoCounts {
  train: number;
  dev: number;
  test: number;
  testVoices: number;
}

/** What happens to a clip after it was spoken. */
export interface ClipSettings {
  /** Silence before and after, seconds. */
  before: number;
  after: number;
  /** Level of the speech, dB below full scale (RMS, negative). */
  level: number;
  /** Above 1: faster and higher, as a tape. */
  speed?: number;
  /** Higher or lower at the same speed: throats of other lengths. */
  semitones?: number;
  /** Pass band, Hz, where a telephone or a dull microphone is imitated. */
  band?: { low: number; high: number };
  /** Noise, and its signal-to-noise ratio in dB. */
  noise?: { snr: number; color: 'white' | 'pink' };
  /** A room: seconds in which its echoes die away. */
  decay?: number;
}

/** An utterance before it is spoken. */
export interface PlannedUtterance {
  id: string;
  split: string;
  phrase: Phrase;
  voice: Voice;
  job: SpeechJob;
  clip: ClipSettings;
}

/** Shares of the kinds: about as many utterances as a kind has numbers and names to learn. */
const mix: Record<PhraseKind, number> = {
  hour: 0.05,
  time: 0.16,
  date: 0.23,
  duration: 0.14,
  relative: 0.1,
  money: 0.16,
  measure: 0.16,
};

/** Parts of each kind's combinations that training never sees. */
const heldOut = { test: 0.1, dev: 0.08 };
type Part = 'train' | 'dev' | 'test';

/** Puts each combination, with all its phrases, into one part. */
export function splitPhrases(seed: number): Record<Part, Phrase[]> {
  const parts: Record<Part, Phrase[]> = { train: [], dev: [], test: [] };
  const byPrefix = new Map<string, Map<string, Phrase[]>>();
  for (const phrase of allPhrases()) {
    const prefix = phrase.group.split(':')[0]!;
    const groups = byPrefix.get(prefix) ?? new Map<string, Phrase[]>();
    byPrefix.set(prefix, groups);
    groups.set(phrase.group, [...(groups.get(phrase.group) ?? []), phrase]);
  }
  for (const [prefix, groups] of byPrefix) {
    const shuffled = seededRandom(`${seed} groups ${prefix}`).shuffled([...groups.values()]);
    const testEnd = Math.round(shuffled.length * heldOut.test);
    const devEnd = testEnd + Math.round(shuffled.length * heldOut.dev);
    shuffled.forEach((phrases, i) =>
      parts[i < testEnd ? 'test' : i < devEnd ? 'dev' : 'train'].push(...phrases),
    );
  }
  return parts;
}

/** `count` phrases in the mix of kinds, each once before any twice. */
function choose(phrases: Phrase[], count: number, key: string): Phrase[] {
  const chosen: Phrase[] = [];
  let share = 0;
  for (const [kind, part] of Object.entries(mix)) {
    share += part;
    const until = Math.round(share * count);
    for (let round = 0; chosen.length < until; round++) {
      const pool = seededRandom(`${key} ${kind} ${round}`).shuffled(
        phrases.filter((phrase) => phrase.kind === kind),
      );
      if (pool.length === 0) throw new RangeError(`no phrases of kind ${kind} in ${key}`);
      chosen.push(...byGroupInTurn(pool).slice(0, until - chosen.length));
    }
  }
  return seededRandom(`${key} order`).shuffled(chosen);
}

/** All groups once, then all again: a combination of many phrases does not crowd out the rest. */
function byGroupInTurn(phrases: Phrase[]): Phrase[] {
  const seen = new Map<string, number>();
  return phrases
    .map((phrase) => {
      const turn = seen.get(phrase.group) ?? 0;
      seen.set(phrase.group, turn + 1);
      return { phrase, turn };
    })
    .sort((a, b) => a.turn - b.turn)
    .map(({ phrase }) => phrase);
}

function trainingVoice(random: Random): Voice {
  let draw = random.next();
  for (const { weight, voices } of trainingVoices) {
    if ((draw -= weight) < 0) return random.pick(voices);
  }
  return random.pick(trainingVoices[0]!.voices);
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));

/** Speed and pitch at which the phrase is said; long phrases are said faster. */
function planSpeech(phrase: Phrase, voice: Voice, random: Random): SpeechJob {
  const { engine, name } = voice;
  const long = Math.max(0, phrase.text.length - 26) / 16;
  if (engine === 'flite') {
    const rate = round(random.between(0.95, 1.2) + 0.2 * long, 3);
    const ownPitch = { slt: 165, rms: 95, awb: 130 }[name] ?? 110;
    const pitch = Math.round(ownPitch * random.between(0.88, 1.15));
    return { engine, name, text: phrase.text, rate, pitch, range: 0 };
  }
  const rate = Math.round(random.between(150, 205) + 35 * long);
  const pitch = Math.round(random.between(32, 68));
  return {
    engine,
    name,
    text: phrase.text,
    rate,
    pitch,
    range: Math.round(random.between(30, 70)),
  };
}

const speeds = [0.9, 0.95, 1.05, 1.1];

/** Every clip has its own level and pauses; half of the training clips get more. */
function planClip(train: boolean, random: Random): ClipSettings {
  const clip: ClipSettings = {
    before: round(random.between(0.05, 0.1), 3),
    after: round(random.between(0.05, 0.1), 3),
    level: round(random.between(-28, -19), 1),
  };
  if (!train || random.next() < 0.5) return clip;
  const voice = random.next();
  if (voice < 0.3) clip.speed = random.pick(speeds);
  else if (voice < 0.8) clip.semitones = round(random.between(-2.2, 2.2), 2);
  if (random.next() < 0.35) {
    clip.band = {
      low: Math.round(random.between(60, 280)),
      high: Math.round(random.between(3400, 7000)),
    };
  }
  if (random.next() < 0.5) {
    clip.noise = {
      snr: round(random.between(12, 32), 1),
      color: random.pick(['white', 'pink'] as const),
    };
  }
  if (random.next() < 0.2) clip.decay = round(random.between(0.08, 0.3), 2);
  return clip;
}

/** The whole corpus as a list; the same seed and counts give the same list. */
export function planCorpus(seed: number, counts: DemoCounts): PlannedUtterance[] {
  const parts = splitPhrases(seed);
  const plan: PlannedUtterance[] = [];
  const add = (
    split: string,
    phrases: Phrase[],
    voiceOf: (random: Random, index: number) => Voice,
  ): void =>
    phrases.forEach((phrase, index) => {
      const id = `${split}-${String(index + 1).padStart(5, '0')}`;
      const random = seededRandom(`${seed} ${id}`);
      const voice = voiceOf(random, index);
      plan.push({
        id,
        split,
        phrase,
        voice,
        job: planSpeech(phrase, voice, random),
        clip: planClip(split === 'train', random),
      });
    });
  add('train', choose(parts.train, counts.train, `${seed} train`), trainingVoice);
  add('dev', choose(parts.dev, counts.dev, `${seed} dev`), trainingVoice);
  add('test', choose(parts.test, counts.test, `${seed} test`), trainingVoice);
  // The same phrases as in `test` if the counts are the same: only the voices differ.
  add(
    'test-voices',
    choose(parts.test, counts.testVoices, `${seed} test`),
    (_, index) => heldOutVoices[index % heldOutVoices.length]!,
  );
  return plan;
}
