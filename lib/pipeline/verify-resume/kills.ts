/** Where a run is killed: points of an earlier run, drawn by a seed. */
import { seededRandom, type Random } from '../../data';
import type { RunEvent } from './protocol';

/** A stage of a run that was left alone. */
export interface RecordedStage {
  name: string;
  /** Its number among all, those that made nothing included. */
  index: number;
  events: readonly RunEvent[];
}

export interface PlannedKill {
  stage: RecordedStage;
  key: string;
  /** In the middle of a write or just after it: the process kills itself there. */
  isWrite: boolean;
  /** Milliseconds until the next event of the run: elsewhere it is killed at any moment in these. */
  gap: number;
}

const isWrite = ({ key }: RunEvent): boolean => key.startsWith('write ');
/** A file is there under its temporary name. */
const isTorn = (key: string): boolean => /^write (opened|part|whole) /.test(key);

/**
 * Draws `count` points in the order of the run: one in each stage, as far as they go, the others
 * anywhere; at least one of them is in the middle of a write. A stage's points are of one kind
 * (reading, training, writing, …) as likely as of another.
 */
export function planKills(
  stages: readonly RecordedStage[],
  count: number,
  seed: number,
): PlannedKill[] {
  const random = seededRandom(`verify-resume ${seed}`);
  const open = stages.filter(({ events }) => events.length > 0);
  const chosen = new Map(open.map((stage) => [stage, new Set<RunEvent>()]));
  const total = Math.min(
    count,
    open.reduce((sum, { events }) => sum + events.length, 0),
  );
  const turns = random.shuffled(open).slice(0, total);
  while (turns.length < total) turns.push(random.pick(open));
  for (const [i, stage] of turns.entries()) {
    const taken = chosen.get(stage)!;
    const left = stage.events.filter((event) => !taken.has(event));
    // A stage that has no point left passes the turn on.
    if (left.length === 0) turns.push(random.pick(open));
    else taken.add(i === 0 ? tornOf(left, random) : pointOf(left, random));
  }
  return open.flatMap((stage) =>
    stage.events.flatMap((event, i): PlannedKill[] => {
      if (!chosen.get(stage)!.has(event)) return [];
      const next = stage.events[i + 1];
      const gap = next === undefined ? 0 : next.time - event.time;
      return [{ stage, key: event.key, isWrite: isWrite(event), gap }];
    }),
  );
}

function pointOf(events: readonly RunEvent[], random: Random): RunEvent {
  const kinds = new Map<string, RunEvent[]>();
  for (const event of events) {
    const kind = isWrite(event) ? 'write' : event.key.replace(/ \d+\/\d+$/, '');
    kinds.set(kind, [...(kinds.get(kind) ?? []), event]);
  }
  return random.pick(random.pick([...kinds.values()]));
}

/** In the middle of a write, if the stage writes at all. */
function tornOf(events: readonly RunEvent[], random: Random): RunEvent {
  const torn = events.filter(({ key }) => isTorn(key));
  return torn.length > 0 ? random.pick(torn) : pointOf(events, random);
}
