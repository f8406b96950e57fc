/** Embeddings in NF4: rows gathered packed are the rows of the whole matrix, decoded. */
import { dequantizeNf4, Embedding4bit, QuantStateError } from '../../lib/nf4';
import { Generator, memory, nn, scope, tensor, TorchError, type Tensor } from '../../lib/torch';
import { valuesTensor } from './vectors';

function embedding(rows: number, width: number, dtype: 'float32' | 'bfloat16'): nn.Embedding {
  const made = new nn.Embedding(rows, width, { dtype, generator: new Generator(1) });
  made.weight.dispose();
  made.weight = nn.parameter(valuesTensor([rows, width], dtype, 5, 64), false);
  return made;
}

const ids = (values: number[], shape: number[] = [values.length]): Tensor =>
  tensor(values, { shape, dtype: 'int64' });

test.each([
  // More than 256 blocks, so that rows have different groups of absmax.
  { rows: 150, width: 128, blockSize: 64, doubleQuant: true, dtype: 'bfloat16' },
  { rows: 150, width: 128, blockSize: 64, doubleQuant: false, dtype: 'bfloat16' },
  { rows: 40, width: 96, blockSize: 32, doubleQuant: true, dtype: 'float32' },
  { rows: 5, width: 256, blockSize: 256, doubleQuant: true, dtype: 'float32' },
] as const)('%j', ({ rows, width, dtype, ...options }) => {
  scope(() => {
    const plain = embedding(rows, width, dtype);
    const packed = Embedding4bit.fromEmbedding(plain, options);
    expect([packed.numEmbeddings, packed.embeddingDim]).toEqual([rows, width]);
    const whole = dequantizeNf4(packed.weight, packed.quantState);
    const wanted = [rows - 1, 0, 3, 3, rows - 2, 1];
    const rowsOf = packed.forward(ids(wanted, [2, 3]));
    expect([rowsOf.dtype, rowsOf.shape]).toEqual([dtype, [2, 3, width]]);
    expect(rowsOf.reshape([6, width]).equal(whole.indexSelect(0, ids(wanted)))).toBe(true);
    expect(packed.forward(ids([])).shape).toEqual([0, width]);

    const again = Embedding4bit.fromStateDict(packed.stateDict(), '', { dtype: 'float32' });
    const float = again.forward(ids(wanted));
    expect(float.dtype).toBe('float32');
    expect(float.equal(dequantizeNf4(packed.weight, packed.quantState, 'float32').indexSelect(0, ids(wanted)))).toBe(true); // prettier-ignore
    for (const module of [plain, packed, again]) module.dispose();
  });
});

test('decodes what is asked for and nothing else', () => {
  scope(() => {
    const plain = embedding(20000, 128, 'bfloat16');
    const packed = Embedding4bit.fromEmbedding(plain);
    plain.dispose();
    const before = memory().bytes;
    const row = packed.forward(ids([7]));
    expect(memory().bytes - before).toBeLessThanOrEqual(8 + row.numel * 2);
    packed.dispose();
  });
});

test('an id outside, and blocks that do not end with a row', () => {
  scope(() => {
    const plain = embedding(10, 96, 'float32');
    const packed = Embedding4bit.fromEmbedding(plain, { blockSize: 32 });
    expect(() => packed.forward(ids([10]))).toThrow(TorchError);
    expect(() => Embedding4bit.fromEmbedding(plain)).toThrow(QuantStateError);
    expect(() => Embedding4bit.fromEmbedding(plain)).toThrow(
      'rows of 96 values cannot be gathered from blocks of 64',
    );
    packed.dispose();
    plain.dispose();
  });
});
