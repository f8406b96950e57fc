import fc from 'fast-check';
import { toSrt, toVtt, type TimedText } from '../../lib/text';

const said: TimedText[] = [
  { start: 0, end: 1.5, text: 'Guten Morgen.' },
  { start: 1.5, end: 3.7245, text: '' },
  { start: 3661.0006, end: 3663, text: 'Es ist 1 < 2 & "so".' },
];

/** Seconds of both ends, and the lines, of each subtitle. */
function parse(srt: string): { start: number; end: number; lines: string[] }[] {
  const seconds = (clock: string): number => {
    const [hours, minutes, rest] = clock.split(':');
    return Number(hours) * 3600 + Number(minutes) * 60 + Number(rest!.replace(',', '.'));
  };
  return srt
    .split('\n\n')
    .filter((block) => block !== '')
    .map((block, i) => {
      const [number, times, ...lines] = block.trimEnd().split('\n');
      expect(number).toBe(String(i + 1));
      expect(times).toMatch(/^\d\d:[0-5]\d:[0-5]\d,\d{3} --> \d\d:[0-5]\d:[0-5]\d,\d{3}$/);
      const [start, end] = times!.split(' --> ').map(seconds);
      return { start: start!, end: end!, lines };
    });
}

test('SubRip', () => {
  expect(toSrt(said)).toBe(
    '1\n00:00:00,000 --> 00:00:01,500\nGuten Morgen.\n\n' +
      '2\n01:01:01,001 --> 01:01:03,000\nEs ist 1 < 2 & "so".\n',
  );
  expect(toSrt([])).toBe('');
  expect(toSrt([{ start: 0, end: 9, text: ' \n' }])).toBe('');
  expect(toSrt([{ start: 0, end: 2, text: 'a --> b\nc\u001b' }])).toContain('\na -> b c\n');
});

test('WebVTT', () => {
  expect(toVtt(said)).toBe(
    'WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nGuten Morgen.\n\n' +
      '01:01:01.001 --> 01:01:03.000\nEs ist 1 &lt; 2 &amp; "so".\n',
  );
  expect(toVtt([])).toBe('WEBVTT\n');
  expect(toVtt([{ start: 0, end: 2, text: 'a --> b' }])).toContain('\na --&gt; b\n');
});

test('a long text becomes several subtitles of two even lines, cut at the ends of sentences', () => {
  const text =
    'Das ist ein ziemlich langer Satz, der in zwei Zeilen gerade noch passt. ' +
    'Und hier ist noch einer, der fast ebenso lang ist wie der vorige.';
  const cues = parse(toSrt([{ start: 10, end: 20, text }]));
  expect(cues).toHaveLength(2);
  expect(cues[0]!.lines.join(' ')).toMatch(/passt\.$/);
  expect(cues[0]!.start).toBe(10);
  expect(cues[1]!.end).toBe(20);
  expect(cues[1]!.start).toBe(cues[0]!.end);
  for (const { lines } of cues) {
    expect(lines).toHaveLength(2);
    expect(Math.abs(lines[0]!.length - lines[1]!.length)).toBeLessThan(14);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(42);
  }
  expect(cues.flatMap(({ lines }) => lines).join(' ')).toBe(text);
});

test('Chinese has half as many characters in a line, and lines begin with no comma', () => {
  const text = '今天我们来谈谈语音翻译，特别是如何让大模型变小，而翻译质量几乎不变。'.repeat(2);
  const cues = parse(toSrt([{ start: 0, end: 12, text }]));
  for (const line of cues.flatMap(({ lines }) => lines)) {
    expect(line.length).toBeLessThanOrEqual(21);
    expect(line).not.toMatch(/^[，。]/);
  }
  expect(cues.flatMap(({ lines }) => lines).join('')).toBe(text);
});

test('short ones stay a second, or until the next', () => {
  const short = [
    { start: 0, end: 0.2, text: 'a' },
    { start: 0.7, end: 0.8, text: 'b' },
    { start: 5, end: 5.1, text: 'c' },
  ];
  expect(parse(toSrt(short)).map(({ start, end }) => [start, end])).toEqual([
    [0, 0.7],
    [0.7, 1.7],
    [5, 6],
  ]);
});

test('nothing is lost, subtitles are in order and apart, whatever is said', () => {
  const text = fc
    .array(
      fc.constantFrom(
        'ja',
        'Haus.',
        'Donaudampfschifffahrtsgesellschaftskapitän,',
        '星期一',
        '好。',
      ),
      {
        maxLength: 60,
      },
    )
    .map((words) => words.join(' '));
  const step = fc.record({
    gap: fc.integer({ min: -300, max: 4000 }),
    length: fc.integer({ min: 1, max: 30_000 }),
    text,
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
      let at = 0;
      const texts = steps.map(({ gap, length, text }) => {
        // Two may overlap, by less than either is long.
        const start = Math.max(0, at + Math.max(gap, -Math.floor(length / 2)));
        at = Math.max(at + 1, start + length);
        return { start: start / 1000, end: at / 1000, text };
      });
      const cues = parse(toSrt(texts));
      let end = 0;
      for (const cue of cues) {
        expect(cue.start).toBeGreaterThanOrEqual(end - 1e-9);
        expect(cue.end).toBeGreaterThanOrEqual(cue.start);
        ({ end } = cue);
      }
      const words = cues
        .flatMap(({ lines }) => lines)
        .join('')
        .replaceAll(' ', '');
      expect(words).toBe(
        texts
          .map(({ text }) => text)
          .join('')
          .replaceAll(' ', ''),
      );
    }),
    { seed: 2, numRuns: 200 },
  );
});
