/**
 * Scalars in TensorBoard's event files: TFRecord framing (length, masked CRC-32C, data, masked
 * CRC-32C) around `tensorflow.Event` messages, of which the few fields are written by hand.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileError, makeFolder } from '../files';

/** Reflected polynomial of CRC-32C (Castagnoli). */
const polynomial = 0x82f63b78;
const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
  return value >>> 0;
});

/** CRC-32C as TFRecord stores it: rotated right by 15 bits, plus a constant. */
function maskedCrc(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = crcTable[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** A record of a TFRecord file. */
export function tfRecord(data: Uint8Array): Buffer {
  const record = Buffer.alloc(12 + data.length + 4);
  record.writeBigUInt64LE(BigInt(data.length), 0);
  record.writeUInt32LE(maskedCrc(record.subarray(0, 8)), 8);
  record.set(data, 12);
  record.writeUInt32LE(maskedCrc(data), 12 + data.length);
  return record;
}

// Fields of protocol buffers, each with its number and its wire type (0 varint, 1 and 5 fixed, 2
// with a length).
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

function bytesField(field: number, data: Uint8Array): Buffer {
  return Buffer.concat([varint(field * 8 + 2), varint(data.length), data]);
}

function doubleField(field: number, value: number): Buffer {
  const data = Buffer.alloc(9);
  data[0] = field * 8 + 1;
  data.writeDoubleLE(value, 1);
  return data;
}

function floatField(field: number, value: number): Buffer {
  const data = Buffer.alloc(5);
  data[0] = field * 8 + 5;
  data.writeFloatLE(value, 1);
  return data;
}

/** The first message of every file. @param wallTime seconds since 1970 */
export function versionEvent(wallTime: number): Buffer {
  return Buffer.concat([doubleField(1, wallTime), bytesField(3, Buffer.from('brain.Event:2'))]);
}

/** Scalars of a step by their tags. @param wallTime seconds since 1970 */
export function scalarEvent(
  wallTime: number,
  step: number,
  scalars: Readonly<Record<string, number>>,
): Buffer {
  const values = Object.entries(scalars).map(([tag, value]) =>
    bytesField(1, Buffer.concat([bytesField(1, Buffer.from(tag)), floatField(2, value)])),
  );
  return Buffer.concat([
    doubleField(1, wallTime),
    Buffer.from([2 * 8]),
    varint(step),
    bytesField(5, Buffer.concat(values)),
  ]);
}

let files = 0;

/** An event file in a folder of its own run: TensorBoard reads all files of a folder as one. */
export class EventFile {
  readonly path: string;
  readonly #fd: number;

  /** @throws FileError if the folder cannot be written */
  constructor(dir: string) {
    const second = Math.floor(Date.now() / 1000);
    const name = `events.out.tfevents.${second}.${hostname()}.${process.pid}.${files++}`;
    this.path = join(dir, name);
    try {
      makeFolder(dir);
      this.#fd = openSync(this.path, 'a');
    } catch (error) {
      throw fileError('write', this.path, error);
    }
    this.#append(versionEvent(Date.now() / 1000));
  }

  /** Numbers that are not finite are left out. */
  log(step: number, scalars: Readonly<Record<string, number>>): void {
    const finite = Object.entries(scalars).filter(([, value]) => Number.isFinite(value));
    this.#append(scalarEvent(Date.now() / 1000, step, Object.fromEntries(finite)));
  }

  /** Closes the file; nothing can be logged afterwards. */
  close(): void {
    closeSync(this.#fd);
  }

  #append(event: Uint8Array): void {
    const record = tfRecord(event);
    try {
      for (let at = 0; at < record.length;) at += writeSync(this.#fd, record, at);
    } catch (error) {
      throw fileError('write', this.path, error);
    }
  }
}
