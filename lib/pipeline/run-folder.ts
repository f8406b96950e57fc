/**
 * The run folder: one folder an artifact, made by one stage, with the hash of all that went into
 * it. An artifact appears by a rename, complete; what a killed stage had done so far waits beside
 * it in a work folder.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PareError } from '../errors';
import { fileError, syncFolder, writeFileAtomic } from '../files';

/** A run folder that belongs to another recipe, or is damaged. */
export class RunFolderError extends PareError {}

interface StageRecord {
  stage: string;
  hash: string;
  seconds: number;
}

/** What a stage made, or found made. */
export interface Artifact {
  dir: string;
  hash: string;
  seconds: number;
  reused: boolean;
}

export function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}

const recordFile = 'stage.json';

export class RunFolder {
  constructor(
    readonly dir: string,
    readonly recipeName: string,
  ) {
    const marker = join(dir, 'run.json');
    if (existsSync(marker)) {
      const { recipe } = readJson(marker) as { recipe?: string };
      if (recipe !== recipeName) {
        throw new RunFolderError(
          `${dir} holds a run of the recipe ${recipe}, not of ${recipeName}; ` +
            'choose another output or remove the folder',
        );
      }
      return;
    }
    try {
      mkdirSync(dir, { recursive: true });
    } catch (error) {
      throw fileError('make', dir, error);
    }
    writeFileAtomic(marker, `${JSON.stringify({ recipe: recipeName })}\n`);
  }

  /**
   * The artifact of a stage: as it is if its inputs are unchanged, made by `make` otherwise. `make`
   * writes into the folder it is given, which takes its name when it returns.
   * @param inputs everything that the result depends on: settings, and the hashes of artifacts
   */
  async stage(
    name: string,
    inputs: unknown,
    make: (target: string, work: string, hash: string) => Promise<void>,
  ): Promise<Artifact> {
    const hash = hashOf({ name, inputs });
    const dir = join(this.dir, name);
    const found = this.#record(dir);
    if (found?.hash === hash) return { dir, hash, seconds: found.seconds, reused: true };
    // Work of other inputs is of no use; its folder bears the hash.
    const work = join(this.dir, `.${name}-${hash}.work`);
    const target = join(this.dir, `.${name}-${hash}.new`);
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target, { recursive: true });
    mkdirSync(work, { recursive: true });
    const before = this.#secondsSoFar(work);
    const started = performance.now();
    const seconds = (): number => before + (performance.now() - started) / 1000;
    try {
      await make(target, work, hash);
    } finally {
      // A stage that is resumed counts the time of all its attempts.
      if (existsSync(work)) writeFileAtomic(join(work, 'seconds'), String(seconds()));
    }
    const record: StageRecord = { stage: name, hash, seconds: seconds() };
    writeFileAtomic(join(target, recordFile), `${JSON.stringify(record)}\n`);
    rmSync(dir, { recursive: true, force: true });
    renameSync(target, dir);
    syncFolder(this.dir);
    rmSync(work, { recursive: true, force: true });
    return { dir, hash, seconds: record.seconds, reused: false };
  }

  #record(dir: string): StageRecord | undefined {
    const path = join(dir, recordFile);
    return existsSync(path) ? (readJson(path) as StageRecord) : undefined;
  }

  #secondsSoFar(work: string): number {
    const path = join(work, 'seconds');
    return existsSync(path) ? Number(readFileSync(path, 'utf8')) || 0 : 0;
  }
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new RunFolderError(`${path} is damaged; remove its folder and run again`, { cause });
  }
}
