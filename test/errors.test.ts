import { PareError, shown } from '../lib/errors';

test('a message is one line that moves no cursor and has its remedy at the end', () => {
  const said = new PareError('a\n  b\r\nc\u2028d\u001b[2Je\u0000').message;
  expect(said).toBe('a b c d\\u001b[2Je\\u0000');
  const long = new PareError(`x.json: ${'y'.repeat(1e6)}; fetch it again`).message;
  expect(long).toHaveLength(2000);
  expect(long).toMatch(/^x\.json: y+ … y+; fetch it again$/);
});

test('a value of a file is shown short, whatever it is', () => {
  let deep: unknown = 1;
  for (let i = 0; i < 100_000; i++) deep = [deep];
  const values = [undefined, null, 'a"b', 1.5, -Infinity, { a: [1] }, deep, 'z'.repeat(300)];
  expect(values.map(shown)).toEqual([
    ...['missing', 'null', '"a\\"b"', '1.5', '-Infinity', '{"a":[1]}', 'nested too deep to show'],
    `"${'z'.repeat(199)}…`,
  ]);
});
