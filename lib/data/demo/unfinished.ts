/**
 * A corpus in the making, in a folder beside its place. Whoever is interrupted leaves the folder, and
 * the next one who makes the same corpus takes it over.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { makeFolder } from '../../files';
import { JsonLines } from '../../json-lines';
import { damageIn, type Manifest } from '../../manifest';
import { isAlive, thisProcess } from '../../processes';
import type { Utterance } from '../corpus';

/** What one batch has become. */
export interface FinishedBatch {
  index: number;
  utterances: Utterance[];
  /** Its clips. */
  files: Manifest;
}

/** Folders in which this process is at work: others of its number were left by an earlier call. */
const held = new Set<string>();
let counter = 0;

export class UnfinishedCorpus {
  readonly #batches: JsonLines<FinishedBatch>;

  private constructor(readonly dir: string) {
    held.add(dir);
    this.#batches = new JsonLines(join(dir, 'batches.jsonl'), true);
  }

  /**
   * Takes over what was left of the same corpus, or begins with nothing. What was left of others is
   * removed; what other processes are making stays.
   * @param hash of all that the corpus depends on
   */
  static claim(dir: string, hash: string): UnfinishedCorpus {
    const { pid, started = 0 } = thisProcess();
    const parent = dirname(dir);
    const mine = `${dir}.making-${hash.slice(0, 16)}-${pid}-${started}-${counter++}`;
    makeFolder(parent);
    for (const name of readdirSync(parent)) {
      const left = join(parent, name);
      const [, of] = /^\.making-([0-9a-f]{16})-/.exec(name.slice(basename(dir).length)) ?? [];
      if (!name.startsWith(basename(dir)) || of === undefined || isInUse(left)) continue;
      if (of !== hash.slice(0, 16) || existsSync(mine)) {
        rmSync(left, { recursive: true, force: true });
        continue;
      }
      try {
        renameSync(left, mine);
      } catch (error) {
        // Another process was faster.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
    if (!existsSync(mine)) mkdirSync(mine);
    return new UnfinishedCorpus(mine);
  }

  /** The batches that are done and whose clips are as they were written. */
  async finished(): Promise<FinishedBatch[]> {
    const whole: FinishedBatch[] = [];
    for (const batch of this.#batches.read()) {
      if ((await damageIn(this.dir, batch.files)) === undefined) whole.push(batch);
    }
    return whole;
  }

  /** Writes the clips of a batch, then that it is done. */
  add(index: number, clips: readonly { utterance: Utterance; wav: Uint8Array }[]): void {
    const files: Manifest = {};
    for (const { utterance, wav } of clips) {
      writeFileSync(join(this.dir, utterance.audio), wav);
      const sha256 = createHash('sha256').update(wav).digest('hex');
      files[utterance.audio] = { bytes: wav.length, sha256 };
    }
    this.#batches.append({ index, utterances: clips.map(({ utterance }) => utterance), files });
  }

  /** Forgets how the corpus was made: it is complete. */
  complete(): void {
    rmSync(this.#batches.path, { force: true });
  }

  /** Lets others have what was made so far. */
  release(): void {
    held.delete(this.dir);
  }
}

function isInUse(path: string): boolean {
  const [, pid, started] = /-(\d+)-(\d+)-\d+$/.exec(path) ?? [];
  if (Number(pid) === process.pid && started === `${thisProcess().started ?? 0}`) {
    return held.has(path);
  }
  return isAlive({ pid: Number(pid), started: started === '0' ? undefined : started });
}
