import { duration, Progress } from '../../lib/cli/progress';

/** A stream that remembers, and a clock that is set by hand. */
function setUp(isTTY: boolean): {
  progress: Progress;
  written: () => string;
  wait: (seconds: number) => void;
} {
  let text = '';
  let now = 0;
  // cli-progress moves the cursor by node:readline, which calls back.
  const stream = {
    isTTY,
    columns: 100,
    write: (part: string): boolean => {
      text += part;
      return true;
    },
  };
  return {
    progress: new Progress(stream, () => now),
    written: () => text,
    wait: (seconds) => {
      now += 1000 * seconds;
    },
  };
}

describe('progress without a terminal', () => {
  test('work under two seconds leaves nothing', () => {
    const { progress, written, wait } = setUp(false);
    progress.update('reading', 0, 10);
    wait(1.9);
    for (let i = 1; i <= 10; i++) progress.update('reading', i, 10);
    expect(written()).toBe('');
  });

  test('longer work tells each quarter once, with the time left, and its end', () => {
    const { progress, written, wait } = setUp(false);
    progress.update('training', 0, 100);
    for (let i = 1; i <= 100; i++) {
      wait(1);
      progress.update('training', i, 100, 'loss 1.5');
    }
    expect(written().split('\n')).toEqual([
      'training: 25/100 (25 %), 1 min 15 s left, loss 1.5',
      'training: 50/100 (50 %), 50 s left, loss 1.5',
      'training: 75/100 (75 %), 25 s left, loss 1.5',
      'training: 100/100, 1 min 40 s',
      '',
    ]);
  });

  test('slow work tells of itself each minute, and each tenth of the time when that is more', () => {
    const { progress, written, wait } = setUp(false);
    progress.update('searching', 0, 1000);
    for (let i = 1; i <= 240; i++) {
      wait(20);
      progress.update('searching', i, 1000);
    }
    const told = [...written().matchAll(/: (\d+)\//g)].map(([, done]) => Number(done));
    expect(told.slice(0, 11)).toEqual([3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 34]);
    expect(written()).toMatch(/^searching: 3\/1000 \(0 %\), 5 h 32 min left\n/);
    const last = told.slice(-2);
    expect(last[1]! - last[0]!).toBeGreaterThan(20);
  });

  test('what was done before does not make the rest look fast', () => {
    const { progress, written, wait } = setUp(false);
    progress.update('training', 60, 100);
    wait(30);
    progress.update('training', 75, 100);
    expect(written()).toBe('training: 75/100 (75 %), 50 s left\n');
  });

  test('another label ends the one before', () => {
    const { progress, written, wait } = setUp(false);
    progress.update('a', 0, 2);
    wait(5);
    progress.update('b', 0, 2);
    wait(3);
    progress.stop();
    progress.stop();
    expect(written()).toBe('a: 0/2, 5 s\nb: 0/2, 3 s\n');
  });
});

describe('progress on a terminal', () => {
  const escape = String.fromCharCode(27);
  const plain = (text: string): string =>
    text.replaceAll(new RegExp(`${escape}(?:\\[[\\d;?]*[A-Za-z]|[78])`, 'g'), '\r');

  test('draws a bar, takes it away for what is printed, and leaves one line', () => {
    const { progress, written, wait } = setUp(true);
    progress.update('translating', 0, 4);
    wait(10);
    progress.update('translating', 2, 4);
    let before = '';
    progress.around(() => {
      before = written();
    });
    expect(plain(before)).toContain('translating ████████████░░░░░░░░░░░░ 50 % 2/4, 10 s left');
    // The last thing before printing clears the line.
    expect(before.endsWith(`${escape}[2K`)).toBe(true);
    progress.update('translating', 4, 4);
    expect(plain(written()).split('\r').at(-1)).toBe('translating: 4/4, 10 s\n');
    expect(written()).not.toContain(`${escape}[?25l`);
  });
});

test.each([
  [0.4, '0 s'],
  [59.6, '1 min 0 s'],
  [200, '3 min 20 s'],
  [7500, '2 h 5 min'],
])('%d seconds in words', (seconds, words) => {
  expect(duration(seconds)).toBe(words);
});
