interface ProgressModule {
  Step: new (
    title: string,
    stream: { write(text: string): void },
  ) => { update(fraction: number): void; done(note?: string): void };
}
const { Step } = jest.requireActual<ProgressModule>('../../cmake/progress.js');

test('without a terminal a line each quarter says how far it is, not the quarter', () => {
  const lines: string[] = [];
  const step = new Step('building', { write: (text) => void lines.push(text) });
  for (const fraction of [0.1, 0.31, 0.4, 0.92, 0.95, 1]) step.update(fraction);
  expect(lines).toEqual(['building …\n', 'building … 31 %\n', 'building … 92 %\n']);
});
