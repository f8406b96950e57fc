/**
 * The run folder: one folder an artifact, made by one stage, with the hash of all that went into
 * it. An artifact appears by a rename, complete; what a killed stage had done so far waits beside
 * it in a work folder.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PareError } from '../errors';
import { fileError, makeFolder, syncFolder, writeFileAtomic } from '../files';

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
  /** It was there before any run: a checkpoint that the recipe names. */
  given?: boolean;
}

export function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}

const recordFile = 'stage.json';

/** Raised when a stage's code changes what it makes of the same inputs, so that none is reused. */
const artifactFormat = 1;

export class RunFolder {
  constructor(
    readonly dir: string,
    readonly recipeName: string,
    /** Run folders whose artifacts are taken where they are of the same inputs. */
    readonly neighbours: readonly string[] = [],
  ) {
    const marker = join(dir, 'run.json');
    if (existsSync(marker)) {
      const { recipe } = readRecord<{ recipe: string }>(marker, 'recipe');
      if (recipe !== recipeName) {
        throw new RunFolderError(
          `${dir} holds a run of the recipe ${recipe}, not of ${recipeName}; ` +
            'choose another output or remove the folder',
        );
      }
      return;
    }
    try {
      makeFolder(dir);
    } catch (error) {
      throw fileError('make', dir, error);
    }
    writeFileAtomic(marker, `${JSON.stringify({ recipe: recipeName })}\n`);
  }

  /**
   * The artifact of a stage: as it is if its inputs are unchanged, made by `make` otherwise. `make`
   * writes into the folder it is given, which takes its name when it returns.
   * @param inputs everything that the result depends on: settings, and the hashes of artifacts
   * @throws RunFolderError if the record of an artifact is damaged, FileError when nothing can be
   * written, and what `make` throws
   */
  async stage(
    name: string,
    inputs: unknown,
    make: (target: string, work: string, hash: string) => Promise<void>,
  ): Promise<Artifact> {
    const hash = hashOf({ format: artifactFormat, name, inputs });
    const dir = join(this.dir, name);
    for (const place of this.places(name)) {
      const found = this.#record(place);
      if (found?.hash === hash) return { dir: place, hash, seconds: found.seconds, reused: true };
    }
    // Work of other inputs is of no use; its folder bears the hash.
    const work = join(this.dir, `.${name}-${hash}.work`);
    const target = join(this.dir, `.${name}-${hash}.new`);
    const started = performance.now();
    try {
      rmSync(target, { recursive: true, force: true });
      makeFolder(target);
      makeFolder(work);
      removeTemporaries(work);
      const before = this.#secondsSoFar(work);
      const seconds = (): number => before + (performance.now() - started) / 1000;
      try {
        await make(target, work, hash);
      } catch (error) {
        keepSeconds(work, seconds());
        throw error;
      }
      const record: StageRecord = { stage: name, hash, seconds: seconds() };
      writeFileAtomic(join(target, recordFile), `${JSON.stringify(record)}\n`);
      rmSync(dir, { recursive: true, force: true });
      renameSync(target, dir);
      syncFolder(this.dir);
      this.#clearWork(name);
      return { dir, hash, seconds: record.seconds, reused: false };
    } catch (error) {
      throw isErrno(error) ? fileError('make', dir, error) : error;
    }
  }

  /** Where an artifact of this name may lie. */
  places(name: string): string[] {
    return [this.dir, ...this.neighbours].map((dir) => join(dir, name));
  }

  #record(dir: string): StageRecord | undefined {
    const path = join(dir, recordFile);
    return existsSync(path) ? readRecord<StageRecord>(path, 'hash') : undefined;
  }

  /** Removes a stage's work, that for settings which were given up included. */
  #clearWork(name: string): void {
    for (const entry of readdirSync(this.dir)) {
      const [, stage] = /^\.(.+)-[0-9a-f]{16}\.(?:work|new)$/.exec(entry) ?? [];
      if (stage === name) rmSync(join(this.dir, entry), { recursive: true, force: true });
    }
  }

  #secondsSoFar(work: string): number {
    const path = join(work, 'seconds');
    return existsSync(path) ? Number(readFileSync(path, 'utf8')) || 0 : 0;
  }
}

/** A process that was killed while it wrote a state left it under a temporary name. */
function removeTemporaries(work: string): void {
  for (const entry of readdirSync(work)) {
    if (/\.tmp-\d+-\d+$/.test(entry)) rmSync(join(work, entry), { recursive: true, force: true });
  }
}

/** A stage that is resumed counts the time of all its attempts. */
function keepSeconds(work: string, seconds: number): void {
  try {
    writeFileAtomic(join(work, 'seconds'), String(seconds));
  } catch {
    // Why the stage failed matters more; very likely the disk is full.
  }
}

/** Whether an error comes from the file system and has not been put into words yet. */
function isErrno(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code);
}

/** A JSON object with a text under `key`. */
function readRecord<T>(path: string, key: keyof T & string): T {
  let cause: unknown;
  try {
    const value = JSON.parse(readFileSync(path, 'utf8')) as T | null;
    if (typeof value?.[key] === 'string') return value;
  } catch (error) {
    cause = error;
  }
  throw new RunFolderError(`${path} is damaged; remove this file and run again`, { cause });
}
