/** The program in docs/scores.md, run as it stands on two small evaluations. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as pare from '../../lib';

const text = readFileSync(join(__dirname, '../../docs/scores.md'), 'utf8');

test('docs/scores.md compares two evaluations and scores a transcript', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pare-docs-'));
  const before = process.cwd();
  const references = ['Am Montag um neun Uhr.', 'zehn Euro'];
  const evaluation = { split: 'test', language: 'de', references };
  process.chdir(folder);
  try {
    for (const [name, texts] of [
      ['a.jsonl', references],
      ['b.jsonl', ['Am Montag', 'zehn Euro']],
    ] as const) {
      writeFileSync(name, `${JSON.stringify({ ...evaluation, texts })}\n`);
    }
    const [, source] = /```ts\n([\s\S]*?)```/.exec(text)!;
    const body = source!.replace(/import (\{[^}]*\}) from 'pare';/, 'const $1 = pare;');
    const logged: unknown[] = [];
    const log = (item: unknown): number => logged.push(item);
    const program = new Function('pare', 'console', body) as (...args: unknown[]) => void;
    program(pare, { log });
    expect(logged).toHaveLength(2);
    expect(logged[0]).toContain('**German, test: 2 segments**');
    expect(logged[0]).toContain('| System | chrF2++ ↑ | TER ↓ |');
    expect(logged[1]).toBe(0);
  } finally {
    process.chdir(before);
    rmSync(folder, { recursive: true });
  }
});
