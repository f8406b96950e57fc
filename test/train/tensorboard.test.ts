/** Event files: TensorBoard's own bytes, and a file that is read back. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileError } from '../../lib/files';
import { EventFile, scalarEvent, tfRecord, versionEvent } from '../../lib/train/tensorboard';

interface Vectors {
  wallTime: number;
  events: { step: number | null; scalars: Record<string, number> | null; record: string }[];
}

const vectors = JSON.parse(
  readFileSync(join(__dirname, '../oracle/vectors/tensorboard.json'), 'utf8'),
) as Vectors;

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'pare-events-'))));
afterEach(() => rmSync(dir, { recursive: true }));

test.each(vectors.events)('step $step: the bytes of TensorBoard', ({ step, scalars, record }) => {
  const { wallTime } = vectors;
  const event = step === null ? versionEvent(wallTime) : scalarEvent(wallTime, step, scalars!);
  expect(tfRecord(event).toString('base64')).toBe(record);
});

/** The messages of a file; throws where a checksum is not what was written. */
function messages(path: string): Buffer[] {
  const file = readFileSync(path);
  const found: Buffer[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64LE(at));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(file.subarray(at, at + 16 + length)).toEqual(tfRecord(data));
    found.push(data);
    at += 16 + length;
  }
  return found;
}

test('a file begins with its version and has a message a step; another file does not replace it', () => {
  for (let run = 0; run < 2; run++) {
    const file = new EventFile(join(dir, 'QLoRA'));
    file.log(1, { loss: 0.5, broken: NaN });
    file.log(2, { loss: 0.25 });
    file.close();
    const [version, first, second] = messages(file.path);
    expect(version!.toString('latin1')).toContain('brain.Event:2');
    const tail = (step: number, scalars: Record<string, number>): Buffer =>
      scalarEvent(0, step, scalars).subarray(9);
    expect(first!.subarray(9)).toEqual(tail(1, { loss: 0.5 }));
    expect(second!.subarray(9)).toEqual(tail(2, { loss: 0.25 }));
  }
  const names = readdirSync(join(dir, 'QLoRA'));
  expect(names).toHaveLength(2);
  for (const name of names) expect(name).toMatch(/^events\.out\.tfevents\.\d+\./);
});

test('a folder that cannot be made is named', () => {
  writeFileSync(join(dir, 'file'), '');
  expect(() => new EventFile(join(dir, 'file', 'below'))).toThrow(FileError);
});
