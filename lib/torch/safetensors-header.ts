/**
 * The header of a safetensors file: eight bytes of length (little endian), JSON of that length,
 * then the tensors' bytes without gaps (https://huggingface.co/docs/safetensors).
 */
import { PareError } from '../errors';
import { dtypeSize, type DType } from './dtype';

/** A safetensors file is broken, or what should be written is no valid one. */
export class SafetensorsError extends PareError {}

/** A tensor as the header describes it. */
export interface TensorInfo {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Bytes of its data in the file. */
  readonly bytes: number;
}

/** Where a tensor's data begins, counted from the start of the file. */
export interface PlacedTensor extends TensorInfo {
  readonly offset: number;
}

export interface Header {
  metadata: Record<string, string>;
  /** In the order of the data. */
  tensors: Map<string, PlacedTensor>;
}

const names: Record<DType, string> = {
  float32: 'F32',
  bfloat16: 'BF16',
  float16: 'F16',
  int64: 'I64',
  int32: 'I32',
  uint8: 'U8',
  bool: 'BOOL',
  float64: 'F64',
};
const dtypesByName = new Map(Object.entries(names).map(([dtype, name]) => [name, dtype as DType]));

/** The reference implementation refuses longer headers, too. */
export const maxHeaderLength = 100_000_000;

/**
 * Checks a header against everything the format demands and the size of the file.
 * @param dataLength bytes of the file after the header
 * @throws SafetensorsError that names the file and the tensor.
 */
export function parseHeader(path: string, header: Uint8Array, dataLength: number): Header {
  const fail = (what: string): never => {
    throw new SafetensorsError(`${path}: ${what}; the file is damaged, fetch or write it again`);
  };
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
    json = JSON.parse(text);
  } catch {
    return fail('its safetensors header is not JSON');
  }
  if (!isRecord(json)) return fail('its safetensors header is not a JSON object');

  const keys = topLevelKeys(text);
  const seen = new Set<string>();
  const repeated = keys.find((key) => seen.size === seen.add(key).size);
  if (repeated !== undefined) return fail(`its header has ${quote(repeated)} twice`);

  let metadata: Record<string, string> = {};
  const placed: [string, PlacedTensor & { end: number }][] = [];
  const dataStart = 8 + header.length;
  for (const key of keys) {
    const entry = json[key];
    if (key === '__metadata__') {
      if (!isRecord(entry) || !Object.values(entry).every((value) => typeof value === 'string')) {
        return fail('its __metadata__ is not an object of strings');
      }
      metadata = entry as Record<string, string>;
      continue;
    }
    const name = `tensor ${quote(key)}`;
    if (!isRecord(entry)) return fail(`${name} has no description`);
    const { dtype: dtypeName, shape, data_offsets: offsets } = entry;
    if (typeof dtypeName !== 'string') return fail(`${name} has no dtype`);
    const dtype = dtypesByName.get(dtypeName);
    if (dtype === undefined) {
      const known = [...dtypesByName.keys()].join(', ');
      throw new SafetensorsError(
        `${path}: ${name} has dtype ${dtypeName}, which is not supported; convert it to one of ${known}`,
      );
    }
    if (!isSizes(shape)) return fail(`${name} has no valid shape`);
    if (!isSizes(offsets) || offsets.length !== 2) return fail(`${name} has no valid offsets`);
    const [begin, end] = offsets as [number, number];
    const bytes = shape.reduce((product, size) => product * size, dtypeSize[dtype]);
    if (end - begin !== bytes) {
      return fail(`${name} has ${end - begin} bytes, but ${dtypeName} [${shape}] needs ${bytes}`);
    }
    placed.push([key, { dtype, shape, bytes, offset: dataStart + begin, end }]);
  }

  placed.sort(([, a], [, b]) => a.offset - b.offset || a.end - b.end);
  let end = 0;
  for (const [key, tensor] of placed) {
    const begin = tensor.offset - dataStart;
    if (tensor.end > dataLength) {
      return fail(
        `tensor ${quote(key)} ends at byte ${dataStart + tensor.end}, but the file has ${dataStart + dataLength} bytes: it is truncated`,
      );
    }
    if (begin < end) return fail(`tensor ${quote(key)} overlaps the one before it`);
    if (begin > end) return fail(`there is a gap before tensor ${quote(key)}`);
    end = tensor.end;
  }
  if (end !== dataLength) return fail(`it has ${dataLength - end} bytes after the last tensor`);
  const tensors = new Map(
    placed.map(([key, { dtype, shape, bytes, offset }]) => [key, { dtype, shape, bytes, offset }]),
  );
  return { metadata, tensors };
}

/**
 * The first bytes of a file, length included, padded with spaces to a multiple of eight, and to
 * `length` if that is longer. The same arguments give the same bytes.
 */
export function formatHeader(
  metadata: Readonly<Record<string, string>>,
  tensors: Iterable<readonly [string, TensorInfo]>,
  length: number = 0,
): Uint8Array {
  // Joined by hand: a JavaScript object would put names that look like integers first.
  const entries = [`"__metadata__":${JSON.stringify(metadata)}`];
  let offset = 0;
  for (const [name, { dtype, shape, bytes }] of tensors) {
    const data_offsets = [offset, (offset += bytes)];
    const info = JSON.stringify({ dtype: names[dtype], shape, data_offsets });
    entries.push(`${JSON.stringify(name)}:${info}`);
  }
  const json = Buffer.from(`{${entries.join()}}`);
  const padded = Buffer.alloc(Math.max(length, 8 + Math.ceil(json.length / 8) * 8), ' ');
  padded.writeBigUInt64LE(BigInt(padded.length - 8));
  json.copy(padded, 8);
  return padded;
}

function quote(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.every((size) => Number.isSafeInteger(size) && (size as number) >= 0)
  );
}

/** The keys of the outermost object in their order, repeated ones too, which JSON.parse drops. */
function topLevelKeys(json: string): string[] {
  const keys: string[] = [];
  let depth = 0;
  let start = 0;
  let end = 0;
  for (let at = 0; at < json.length; at++) {
    const char = json[at];
    if (char === '"') {
      start = at++;
      while (json[at] !== '"') at += json[at] === '\\' ? 2 : 1;
      end = at + 1;
    } else if (char === '{' || char === '[') depth++;
    else if (char === '}' || char === ']') depth--;
    else if (char === ':' && depth === 1) keys.push(JSON.parse(json.slice(start, end)) as string);
  }
  return keys;
}
