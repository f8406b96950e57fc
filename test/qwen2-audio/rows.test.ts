/** Rows that several examples share give the loss and the gradients of separate rows. */
import { collate, type Example, type Qwen2Audio } from '../../lib/qwen2-audio';
import { backward, scope } from '../../lib/torch';
import { asked, difference, loadTiny } from './tiny-model';

let model: Qwen2Audio;
beforeAll(() => {
  model = loadTiny();
});
afterAll(() => model.dispose());

/** Loss and all gradients. */
function learn(rows: readonly Example[], shareRows: boolean) {
  const batch = collate(model, rows, 'right', { shareRows });
  const { loss, targets } = model.loss(batch);
  backward(loss);
  const gradients = Array.from(
    model.namedParameters(),
    ([name, { grad }]) => [name, grad!] as const,
  );
  const result = { size: batch.size, loss: loss.item(), targets, gradients };
  for (const [, parameter] of model.namedParameters()) parameter.grad = undefined;
  return result;
}

const cases: Record<string, { rows: Example[]; size: number }> = {
  'other instructions': {
    rows: [asked(0, [5, 6, 7]), asked(1, [8]), asked(0, [9, 4], [11, 12]), asked(0, [6], [13])],
    size: 2,
  },
  'one instruction with two answers, which begin alike': {
    rows: [asked(0, [5, 6, 7]), asked(0, [5, 6, 9, 10]), asked(2, [5])],
    size: 2,
  },
  'the same answer twice': { rows: [asked(1, [5, 6]), asked(1, [5, 6])], size: 1 },
  'clips alone': { rows: [asked(0, [5, 6]), asked(1, [7]), asked(2, [8, 9, 10])], size: 3 },
};

test.each(Object.entries(cases))('%s', (_, { rows, size }) => {
  scope(() => {
    const apart = learn(rows, false);
    const shared = learn(rows, true);
    expect([apart.size, shared.size]).toEqual([rows.length, size]);
    expect(shared.targets).toBe(apart.targets);
    expect(Math.abs(shared.loss / apart.loss - 1)).toBeLessThan(1e-6);
    for (const [i, [name, gradient]] of apart.gradients.entries()) {
      const scale = gradient.norm().item();
      const off = difference(gradient, shared.gradients[i]![1]);
      expect([name, off <= 1e-5 * Math.max(1, scale)]).toEqual([name, true]);
    }
  });
});

test('a branch does not see the others', () => {
  const first = asked(0, [5, 6, 7]);
  const lossWith = (other: number[]): number =>
    scope(() => {
      const second = { ...asked(0, other), labels: undefined };
      return model.loss(collate(model, [second, first], 'right', { shareRows: true })).loss.item();
    });
  expect(lossWith([20, 21, 22, 23])).toBeCloseTo(lossWith([9, 9]), 5);
});
