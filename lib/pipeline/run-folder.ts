/**
 * The run folder: one folder an artifact, made by one stage, with the hash of all that went into
 * it. An artifact appears by a rename, complete; what a killed stage had done so far waits beside
 * it in a work folder.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PareError, warn } from '../errors';
import { fileError, makeFolder, removeTemporaries, syncFolder, writeFileAtomic } from '../files';
import { damageIn, sealFolder, type DigestOptions, type Manifest } from '../manifest';

/** A run folder that belongs to another recipe, or is damaged. */
export class RunFolderError extends PareError {}

interface StageRecord {
  stage: string;
  hash: string;
  seconds: number;
  /** All files but this record; artifacts of earlier versions have none. */
  files?: Manifest;
}

export interface StageOptions extends DigestOptions {
  /** Hears of a damaged artifact, which is made anew; Node's own warning unless given. */
  onWarning?: (message: string) => void;
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
const artifactFormat = 2;

/**
 * The artifacts of a recipe's stages on disk: made once, found again while their inputs are the
 * same.
 */
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
   * The artifact of a stage: as it is if its inputs are unchanged and its files are what was
   * written, made by `make` otherwise. `make` writes into the folder it is given, which takes its
   * name when it returns.
   * @param inputs everything that the result depends on: settings, and the hashes of artifacts
   * @param options progress is that of reading an artifact of before, in bytes
   * @throws FileError when nothing can be read or written, and what `make` throws
   */
  async stage(
    name: string,
    inputs: unknown,
    make: (target: string, work: string, hash: string) => Promise<void>,
    options: StageOptions = {},
  ): Promise<Artifact> {
    const hash = hashOf({ format: artifactFormat, name, inputs });
    const dir = join(this.dir, name);
    for (const place of this.places(name)) {
      const found = await this.#found(place, hash, options);
      if (found !== undefined) return { dir: place, hash, seconds: found.seconds, reused: true };
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
      const files = await sealFolder(target);
      const record: StageRecord = { stage: name, hash, seconds: seconds(), files };
      writeFileAtomic(join(target, recordFile), `${JSON.stringify(record)}\n`);
      syncFolder(target);
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

  /** The record of an artifact of these inputs, if there is one that is not damaged. */
  async #found(
    dir: string,
    hash: string,
    { onWarning = warn, ...options }: StageOptions,
  ): Promise<StageRecord | undefined> {
    const path = join(dir, recordFile);
    if (!existsSync(path)) return undefined;
    let damage: string | undefined;
    try {
      const record = readRecord<StageRecord>(path, 'hash');
      if (record.hash !== hash) return undefined;
      damage = await damageIn(dir, record.files ?? {}, options);
      if (damage === undefined) return record;
    } catch (error) {
      if (!(error instanceof RunFolderError)) throw error;
      damage = `${recordFile} cannot be read`;
    }
    onWarning(`the artifact ${dir} is damaged (${damage}); the stage is made anew`);
    return undefined;
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
