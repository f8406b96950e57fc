/** A limit to work that files from elsewhere decide on. */
import { TimeLimitError, withinSeconds } from '../../lib/text/time-limit';

test('what work returns and throws is passed on', () => {
  expect(withinSeconds(5, () => undefined)).toBeUndefined();
  const error = new RangeError('no');
  expect(() =>
    withinSeconds(5, () => {
      throw error;
    }),
  ).toThrow(error);
});

test('work without end is ended, a regular expression, too', () => {
  const work = (): boolean => /^(a+)+$/.test(`${'a'.repeat(40)}b`);
  expect(() => withinSeconds(0.2, work)).toThrow(TimeLimitError);
  expect(() => withinSeconds(0.2, work)).toThrow('it does not come to an end in 1 s');
});

test('time in which the process was stopped does not count', () => {
  let begun = 0;
  const nobody = new Int32Array(new SharedArrayBuffer(4));
  const work = (): string => {
    // Sleeps past the limit, as if the processors were elsewhere.
    if (begun++ === 0) Atomics.wait(nobody, 0, 0, 3000);
    return 'done';
  };
  expect(withinSeconds(1, work)).toBe('done');
  expect(begun).toBe(2);
});
