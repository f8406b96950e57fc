import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bleu, bootstrapInterval, chrf, createMetric, ter, wer } from '../../lib/metrics';
import { jsonLines, oneLine, pare } from './invoke';

const hypotheses = ['Am Montag um acht Uhr.', 'Der Preis ist zehn Euro', 'im Juni'];
const references = ['Am Montag um neun Uhr.', 'der Preis beträgt zehn Euro', 'im Juli'];

let folder: string;
const path = (name: string): string => join(folder, name);
const write = (name: string, content: string | Uint8Array): string => {
  writeFileSync(path(name), content);
  return path(name);
};

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-score-'));
  write('hyp', `${hypotheses.join('\n')}\n`);
  write('ref', `${references.join('\n')}\n`);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('pare score', () => {
  test.each([
    { metric: 'bleu', options: [], expected: bleu(hypotheses, references) },
    {
      metric: 'bleu',
      options: ['--tokenize', 'char'],
      expected: bleu(hypotheses, references, { tokenize: 'char' }),
    },
    {
      metric: 'bleu',
      options: ['--lowercase'],
      expected: bleu(hypotheses, references, { lowercase: true }),
    },
    { metric: 'chrf', options: [], expected: chrf(hypotheses, references) },
    { metric: 'chrf++', options: [], expected: chrf(hypotheses, references, { wordOrder: 2 }) },
    { metric: 'ter', options: [], expected: ter(hypotheses, references) },
    {
      metric: 'ter',
      options: [
        '--ter-normalized',
        '--ter-no-punct',
        '--ter-asian-support',
        '--ter-case-sensitive',
      ],
      expected: ter(hypotheses, references, {
        ...{ normalized: true, noPunct: true, asianSupport: true, caseSensitive: true },
      }),
    },
    { metric: 'wer', options: [], expected: wer(hypotheses, references) },
    {
      metric: 'wer',
      options: ['--normalizer', 'english'],
      expected: wer(hypotheses, references, { normalizer: 'english' }),
    },
  ])('$metric $options is what the library gives', async ({ metric, options, expected }) => {
    const args = ['score', path('hyp'), path('ref'), '--metric', metric, ...options];
    const { exitCode, stdout, stderr } = await pare(...args, '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const { name, ...parts } = expected;
    expect(jsonLines(stdout)).toEqual([{ metric, ...parts }]);
    const plain = await pare(...args);
    expect(plain.stdout).toBe(`${name}|${parts.signature} = ${parts.score.toFixed(2)}\n`);
  });

  test('several metrics and files of references, a line of which may be empty', async () => {
    const second = write('second', `Montag um acht Uhr.\n\nim Juni\n`);
    const args = ['score', path('hyp'), path('ref'), second, '-m', 'bleu,ter', '-m', 'bleu'];
    const { exitCode, stdout } = await pare(...args);
    expect(exitCode).toBe(0);
    const refs = [
      [references[0]!, 'Montag um acht Uhr.'],
      [references[1]!],
      [references[2]!, 'im Juni'],
    ];
    expect(stdout.trimEnd().split('\n')).toEqual(
      [bleu(hypotheses, refs), ter(hypotheses, refs)].map(
        ({ name, signature, score }) => `${name}|${signature} = ${score.toFixed(2)}`,
      ),
    );
    expect(stdout).toContain('|nrefs:var|');
  });

  test('the interval is that of the library', async () => {
    const args = ['score', path('hyp'), path('ref'), '-m', 'chrf', '--confidence'];
    const expected = bootstrapInterval(createMetric('chrf'), hypotheses, references);
    const { stdout } = await pare(...args, '--json');
    expect(jsonLines(stdout)).toEqual([{ metric: 'chrf', ...expected }]);
    const { low, high } = expected;
    const plain = await pare(...args);
    expect(plain.stdout).toContain(` [${low.toFixed(2)}, ${high.toFixed(2)}]\n`);
  });

  test.each([
    { more: ['one\n'], metric: 'bleu', says: 'has 1 line' },
    { more: ['a\nb\nc\n'], metric: 'wer', says: 'one reference a segment' },
  ])('$metric against $more: one line', async ({ more, metric, says }) => {
    const files = more.map((content, i) => write(`more-${i}`, content));
    const result = await pare('score', path('hyp'), path('ref'), ...files, '-m', metric);
    expect(result).toMatchObject({ exitCode: 1, stdout: '' });
    expect(result.stderr).toMatch(oneLine);
    expect(result.stderr).toContain(says);
  });

  test('lines may end as on Windows, and the last one without an end', async () => {
    const windows = write('windows', `\uFEFF${hypotheses.join('\r\n')}`);
    const args = [path('ref'), '--metric', 'chrf', '--json'];
    const { stdout } = await pare('score', windows, ...args);
    expect(stdout).toBe((await pare('score', path('hyp'), ...args)).stdout);
  });

  test('an empty translation counts as a wrong one', async () => {
    const hyp = write('empty-line', `${hypotheses[0]}\n\n${hypotheses[2]}\n`);
    const { stdout } = await pare('score', hyp, path('ref'), '--metric', 'chrf', '--json');
    const expected = chrf([hypotheses[0]!, '', hypotheses[2]!], references);
    expect(jsonLines(stdout)[0]!.score).toBe(expected.score);
  });

  test.each([
    { name: 'fewer lines', content: 'one\ntwo\n', says: '3 hypotheses but 2 references' },
    { name: 'an empty reference', content: 'one\n \nthree\n', says: 'segment 2' },
    { name: 'an empty file', content: '', says: '3 hypotheses but 0 references' },
    { name: 'no UTF-8', content: Uint8Array.of(0x66, 0xff, 0x0a), says: 'not UTF-8' },
  ])('$name: one line that names the file', async ({ content, says }) => {
    const ref = write('broken', content);
    const result = await pare('score', path('hyp'), ref, '--metric', 'bleu', '--json');
    expect(result).toMatchObject({ exitCode: 1, stdout: '' });
    expect(result.stderr).toMatch(oneLine);
    expect(result.stderr).toContain(ref);
    expect(result.stderr).toContain(says);
  });

  test('two empty files and a missing one', async () => {
    const none = write('none', '');
    const empty = await pare('score', none, none, '--metric', 'bleu');
    expect(empty).toMatchObject({ exitCode: 1, stdout: '' });
    expect(empty.stderr).toContain('no segments to score');
    const missing = await pare('score', path('hyp'), path('missing'), '--metric', 'bleu');
    expect(missing).toMatchObject({ exitCode: 1, stdout: '' });
    expect(missing.stderr).toMatch(oneLine);
    expect(missing.stderr).toContain(path('missing'));
  });
});
