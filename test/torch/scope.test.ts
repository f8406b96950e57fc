import {
  backward,
  functional as F,
  Generator,
  keep,
  memory,
  nn,
  ones,
  optim,
  randn,
  scope,
  ScopeError,
  setNumThreads,
  tensor,
  zeros,
  type Tensor,
} from '../../lib/torch';

let before: ReturnType<typeof memory>;
// Tiny operations, thousands of them: threads that wait for one another only cost.
beforeAll(() => setNumThreads(1));
beforeEach(() => {
  before = memory();
});
afterEach(() => expect(memory()).toEqual(before));

describe('what a scope frees', () => {
  test('everything that is not returned', () => {
    let inner: Tensor | undefined;
    const result = scope(() => {
      inner = zeros([1000]);
      return inner.add(1).sum().item();
    });
    expect(result).toBe(1000);
    expect(inner!.disposed).toBe(true);
  });

  test('nothing that is returned: alone, in arrays, maps, sets, objects, nested', () => {
    const t = scope(() => {
      zeros([3]);
      return ones([2]);
    });
    expect(t.toArray()).toEqual([1, 1]);
    const many = scope(() => ({
      list: [tensor([1]), [tensor([2])]] as [Tensor, Tensor[]],
      map: new Map([['a', tensor([3])]]),
      set: new Set([tensor([4])]),
      plain: Object.assign(Object.create(null) as object, { t: tensor([5]) }),
      other: 'text',
      none: undefined,
    }));
    const [first, [second]] = many.list;
    const all = [t, first, second!, many.map.get('a')!, ...many.set, many.plain.t];
    expect(all.slice(1).map((x) => x.item())).toEqual([1, 2, 3, 4, 5]);
    for (const x of all) x.dispose();
  });

  test('what an inner scope returns belongs to the outer one', () => {
    let inner: Tensor | undefined;
    const sum = scope(() => {
      inner = scope(() => scope(() => ones([2]).add(1)));
      expect(inner.disposed).toBe(false);
      return inner.sum();
    });
    expect([inner!.disposed, sum.item()]).toEqual([true, 4]);
    sum.dispose();
  });

  test('not what was made outside, even if returned', () => {
    scope(() => {
      const outer = ones([2]);
      expect(scope(() => outer)).toBe(outer);
      scope(() => outer.add(1));
      expect(outer.toArray()).toEqual([1, 1]);
    });
  });

  test('everything when the body throws', () => {
    let inner: Tensor | undefined;
    expect(() =>
      scope(() => {
        inner = ones([2]);
        throw new Error('inside');
      }),
    ).toThrow('inside');
    expect(inner!.disposed).toBe(true);
    // And the scope around goes on as before.
    scope(() => {
      const t = ones([1]);
      expect(() =>
        scope(() => {
          throw new Error('inside');
        }),
      ).toThrow();
      expect(t.disposed).toBe(false);
    });
  });

  test('a tensor that was disposed inside is not freed twice', () => {
    scope(() => {
      const a = zeros([1]);
      a.dispose();
      const b = scope(() => ones([1]));
      expect(b.item()).toBe(1);
    });
  });
});

describe('keep', () => {
  test('survives every scope around until dispose', () => {
    let kept: Tensor | undefined;
    scope(() => scope(() => (kept = keep(ones([3])))) && undefined);
    expect(kept!.toArray()).toEqual([1, 1, 1]);
    kept!.dispose();
  });

  test('when it is returned, too', () => {
    let kept: Tensor | undefined;
    scope(() => {
      kept = scope(() => keep(ones([3])));
    });
    expect(kept!.toArray()).toEqual([1, 1, 1]);
    kept!.dispose();
  });

  test('of a module keeps its tensors', () => {
    class Buffers extends nn.Module {
      a: Tensor = zeros([2]);
      child: nn.RMSNorm = new nn.RMSNorm(2);
    }
    let module: Buffers | undefined;
    scope(() => {
      module = keep(new Buffers());
    });
    expect([module!.a.toArray(), module!.child.weight.toArray()]).toEqual([[0, 0], [1, 1]]); // prettier-ignore
    module!.dispose();
  });
});

describe('a promise', () => {
  test('is refused, and what was made until then is freed', () => {
    let inner: Tensor | undefined;
    const run = (): unknown =>
      scope(async () => {
        inner = ones([2]);
        return inner;
      });
    expect(run).toThrow(ScopeError);
    expect(run).toThrow(/^scope\(\) was given an async function; use one scope a step instead$/);
    expect(inner!.disposed).toBe(true);
  });
});

describe('memory()', () => {
  test('counts handles, and each storage once', () => {
    const a = zeros([100]);
    const view = a.slice(0, 50);
    const { handles, bytes } = memory();
    expect([handles - before.handles, bytes - before.bytes]).toEqual([2, 400]);
    a.dispose();
    // The view holds the whole storage.
    expect(memory()).toEqual({ handles: before.handles + 1, bytes: before.bytes + 400 });
    view.dispose();
  });

  test('is flat over 1,000 steps of training, and the loss falls', () => {
    const generator = new Generator(1);
    const first = new nn.Linear(8, 16, { generator });
    const second = new nn.Linear(16, 1, { generator });
    const named = [...first.namedParameters()].concat(
      Array.from(second.namedParameters(), ([name, p]) => [`second.${name}`, p]),
    );
    const optimizer = new optim.AdamW([{ parameters: new Map(named), weightDecay: 0.01 }]);
    const data = randn([32, 8], { generator });
    const target = scope(() => data.sum(1, true).sin());
    const step = (): number =>
      scope(() => {
        optimizer.zeroGrad();
        const hidden = F.dropout(F.gelu(first.forward(data)), 0.1, true);
        const loss = second.forward(hidden).sub(target).square().mean();
        backward(loss);
        optim.clipGradNorm(optimizer.parameters, 1);
        optimizer.step(3e-3);
        return loss.item();
      });
    const start = step();
    const flat = memory();
    let end = start;
    for (let i = 0; i < 1000; i++) {
      end = step();
      if (i % 100 === 0) expect(memory()).toEqual(flat);
    }
    expect(memory()).toEqual(flat);
    expect(end).toBeLessThan(start / 2);
    optimizer.dispose();
    for (const owner of [first, second, data, target]) owner.dispose();
  });

  test('is flat over 10,000 operations, and so is the process', () => {
    const a = randn([64, 1024], { generator: new Generator(1) });
    const work = (n: number): void => {
      for (let i = 0; i < n; i++)
        scope(
          () =>
            void a
              .mul(2)
              .add(a)
              .select(0, i % 64)
              .sum(),
        );
    };
    work(100);
    const flat = memory();
    const resident = process.memoryUsage.rss();
    work(2500);
    expect(memory()).toEqual(flat);
    // Each round makes 512 KiB; kept, they would be 1.2 GiB.
    expect(process.memoryUsage.rss() - resident).toBeLessThan(200 * 2 ** 20);
    a.dispose();
  });

  test('without a scope, the collector frees what nobody disposed', async () => {
    const collect = (globalThis as { gc?: () => void }).gc ?? exposedGc();
    for (let i = 0; i < 100; i++) zeros([1000]);
    expect(memory().handles).toBe(before.handles + 100);
    // On a crowded machine the finalizers are called late.
    for (let i = 0; i < 1000 && memory().handles > before.handles; i++) {
      collect();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(memory()).toEqual(before);
  });
});

/** The collector by hand, without a flag on the command line. */
function exposedGc(): () => void {
  const v8 = jest.requireActual<typeof import('node:v8')>('node:v8');
  const vm = jest.requireActual<typeof import('node:vm')>('node:vm');
  v8.setFlagsFromString('--expose-gc');
  return vm.runInNewContext('gc') as () => void;
}
