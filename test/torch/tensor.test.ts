import { PareError } from '../../lib/errors';
import {
  arange,
  cat,
  dtypes,
  empty,
  full,
  functional,
  ones,
  scope,
  tensor,
  torchVersion,
  TorchError,
  zeros,
  zerosLike,
} from '../../lib/torch';

/** Runs a test inside a scope, so that nothing is left for the next. */
function scoped(body: () => void): () => void {
  return () => void scope(body);
}

function errorOf(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error('no error was thrown');
}

describe('making and reading', () => {
  test('libtorch is recent enough', () => {
    const [major, minor] = torchVersion().split('.').map(Number);
    expect([major! >= 2, major! > 2 || minor! >= 11]).toEqual([true, true]);
  });

  test(
    'nested numbers give the shape',
    scoped(() => {
      const t = tensor([[[1, 2]], [[3, 4]], [[5, 6]]]);
      expect([t.dtype, t.shape, t.numel, t.size(-1), t.device]).toEqual([
      'float32', [3, 1, 2], 6, 2, 'cpu',
    ]); // prettier-ignore
      expect(tensor(2.5).shape).toEqual([]);
      expect(tensor([]).shape).toEqual([0]);
      expect(tensor(2.5).item()).toBe(2.5);
    }),
  );

  test.each(dtypes)('%s there and back', (dtype) => {
    scope(() => {
      const t = tensor([[0, 1], [1, 0]], { dtype }); // prettier-ignore
      expect([t.dtype, t.toArray()]).toEqual([dtype, [0, 1, 1, 0]]);
      const bytes = t.toBytes();
      expect(bytes.length).toBe(t.viewDtype('uint8').numel);
      expect(zeros([3], { dtype }).toArray()).toEqual([0, 0, 0]);
      expect(ones([2], { dtype }).toArray()).toEqual([1, 1]);
      expect(full([1, 2], 1, { dtype }).shape).toEqual([1, 2]);
      expect(empty([2, 0], { dtype }).toArray()).toEqual([]);
    });
  });

  test(
    'typed arrays keep their dtype and are copied',
    scoped(() => {
      const source = Float32Array.of(1, 2, 3, 4);
      const t = tensor(source, { shape: [2, 2] });
      source[0] = 99;
      expect(t.toTypedArray()).toEqual(Float32Array.of(1, 2, 3, 4));
      expect(tensor(BigInt64Array.of(2n ** 60n)).toTypedArray()).toEqual(
        BigInt64Array.of(2n ** 60n),
      );
      expect(tensor(Int32Array.of(-5), { dtype: 'float64' }).toTypedArray()).toEqual(
        Float64Array.of(-5),
      );
      expect(tensor(Float64Array.of(0.1)).dtype).toBe('float64');
      // A part of a larger buffer.
      expect(tensor(Float32Array.of(7, 8, 9).subarray(1)).toArray()).toEqual([8, 9]);
    }),
  );

  test(
    'bytes of a view are the view’s, row-major',
    scoped(() => {
      const t = tensor([[1, 2], [3, 4]], { dtype: 'uint8' }).transpose(0, 1); // prettier-ignore
      expect(t.isContiguous).toBe(false);
      expect(t.toBytes()).toEqual(Uint8Array.of(1, 3, 2, 4));
      expect(tensor(5, { dtype: 'int32' }).toBytes()).toEqual(Uint8Array.of(5, 0, 0, 0));
      expect(tensor([1], { dtype: 'bfloat16' }).toBytes()).toEqual(Uint8Array.of(0x80, 0x3f));
    }),
  );

  test('toString', () => {
    const t = zeros([2, 3]);
    expect(String(t)).toBe('Tensor(float32, [2, 3], cpu)');
    t.dispose();
    expect(String(t)).toBe('Tensor(disposed)');
  });
});

describe('views and changes in place', () => {
  test(
    'views share the memory',
    scoped(() => {
      const t = zeros([2, 3]);
      t.select(0, 1).fill_(4);
      t.narrow(1, 0, 1).mul_(0.5);
      t.slice(1, 2).add_(ones([2, 1]), 10);
      t.transpose(0, 1)
        .select(0, 1)
        .copy_(tensor([7, 8]));
      expect(t.toArray()).toEqual([0, 7, 10, 2, 8, 14]);
      t.reshape([6]).slice(0, 4).zero_();
      expect(t.toArray()).toEqual([0, 7, 10, 2, 0, 0]);
      t.expand([2, 2, 3]).select(0, 1).select(0, 0).fill_(1);
      expect(t.toArray()).toEqual([1, 1, 1, 2, 0, 0]);
    }),
  );

  test(
    'clone, index and cat do not',
    scoped(() => {
      const t = tensor([1, 2, 3]);
      for (const copy of [t.clone(), t.indexSelect(0, arange(0, 3)), cat([t])]) copy.zero_();
      expect(zerosLike(t).toArray()).toEqual([0, 0, 0]);
      expect(t.toArray()).toEqual([1, 2, 3]);
    }),
  );

  test(
    'a view outlives the tensor it was taken from',
    scoped(() => {
      const t = tensor([1, 2, 3]);
      const view = t.slice(0, 1);
      t.dispose();
      expect(view.toArray()).toEqual([2, 3]);
    }),
  );
});

describe('errors are one line and name the operation', () => {
  test.each<[string, () => unknown, RegExp]>([
    ['add', () => zeros([2]).add(zeros([3])), /size of tensor a \(2\).*b \(3\)/],
    ['matmul', () => zeros([2, 3]).matmul(zeros([2, 3])), /2x3 and 2x3/],
    ['reshape', () => zeros([6]).reshape([4]), /shape '\[4\]' is invalid for input of size 6/],
    ['reshape', () => zeros([6]).reshape([2.5, -1]), /expected an integer, not 2.5/],
    ['select', () => zeros([2]).select(0, NaN), /expected an integer/],
    ['select', () => zeros([2]).select(0, 5), /index 5 out of range/],
    ['cat', () => cat([zeros([1, 2]), zeros([1, 3])]), /Sizes of tensors must match/],
    ['indexSelect', () => zeros([2]).indexSelect(0, tensor([0.5])), /Expected dtype int/],
    ['fromBytes', () => tensor([1, 2, 3], { shape: [2, 2] }), /12 bytes, but the shape needs 16/],
    ['fromBytes', () => tensor([[1, 2], [3]]), /12 bytes, but the shape needs 16/],
    ['item', () => zeros([2]).item(), /2 elements cannot be converted to Scalar/],
    ['zeros', () => zeros([-1]), /must be non-negative/],
    ['zeros', () => zeros([1], { device: 'nowhere' }), /nowhere/],
    ['zeros', () => zeros([2 ** 50]), /.+/],
    ['zeros', () => zeros('x' as never), /expected an array/],
    ['fill_', () => zeros([1]).fill_('1' as never), /expected a number/],
    ['embedding', () => functional.embedding(zeros([2, 2]), tensor([2], { dtype: 'int64' })), /./],
  ])('%s', (name, run, message) => {
    scope(() => {
      const error = errorOf(run);
      expect(error).toBeInstanceOf(TorchError);
      expect(error).toBeInstanceOf(PareError);
      expect(error.name).toBe('TorchError');
      expect(error.message).toMatch(new RegExp(`^${name}: `));
      expect(error.message).toMatch(message);
      expect(error.message).not.toContain('\n');
      expect(error.stack).toContain('tensor.test');
    });
  });

  test(
    'an error leaves no message for the next',
    scoped(() => {
      const first = errorOf(() => zeros([2]).add(zeros([3])));
      const second = errorOf(() => zeros([2]).select(0, 9));
      expect(second.message).not.toContain(first.message);
      expect(zeros([2]).add(1).toArray()).toEqual([1, 1]);
    }),
  );
});

describe('use after dispose', () => {
  const disposed = /was used after it was disposed/;

  test('throws TorchError whatever is asked', () => {
    const t = zeros([2]);
    expect(t.disposed).toBe(false);
    t.dispose();
    t.dispose();
    expect(t.disposed).toBe(true);
    for (const run of [
      () => t.shape,
      () => t.add(1),
      () => t.toArray(),
      () => t.item(),
      () => t.fill_(1),
      () => scope(() => zeros([2]).add(t)),
      () => scope(() => cat([zeros([2]), t])),
    ]) {
      const error = errorOf(run);
      expect(error).toBeInstanceOf(TorchError);
      expect(error.message).toMatch(disposed);
    }
  });

  test(
    'as an optional argument, too: a freed bias is not "no bias"',
    scoped(() => {
      const bias = ones([2]);
      const mask = zeros([1, 1, 2, 2]);
      bias.dispose();
      mask.dispose();
      const x = ones([1, 2]);
      const q = ones([1, 1, 2, 2]);
      expect(() => functional.linear(x, ones([2, 2]), bias)).toThrow(disposed);
      expect(() => functional.layerNorm(x, [2], ones([2]), bias)).toThrow(disposed);
      expect(() => functional.scaledDotProductAttention(q, q, q, { mask, scale: 1 })).toThrow(
        disposed,
      );
    }),
  );

  test(
    'never reaches the tensor that got the place',
    scoped(() => {
      const t = zeros([2]);
      t.dispose();
      const other = ones([2]);
      t.dispose();
      expect(other.toArray()).toEqual([1, 1]);
      expect(() => t.fill_(9)).toThrow(disposed);
      expect(other.toArray()).toEqual([1, 1]);
    }),
  );

  test('using frees', () => {
    let t;
    {
      using inner = zeros([1]);
      t = inner;
    }
    expect(t.disposed).toBe(true);
  });
});
