/** Where translations of recordings go, and as what. */
import { existsSync, statSync } from 'node:fs';
import { basename, extname, join, resolve } from 'node:path';
import { Option } from 'commander';
import { checkWritable, writeFileAtomic } from '../files';
import type { RecordingTranslation } from '../qwen2-audio/recordings';
import { toSrt, toVtt } from '../text/subtitles';
import { UsageError } from './arguments';
import type { Context } from './context';

const formats = ['text', 'json', 'srt', 'vtt'] as const;

export interface OutputOptions {
  format: (typeof formats)[number];
  /** Of `text`: a line a segment; of `json`: the segments, too. */
  segments?: boolean;
  /** A file, or a folder: that exists, ends with a slash or is for several. */
  output?: string;
}

export function formatOption(): Option {
  return new Option('--format <name>', 'text, json, or subtitles').choices(formats).default('text');
}

const extensions = { text: 'txt', json: 'json', srt: 'srt', vtt: 'vtt' };

/** Writes the translation of each file to standard output or into a file of its own. */
export class TranslationOutput {
  /** Of each sound file, where its translation goes. */
  readonly #paths: ReadonlyMap<string, string>;

  /**
   * @throws UsageError if two translations would be one file, or a sound file be overwritten;
   * FileError where none can be written, before anything is translated
   */
  constructor(
    readonly context: Context,
    readonly files: readonly string[],
    readonly options: OutputOptions,
  ) {
    const { format, output } = options;
    const isSubtitles = format === 'srt' || format === 'vtt';
    if (output === undefined && isSubtitles && files.length > 1) {
      throw new UsageError(`${format} is a file for each recording; add --output with a folder`);
    }
    this.#paths = output === undefined ? new Map() : placesOf(files, output, extensions[format]);
    for (const path of this.#paths.values()) checkWritable(path);
  }

  write(file: string, translation: RecordingTranslation): void {
    const path = this.#paths.get(file);
    const content = this.#format(file, translation);
    if (path === undefined) this.context.stdout.write(content);
    else writeFileAtomic(path, content);
  }

  /** What stands on standard output for a file that could not be translated. */
  skip(): void {
    const { format, segments, output } = this.options;
    if (output === undefined && format === 'text' && !segments) this.context.print('');
  }

  #format(file: string, translation: RecordingTranslation): string {
    const { format, segments: asked } = this.options;
    const { text, segments } = translation;
    if (format === 'srt') return toSrt(segments);
    if (format === 'vtt') return toVtt(segments);
    if (format === 'json') return `${JSON.stringify(asJson(file, translation, asked))}\n`;
    if (!asked) return `${onOneLine(text)}\n`;
    const name = this.files.length > 1 && this.options.output === undefined ? [file] : [];
    return segments
      .map(({ start, end, text }) => [...name, start.toFixed(3), end.toFixed(3), onOneLine(text)])
      .map((columns) => `${columns.join('\t')}\n`)
      .join('');
  }
}

function asJson(file: string, translation: RecordingTranslation, asked = false): object {
  const { text, tokenIds, seconds, duration, silent, segments } = translation;
  return {
    ...{ file, text, tokenIds, seconds },
    ...(silent && { silent }),
    ...((asked || segments.length > 1) && { duration, segments }),
  };
}

/** Nothing that moves a terminal's cursor or ends a line. */
function onOneLine(text: string): string {
  return text.replace(/[\p{Cc}\s]+/gu, ' ');
}

function placesOf(
  files: readonly string[],
  output: string,
  extension: string,
): Map<string, string> {
  const isFolder = files.length > 1 || /[/\\]$/.test(output) || isExistingFolder(output);
  const places = new Map<string, string>();
  const sources = new Map(files.map((file) => [resolve(file), file]));
  const taken = new Map<string, string>();
  for (const file of files) {
    const name = `${basename(file, extname(file))}.${extension}`;
    const path = isFolder ? join(output, name) : output;
    const other = taken.get(path);
    if (other !== undefined) {
      throw new UsageError(
        `${other} and ${file} would both become ${path}; translate them into different folders`,
      );
    }
    if (sources.has(resolve(path))) {
      throw new UsageError(`${path} is to be translated and would be overwritten; choose another`);
    }
    taken.set(path, file);
    places.set(file, path);
  }
  return places;
}

function isExistingFolder(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory();
}
