/** Chunked losses against the plain ones, whose logits are held whole. */
import {
  arange,
  backward,
  functional as F,
  Generator,
  noGrad,
  randn,
  scope,
  tensor,
  TorchError,
  type Tensor,
} from '../../lib/torch';

const [tokens, d, vocab] = [7, 6, 11];
const generator = new Generator(11);
const random = (shape: number[], scale = 1): Tensor => randn(shape, { generator }).mul(scale);

/** Value and gradients of a loss, which is scaled as an average would be. */
function learn(
  hidden: Tensor,
  weight: Tensor,
  loss: (h: Tensor, w: Tensor) => Tensor,
): { value: number; gradients: number[][] } {
  const [h, w] = [hidden.detach(), weight.detach()];
  h.requiresGrad = true;
  w.requiresGrad = true;
  const value = loss(h, w);
  backward(value.div(3));
  const gradients = [h.grad!, w.grad!].map((g) => g.to('float32').toArray() as number[]);
  return { value: value.item(), gradients };
}

function expectSame(
  hidden: Tensor,
  weight: Tensor,
  chunked: (h: Tensor, w: Tensor) => Tensor,
  plain: (h: Tensor, w: Tensor) => Tensor,
  tolerance = 2e-6,
): void {
  const [own, expected] = [learn(hidden, weight, chunked), learn(hidden, weight, plain)];
  expect(Math.abs(own.value - expected.value)).toBeLessThan(tolerance * (1 + expected.value));
  for (const [i, gradient] of expected.gradients.entries()) {
    const scale = Math.max(...gradient.map(Math.abs));
    const off = own.gradients[i]!.map((value, j) => Math.abs(value - gradient[j]!));
    expect(Math.max(...off)).toBeLessThan(5 * tolerance * scale);
  }
}

const chunkSizes = [1, 3, 7, 100, undefined];

describe('cross-entropy', () => {
  const targets = [3, -100, 0, 10, 3, -100, 7];

  test.each(chunkSizes)('in chunks of %p tokens', (chunkSize) => {
    scope(() => {
      const ids = tensor(targets, { dtype: 'int64' });
      expectSame(
        random([tokens, d], 3),
        random([vocab, d]),
        (h, w) => F.linearCrossEntropySum(h, w, ids, { chunkSize }),
        (h, w) => F.crossEntropySum(F.linear(h, w), ids),
      );
    });
  });

  test.each(chunkSizes)(
    'of an lm_head that makes its logits itself, in chunks of %p',
    (chunkSize) => {
      scope(() => {
        const ids = tensor(targets, { dtype: 'int64' });
        // Hidden states that were computed, as a model's are: the way to `h` is gone through once.
        expectSame(
          random([tokens, d], 3),
          random([vocab, d]),
          (h, w) =>
            F.headCrossEntropySum(
              h.mul(2).sin(),
              { forward: (rows) => F.linear(rows, w) },
              ids,
              vocab,
              { chunkSize },
            ),
          (h, w) => F.crossEntropySum(F.linear(h.mul(2).sin(), w), ids),
        );
      });
    },
  );

  test('of an lm_head that makes its logits itself, with as many targets as tokens', () => {
    scope(() => {
      const lmHead = { forward: (rows: Tensor) => F.linear(rows, random([vocab, d])) };
      const loss = (n: number): Tensor =>
        F.headCrossEntropySum(random([tokens, d]), lmHead, arange(0, n), vocab, { chunkSize: 3 });
      expect(() => loss(tokens + 1)).toThrow(TorchError);
      expect(() => loss(tokens + 1)).toThrow('expected targets [7]');
    });
  });

  test('in bfloat16, sums in float32', () => {
    scope(() => {
      const ids = tensor(targets, { dtype: 'int64' });
      const half = (h: Tensor, w: Tensor): [Tensor, Tensor] => [h.to('bfloat16'), w.to('bfloat16')];
      expectSame(
        random([tokens, d]),
        random([vocab, d]),
        (h, w) => F.linearCrossEntropySum(...half(h, w), ids, { chunkSize: 2 }),
        (h, w) => F.crossEntropySum(F.linear(...half(h, w)).to('float32'), ids),
        4e-3,
      );
    });
  });

  test('of large logits is finite, and exact where one class has all', () => {
    scope(() => {
      const hidden = tensor([1000, -1000], { shape: [2, 1] });
      const weight = tensor([1, 0, -1], { shape: [3, 1] });
      const loss = (ids: number[]): number =>
        F.linearCrossEntropySum(hidden, weight, tensor(ids, { dtype: 'int64' })).item();
      expect(loss([0, 2])).toBe(0);
      expect(loss([1, 1])).toBe(2000);
    });
  });

  test('without a target is 0, and leaves no gradient', () => {
    scope(() => {
      const ids = tensor([-100, -100], { dtype: 'int64' });
      const { value, gradients } = learn(random([2, d]), random([vocab, d]), (h, w) =>
        F.linearCrossEntropySum(h, w, ids),
      );
      expect(value).toBe(0);
      expect(new Set(gradients.flat())).toEqual(new Set([0]));
      expect(
        F.linearCrossEntropySum(random([0, d]), random([vocab, d]), ids.narrow(0, 0, 0)).item(),
      ).toBe(0);
    });
  });

  test('a frozen lm_head gets no gradient; without grad nothing is kept', () => {
    scope(() => {
      const ids = arange(0, 4);
      const [hidden, weight] = [random([4, d]), random([vocab, d])];
      hidden.requiresGrad = true;
      backward(F.linearCrossEntropySum(hidden, weight, ids));
      expect(weight.grad).toBeUndefined();
      expect(hidden.grad!.shape).toEqual([4, d]);
      expect(noGrad(() => F.linearCrossEntropySum(hidden, weight, ids)).requiresGrad).toBe(false);
    });
  });

  test('what does not fit is refused', () => {
    scope(() => {
      const [hidden, weight] = [random([4, d]), random([vocab, d])];
      const ids = (values: number[]): Tensor => tensor(values, { dtype: 'int64' });
      const loss = (...values: number[]): Tensor =>
        F.linearCrossEntropySum(hidden, weight, ids(values));
      expect(() => loss(0, 1, 2)).toThrow(TorchError);
      expect(() => loss(0, 1, 2)).toThrow('targets need int64 [4], got Long [3]');
      expect(() => loss(0, 1, 2, 11)).toThrow('a target is not among the 11 classes');
      expect(() => loss(0, 1, 2, -1)).toThrow('a target is not among the 11 classes');
      expect(() => F.linearCrossEntropySum(hidden, random([vocab, 5]), ids([0, 1, 2, 3]))).toThrow(
        'hidden states [4, 6] and lm_head [11, 5] do not fit',
      );
      expect(() =>
        F.linearCrossEntropySum(hidden, weight, ids([0, 1, 2, 3]), { chunkSize: 0 }),
      ).toThrow('the chunk size must be positive, got 0');
    });
  });
});

describe('divergence from a teacher', () => {
  type Kind = 'forward' | 'reverse' | 'jsd';
  const cases: [Kind, number, number][] = [
    ['forward', 0.5, 1],
    ['forward', 0.5, 2.5],
    ['reverse', 0.5, 1],
    ['reverse', 0.5, 2],
    ['jsd', 0.5, 1],
    ['jsd', 0.1, 3],
  ];

  /** As the definitions have it, from whole matrices of logits. */
  function plain(kind: Kind, beta: number, temperature: number, z: Tensor, zt: Tensor): Tensor {
    const [logQ, logP] = [z, zt].map((logits) => F.logSoftmax(logits.div(temperature)));
    const [q, p] = [logQ!.exp(), logP!.exp()];
    const square = temperature ** 2;
    if (kind === 'forward') return p.mul(logP!.sub(logQ!)).sum().mul(square);
    if (kind === 'reverse') return q.mul(logQ!.sub(logP!)).sum().mul(square);
    const logM = p
      .mul(beta)
      .add(q.mul(1 - beta))
      .log();
    const fromP = p.mul(logP!.sub(logM)).sum().mul(beta);
    return fromP
      .add(
        q
          .mul(logQ!.sub(logM))
          .sum()
          .mul(1 - beta),
      )
      .mul(square);
  }

  test.each(cases)('%s, beta %p, temperature %p', (kind, beta, temperature) => {
    scope(() => {
      // The teacher is wider than the student.
      const teacher = { hidden: random([tokens, 9]), weight: random([vocab, 9]) };
      const zt = F.linear(teacher.hidden, teacher.weight);
      const [hidden, weight] = [random([tokens, d]), random([vocab, d])];
      for (const chunkSize of chunkSizes) {
        const options = { kind, beta, temperature, chunkSize };
        expectSame(
          hidden,
          weight,
          (h, w) => F.linearDivergenceSum(h, w, teacher, options),
          (h, w) => plain(kind, beta, temperature, F.linear(h, w), zt),
          1e-5,
        );
      }
    });
  });

  test.each(cases)('%s, beta %p, temperature %p: 0 from itself', (kind, beta, temperature) => {
    scope(() => {
      const [hidden, weight] = [random([tokens, d]), random([vocab, d])];
      const { value, gradients } = learn(hidden, weight, (h, w) =>
        F.linearDivergenceSum(h, w, { hidden, weight }, { kind, beta, temperature }),
      );
      expect(Math.abs(value)).toBeLessThan(1e-5);
      expect(Math.max(...gradients.flat().map(Math.abs))).toBeLessThan(1e-5);
    });
  });

  test('forward is not reverse: the direction is that of the definition', () => {
    scope(() => {
      // p = (1/2, 1/2) against q = (1/4, 3/4).
      const one = tensor([1], { shape: [1, 1] });
      const teacher = { hidden: one, weight: tensor([0, 0], { shape: [2, 1] }) };
      const weight = tensor([0, Math.log(3)], { shape: [2, 1] });
      const value = (kind: Kind): number =>
        F.linearDivergenceSum(one, weight, teacher, { kind }).item();
      expect(value('forward')).toBeCloseTo(0.5 * Math.log(2) + 0.5 * Math.log(2 / 3), 6);
      expect(value('reverse')).toBeCloseTo(0.25 * Math.log(1 / 2) + 0.75 * Math.log(3 / 2), 6);
    });
  });

  test('the teacher gets no gradient', () => {
    scope(() => {
      const teacher = { hidden: random([tokens, d]), weight: random([vocab, d]) };
      teacher.weight.requiresGrad = true;
      teacher.hidden.requiresGrad = true;
      const hidden = random([tokens, d]);
      hidden.requiresGrad = true;
      backward(F.linearDivergenceSum(hidden, random([vocab, d]), teacher));
      expect([teacher.hidden.grad, teacher.weight.grad]).toEqual([undefined, undefined]);
    });
  });

  test('what does not fit is refused', () => {
    scope(() => {
      const [hidden, weight] = [random([tokens, d]), random([vocab, d])];
      const teacher = { hidden: random([tokens, d]), weight: random([vocab + 1, d]) };
      expect(() => F.linearDivergenceSum(hidden, weight, teacher)).toThrow(
        "the teacher's hidden states [7, 6] and lm_head [12, 6] do not fit the student's [7, 6] and [11, 6]",
      );
      const fits = { hidden, weight };
      expect(() => F.linearDivergenceSum(hidden, weight, fits, { kind: 'other' as never })).toThrow(
        "no divergence 'other'; there are forward, reverse, jsd",
      );
      expect(() => F.linearDivergenceSum(hidden, weight, fits, { kind: 'jsd', beta: 1 })).toThrow(
        'beta of jsd must lie between 0 and 1, got 1',
      );
    });
  });
});

describe("divergence from the teacher's top k", () => {
  test.each([1, 2.5])('equals forward KL to what is left of it (temperature %p)', (temperature) => {
    scope(() => {
      const ids = tensor([1, 5, 9, 0, 2, 10, 3, 4, 6, 7, 8, 1, 2, 0, 5, 6, 1, 10, 9, 8, 0], {
        dtype: 'int64',
        shape: [tokens, 3],
      });
      const logits = random([tokens, 3], 2);
      const p = F.softmax(logits.div(temperature));
      for (const chunkSize of chunkSizes) {
        expectSame(
          random([tokens, d]),
          random([vocab, d]),
          (h, w) => F.linearTopKDivergenceSum(h, w, { logits, ids }, { temperature, chunkSize }),
          (h, w) => {
            const logQ = F.logSoftmax(F.linear(h, w).div(temperature)).gather(1, ids);
            return p
              .mul(p.log().sub(logQ))
              .sum()
              .mul(temperature ** 2);
          },
          1e-5,
        );
      }
    });
  });

  test('with every class equals the whole', () => {
    scope(() => {
      const teacher = { hidden: random([tokens, d]), weight: random([vocab, d]) };
      const logits = F.linear(teacher.hidden, teacher.weight);
      const ids = arange(0, vocab).unsqueeze(0).expand([tokens, vocab]).contiguous();
      expectSame(
        random([tokens, d]),
        random([vocab, d]),
        (h, w) => F.linearTopKDivergenceSum(h, w, { logits, ids }),
        (h, w) => F.linearDivergenceSum(h, w, teacher),
        1e-5,
      );
    });
  });
});
