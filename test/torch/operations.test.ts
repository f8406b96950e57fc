import {
  arange,
  cat,
  full,
  functional as F,
  scope,
  stack,
  tensor,
  where,
  type Tensor,
} from '../../lib/torch';
import { decode, expectEncoded, vectors } from './vectors';

type Inputs = Record<string, Tensor>;

const nn: Record<string, (i: Inputs) => Tensor> = {
  linear: ({ x, weight, bias }) => F.linear(x!, weight!, bias),
  'linear no bias': ({ b1, weight }) => F.linear(b1!, weight!),
  embedding: ({ ids, table }) => F.embedding(table!, ids!),
  conv1d: ({ signal, kernel, bias }) => F.conv1d(signal!, kernel!, bias, 2, 1),
  'conv1d no bias': ({ signal, kernel }) => F.conv1d(signal!, kernel!),
  avgPool1d: ({ signal }) => F.avgPool1d(signal!, 2),
  'avgPool1d stride': ({ signal }) => F.avgPool1d(signal!, 3, 2),
  layerNorm: ({ x, gain, shift }) => F.layerNorm(x!, [3], gain, shift, 1e-5),
  'layerNorm plain': ({ cube }) => F.layerNorm(cube!, [3, 4]),
  rmsNorm: ({ x, gain }) => F.rmsNorm(x!, [3], gain, 1e-6),
  softmax: ({ cube }) => F.softmax(cube!, 1),
  logSoftmax: ({ x }) => F.logSoftmax(x!),
  gelu: ({ x }) => F.gelu(x!),
  silu: ({ x }) => F.silu(x!),
  relu: ({ x }) => F.relu(x!),
  attention: ({ q, k, v }) => F.scaledDotProductAttention(q!, k!, v!, { scale: 0.5 }),
  'attention causal': ({ q, k, v }) =>
    F.scaledDotProductAttention(q!, k!, v!, { causal: true, scale: 0.3 }),
  'attention mask': ({ q, k, v, attend }) =>
    F.scaledDotProductAttention(q!, k!, v!, { mask: attend, scale: 0.5 }),
  crossEntropySum: ({ logits, targets }) => F.crossEntropySum(logits!, targets!),
  ctcLoss: ({ ctcLogits, ctcTargets, ctcIn, ctcOut }) =>
    F.ctcLoss(F.logSoftmax(ctcLogits!), ctcTargets!, ctcIn!, ctcOut!),
};

const arithmetic: Record<string, (i: Inputs) => Tensor> = {
  add: ({ x, row }) => x!.add(row!),
  'add broadcast both': ({ col, row }) => col!.add(row!),
  sub: ({ x, col }) => x!.sub(col!),
  mul: ({ x, row }) => x!.mul(row!),
  div: ({ x, row }) => x!.div(row!),
  pow: ({ pos, row }) => pos!.pow(row!),
  'add scalar': ({ x }) => x!.add(2.5),
  'sub scalar': ({ x }) => x!.sub(1),
  'mul scalar': ({ x }) => x!.mul(-0.5),
  'div scalar': ({ x }) => x!.div(4),
  'pow scalar': ({ x }) => x!.pow(2),
  'int add int scalar': ({ n }) => n!.add(2),
  'int add fraction': ({ n }) => n!.add(0.5),
  'int mul int scalar': ({ n }) => n!.mul(3),
  'int div': ({ n }) => n!.div(2),
  'int32 add int64': ({ i32, n }) => i32!.add(n!),
  'int32 mul int scalar': ({ i32 }) => i32!.mul(2),
  'uint8 wraps': ({ u8 }) => u8!.add(100),
  'uint8 add int32': ({ u8, i32 }) => u8!.add(i32!),
  'bool add bool': ({ mask }) => mask!.add(mask!),
  'bool mul float': ({ mask, x }) => mask!.mul(x!),
  'half add float': ({ half, x }) => half!.add(x!),
  'half add half': ({ half }) => half!.add(half!),
  'half mul scalar': ({ half }) => half!.mul(1.5),
  'half add int': ({ half, n }) => half!.add(n!),
  'f16 add bf16': ({ f16, half }) => f16!.add(half!),
  'f64 add f32': ({ f64, x }) => f64!.add(x!),
  maximum: ({ x, row }) => x!.maximum(row!),
  minimum: ({ x, row }) => x!.minimum(row!),
  matmul: ({ x, y }) => x!.matmul(y!),
  'matmul vector': ({ x, row }) => x!.matmul(row!),
  'matmul batch': ({ b1, y }) => b1!.matmul(y!),
  bmm: ({ b1, b2 }) => b1!.bmm(b2!),
  neg: ({ x }) => x!.neg(),
  abs: ({ x }) => x!.abs(),
  exp: ({ x }) => x!.exp(),
  log: ({ pos }) => pos!.log(),
  sqrt: ({ pos }) => pos!.sqrt(),
  rsqrt: ({ pos }) => pos!.rsqrt(),
  square: ({ x }) => x!.square(),
  sin: ({ x }) => x!.sin(),
  cos: ({ x }) => x!.cos(),
  tanh: ({ x }) => x!.tanh(),
  sigmoid: ({ x }) => x!.sigmoid(),
  floor: ({ x }) => x!.floor(),
  clamp: ({ x }) => x!.clamp(-0.5, 0.5),
  isnan: ({ x }) => x!.floor().div(x!.floor()).isnan(),
  isfinite: ({ x }) => x!.div(x!.floor()).isfinite(),
  logicalNot: ({ mask }) => mask!.logicalNot(),
  logicalAnd: ({ mask, x }) => mask!.logicalAnd(x!.gt(0)),
  logicalOr: ({ mask, x }) => mask!.logicalOr(x!.gt(0)),
  eq: ({ n, i32 }) => n!.eq(i32!),
  'eq scalar': ({ n }) => n!.eq(2),
  ne: ({ n, i32 }) => n!.ne(i32!),
  'ne scalar': ({ n }) => n!.ne(2),
  lt: ({ x, row }) => x!.lt(row!),
  'lt scalar': ({ x }) => x!.lt(0),
  le: ({ n, i32 }) => n!.le(i32!),
  'le scalar': ({ n }) => n!.le(2),
  gt: ({ x, row }) => x!.gt(row!),
  'gt scalar': ({ n }) => n!.gt(0.5),
  ge: ({ n, i32 }) => n!.ge(i32!),
  'ge scalar': ({ n }) => n!.ge(2),
};

const reductions: Record<string, (i: Inputs) => Tensor> = {
  sum: ({ x }) => x!.sum(),
  'sum dim': ({ cube }) => cube!.sum(1),
  'sum dims keep': ({ cube }) => cube!.sum([0, -1], true),
  'sum int': ({ n }) => n!.sum(),
  'sum bool': ({ mask }) => mask!.sum(),
  mean: ({ x }) => x!.mean(),
  'mean dim': ({ cube }) => cube!.mean(-1, true),
  amax: ({ cube }) => cube!.amax([0, 2]),
  'amax all': ({ x }) => x!.amax(),
  amin: ({ cube }) => cube!.amin(1),
  var: ({ x }) => x!.var(),
  'var dim': ({ cube }) => cube!.var(-1, 0, true),
  norm: ({ x }) => x!.norm(),
  cumsum: ({ n }) => n!.cumsum(1),
  argmax: ({ cube }) => cube!.argmax(-1),
  'argmax keep': ({ cube }) => cube!.argmax(1, true),
  'topk values': ({ cube }) => cube!.topk(2).values,
  'topk indices': ({ cube }) => cube!.topk(2, 1).indices,
  'sort values': ({ cube }) => cube!.sort().values,
  'sort indices': ({ cube }) => cube!.sort(0, true).indices,
};

const shapes: Record<string, (i: Inputs) => Tensor> = {
  reshape: ({ cube }) => cube!.reshape([4, -1]),
  permute: ({ cube }) => cube!.permute([2, 0, 1]),
  transpose: ({ cube }) => cube!.transpose(0, -1),
  unsqueeze: ({ x }) => x!.unsqueeze(1),
  squeeze: ({ col }) => col!.squeeze(-1),
  expand: ({ col }) => col!.expand([2, 4]),
  flatten: ({ cube }) => cube!.flatten(1),
  contiguous: ({ x }) => x!.transpose(0, 1).contiguous(),
  clone: ({ x }) => x!.clone(),
  'to bfloat16': ({ x }) => x!.to('bfloat16'),
  'to int64 truncates': ({ x }) => x!.mul(3).to('int64'),
  'to bool': ({ n }) => n!.to('bool'),
  viewDtype: ({ i32 }) => i32!.viewDtype('uint8'),
  repeatInterleave: ({ x }) => x!.repeatInterleave(2, 0),
  flip: ({ cube }) => cube!.flip([0, 2]),
  tril: ({ cube }) => cube!.tril(-1),
  triu: ({ cube }) => cube!.triu(1),
  split: ({ cube }) => cube!.split([1, 3], 2)[1]!,
  pad: ({ x }) => x!.pad([1, 2, 0, 1], 9),
  cat: ({ x, col }) => cat([x!, col!], 1),
  stack: ({ x, pos }) => stack([x!, pos!], 1),
  arange: () => arange(2, 11, { step: 3 }),
  'arange float': () => arange(0, 1, { step: 0.25, dtype: 'float32' }),
  'full int': () => full([2], 7, { dtype: 'int32' }),
};

const indexing: Record<string, (i: Inputs) => Tensor> = {
  select: ({ cube }) => cube!.select(1, -1),
  narrow: ({ cube }) => cube!.narrow(2, 1, 2),
  slice: ({ cube }) => cube!.slice(2, 1, undefined, 2),
  'slice negative': ({ cube }) => cube!.slice(1, -2),
  indexSelect: ({ x, ids }) => x!.indexSelect(1, ids!),
  index: ({ x, pick }) => x!.index([pick!, pick!]),
  'index bool': ({ x, mask2 }) => x!.index([mask2!]),
  gather: ({ x, cols }) => x!.gather(1, cols!),
  scatter: ({ x, cols, col }) => x!.scatter(1, cols!.slice(1, 0, 1), col!),
  indexAdd: ({ y, ids, cube }) =>
    y!.indexAdd(0, ids!, cube!.select(0, 0).select(0, 0).reshape([4, 1]).expand([4, 2])),
  indexCopy: ({ y, pick, b2 }) => y!.indexCopy(0, pick!, b2!.select(0, 0).slice(0, 0, 2)),
  maskedFill: ({ x, mask }) => x!.maskedFill(mask!, -1.5),
  maskedSelect: ({ x, mask }) => x!.maskedSelect(mask!),
  maskedScatter: ({ x, mask, row }) => x!.maskedScatter(mask!, row!),
  where: ({ x, mask, col }) => where(mask!, x!, col!),
  nonzero: ({ mask }) => mask!.nonzero(),
};

const families = { arithmetic, reductions, shapes, indexing, nn };

describe.each(Object.entries(families))('%s gives what PyTorch gives', (_, family) => {
  test.each(Object.entries(family))('%s', (name, operation) => {
    scope(() => {
      const inputs = Object.fromEntries(
        Object.entries(vectors.inputs).map(([key, value]) => [key, decode(value)]),
      );
      expectEncoded(operation(inputs), vectors.operations[name]!);
    });
  });
});

test('every operation of the oracle has its line here', () => {
  const names = Object.values(families).flatMap((family) => Object.keys(family));
  expect(names.sort()).toEqual(Object.keys(vectors.operations).sort());
});

test('any, all, equal, allclose', () => {
  scope(() => {
    const some = tensor([0, 1], { dtype: 'bool' });
    expect([some.any(), some.all(), some.logicalNot().any()]).toEqual([true, false, true]);
    const a = tensor([1, 2]);
    expect(a.equal(tensor([1, 2]))).toBe(true);
    expect(a.equal(tensor([[1, 2]]))).toBe(false);
    expect(a.allclose(tensor([1, 2.00001]))).toBe(true);
    expect(a.allclose(tensor([1, 2.001]))).toBe(false);
  });
});
