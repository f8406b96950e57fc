import { copyFileSync, existsSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { shown } from '../errors';
import { fileError, makeFolder, temporaryName } from '../files';
import { damaged, readJson, readOptionalJson, TokenizerError } from './pretrained-file';
import { patienceSeconds, TimeLimitError, withinSeconds } from './time-limit';

/** Options of {@link Tokenizer.decode}. */
export interface DecodeOptions {
  /** Leave `<|im_end|>` and the like out; true if absent. */
  skipSpecialTokens?: boolean;
}

const tokenizerFile = 'tokenizer.json';
const configFile = 'tokenizer_config.json';

/** The files of a tokenizer, as far as a checkpoint has them. */
const files = [
  'vocab.json',
  'merges.txt',
  'added_tokens.json',
  'special_tokens_map.json',
  configFile,
  tokenizerFile,
];

function isId(id: unknown): id is number {
  return Number.isSafeInteger(id) && (id as number) >= 0;
}

/** The library trusts the file: of one that lies it says what only its own code makes clear. */
function reasonOf(error: unknown): string {
  if (error instanceof TimeLimitError) return error.message;
  const { name, message } = error as Error;
  const own = name === 'Error' && !/undefined|\[object/.test(message);
  return own ? message : 'its parts are not those of a tokenizer';
}

/** More than any text needs with patterns that are sound, of which the file may have others. */
function inTime<T>(length: number, work: () => T): T {
  return withinSeconds(patienceSeconds + length / 1000, work);
}

/** A checkpoint's tokenizer, with the ids of Hugging Face's. */
export class Tokenizer {
  /** Folder that it was read from. */
  readonly dir: string;
  /** One more than the largest id. */
  readonly vocabSize: number;
  /** Ends a message; undefined if the tokenizer names none. */
  readonly eosTokenId: number | undefined;
  /** Fills batches; undefined if the tokenizer names none. */
  readonly padTokenId: number | undefined;

  private constructor(
    dir: string,
    private readonly model: HuggingFaceTokenizer,
    config: Record<string, unknown>,
  ) {
    this.dir = dir;
    let largest = -1;
    for (const [token, id] of model.get_vocab(true)) {
      if (!isId(id)) {
        const reason = `its token ${shown(token)} has the id ${shown(id)}`;
        throw damaged(dir, tokenizerFile, reason);
      }
      largest = Math.max(largest, id);
    }
    this.vocabSize = largest + 1;
    this.eosTokenId = this.namedToken(config, 'eos_token');
    this.padTokenId = this.namedToken(config, 'pad_token');
  }

  /**
   * Reads `tokenizer.json` and, if there, `tokenizer_config.json`.
   * @param dir checkpoint folder
   * @throws TokenizerError if a file is missing or damaged
   */
  static fromPretrained(dir: string): Tokenizer {
    const tokenizer = readJson(dir, tokenizerFile);
    const config = readOptionalJson(dir, configFile) ?? {};
    try {
      return new Tokenizer(dir, new HuggingFaceTokenizer(tokenizer, config), config);
    } catch (cause) {
      if (cause instanceof TokenizerError) throw cause;
      throw damaged(dir, tokenizerFile, reasonOf(cause), cause);
    }
  }

  /**
   * Ids of a text. No special token is added; those spelled in the text are recognised.
   * @throws TokenizerError if the tokenizer's file is damaged such that it cannot, or has patterns
   *   that do not come to an end
   */
  encode(text: string): number[] {
    if (text === '') return [];
    let ids: number[];
    try {
      ids = inTime(text.length, () => this.model.encode(text, { add_special_tokens: false }).ids);
    } catch (cause) {
      throw damaged(this.dir, tokenizerFile, reasonOf(cause), cause);
    }
    if (ids.every(isId)) return ids;
    throw damaged(this.dir, tokenizerFile, 'it has no token for a part of a text');
  }

  /**
   * Text of ids. Bytes that are no UTF-8 become U+FFFD.
   * @throws TokenizerError if an id is not in the vocabulary
   */
  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    for (const id of ids) {
      if (this.model.id_to_token(id) === undefined) {
        throw new TokenizerError(
          `token id ${id} is not in the vocabulary of ${this.dir}; decode with the tokenizer that belongs to the model`,
        );
      }
    }
    if (ids.length === 0) return '';
    const { skipSpecialTokens = true } = options;
    try {
      return inTime(ids.length, () =>
        this.model.decode([...ids], {
          skip_special_tokens: skipSpecialTokens,
          clean_up_tokenization_spaces: false,
        }),
      );
    } catch (cause) {
      throw damaged(this.dir, tokenizerFile, reasonOf(cause), cause);
    }
  }

  /** Id of a token, undefined if there is no such token. */
  tokenToId(token: string): number | undefined {
    return this.model.token_to_id(token);
  }

  /**
   * Copies the tokenizer's files into another checkpoint folder, each whole or not at all.
   * @throws FileError if one cannot be written
   */
  save(dir: string): void {
    if (resolve(dir) === resolve(this.dir)) return;
    for (const file of files.filter((name) => existsSync(join(this.dir, name)))) {
      const target = join(dir, file);
      const temporary = temporaryName(target);
      try {
        makeFolder(dir);
        copyFileSync(join(this.dir, file), temporary);
        renameSync(temporary, target);
      } catch (error) {
        rmSync(temporary, { force: true });
        throw fileError('write', target, error);
      }
    }
  }

  private namedToken(config: Record<string, unknown>, key: string): number | undefined {
    const value = config[key];
    const token =
      typeof value === 'object' && value !== null
        ? (value as { content?: unknown }).content
        : value;
    if (typeof token !== 'string') return undefined;
    const id = this.tokenToId(token);
    if (id === undefined) {
      throw damaged(this.dir, configFile, `its ${key} ${token} is not in the vocabulary`);
    }
    return id;
  }
}
