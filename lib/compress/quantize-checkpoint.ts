/** Quantising on disk: the model is never in memory. */
import { existsSync } from 'node:fs';
import {
  packedShape,
  PiecewiseQuantizer,
  quantStateKey,
  storedParts,
  type QuantizeOptions,
} from '../nf4';
import { account, type Accounting } from '../qwen2-audio/accounting';
import { adapterOf, CheckpointError, copyProcessor, readConfig } from '../qwen2-audio/folder';
import { NewCheckpoint } from '../qwen2-audio/new-checkpoint';
import { quantizationConfig } from '../qwen2-audio/quantization-config';
import { resolveSource, type CheckpointSource } from '../qwen2-audio/resolve';
import { checkpointTensors, type CheckpointTensor } from '../qwen2-audio/weight-file';
import {
  writeTensors,
  type Read,
  type StreamedTensor,
  type StreamOptions,
} from '../qwen2-audio/write-checkpoint';
import { skeleton } from '../qwen2-audio';
import { dtypeSize, empty, fromBytes, nn, scope, type DType } from '../torch';
import { CompressionError } from './error';
import { modulesToQuantize, type QuantizeModelOptions } from './quantize';

/** As `quantizeModel`'s, and how the files are written. */
export type QuantizeCheckpointOptions = Omit<QuantizeModelOptions, 'computeDtype'> &
  StreamOptions &
  CheckpointSource & {
    /** Converts the weights that stay in floating point; as stored by default. */
    dtype?: DType;
  };

/**
 * Writes a checkpoint in NF4 as a new one: byte for byte what `loadModel`, `quantizeModel` and
 * `saveModel` write, but tensor by tensor, in memory that does not grow with the model. The
 * tokenizer and processor files go along if there are any.
 * @param pathOrHubName a folder, or `owner/name[@revision]` on the Hugging Face hub
 * @throws CompressionError for a checkpoint that is in 4 bits already or has an adapter, and as
 * `quantizeModel`; CheckpointError if `output` exists, or the weights are not those of config.json;
 * HubError, FileError
 */
export async function quantizeCheckpoint(
  pathOrHubName: string,
  output: string,
  options: QuantizeCheckpointOptions = {},
): Promise<Accounting> {
  if (existsSync(output)) {
    throw new CompressionError(`${output} exists already; choose another folder`);
  }
  const dir = await resolveSource(pathOrHubName, options);
  const config = readConfig(dir);
  const adapter = adapterOf(dir);
  if (adapter !== undefined) {
    throw new CompressionError(
      `${dir} has an adapter (${adapter}), trained on these weights; quantise a checkpoint without one`,
    );
  }
  if (account(dir).quantization !== null) {
    throw new CompressionError(
      `${dir} is in 4 bits already; quantise the checkpoint it was made of`,
    );
  }
  const stored = checkpointTensors(dir);
  const dtype = options.dtype ?? commonDtype(dir, stored);
  using model = skeleton(config.audio.encoderLayers, config.text.numHiddenLayers);
  const modules = modulesToQuantize(model, options, config.text.hiddenSize);
  const find = (name: string): CheckpointTensor => {
    const tensor = stored.get(name);
    if (tensor !== undefined) return tensor;
    throw new CheckpointError(`${dir}: tensor ${name} is missing; fetch the weights again`);
  };
  const tensors: StreamedTensor[] = [];
  const plain: string[] = [];
  for (const [prefix, module] of model.namedModules()) {
    const own = Array.from(module.ownTensors(), ([key]) => find(`${prefix}.${key}`));
    if (modules.has(prefix)) {
      const [weight, ...bias] = own;
      const [packed, ...state] = quantized(weight!, options);
      tensors.push(packed!, ...bias.map((tensor) => converted(tensor, dtype)), ...state);
    } else {
      if (module instanceof nn.Linear) plain.push(prefix);
      tensors.push(...own.map((tensor) => converted(tensor, dtype)));
    }
  }
  const doubleQuant = options.doubleQuant ?? true;
  const quantization =
    modules.size === 0
      ? undefined
      : quantizationConfig({ plain, doubleQuant, computeDtype: dtype });
  const target = new NewCheckpoint(output);
  try {
    target.writeConfig(config, config.text.numHiddenLayers, dtype, { quantization });
    copyProcessor(dir, target.temporary);
    await writeTensors(target, tensors, options);
    target.complete();
  } catch (error) {
    throw target.abandon(error);
  }
  return account(output);
}

function commonDtype(dir: string, stored: ReadonlyMap<string, CheckpointTensor>): DType {
  const [first, ...others] = stored.values();
  const other = others.find(({ dtype }) => dtype !== first!.dtype);
  if (other === undefined) return first!.dtype;
  throw new CheckpointError(
    `${dir}: tensor ${other.name} is ${other.dtype} while ${first!.name} is ${first!.dtype}; ` +
      'give one dtype for all (--dtype)',
  );
}

/** A tensor that stays in floating point. */
function converted(tensor: CheckpointTensor, dtype: DType): StreamedTensor {
  const { name, shape, range } = tensor;
  return {
    name,
    shape,
    dtype,
    source: range,
    async *pieces(read) {
      for await (const piece of read(range)) {
        if (tensor.dtype === dtype) yield piece;
        else yield convertedBytes(piece, tensor.dtype, dtype);
      }
    },
  };
}

function convertedBytes(bytes: Uint8Array, from: DType, to: DType): Uint8Array {
  const values = bytes.byteLength / dtypeSize[from];
  return scope(() => fromBytes(bytes, from, [values]).to(to).toBytes());
}

/**
 * A weight in NF4: the packed one and, below its name, what belongs to it. All are made when the
 * first is asked for; only what is small waits for its turn, unless the order of the file is another.
 */
function quantized(weight: CheckpointTensor, options: QuantizeOptions): StreamedTensor[] {
  const { name, dtype, shape, range } = weight;
  const state = new Map<string, Uint8Array>();
  async function* quantize(read: Read): AsyncGenerator<Uint8Array, void> {
    using quantizer = new PiecewiseQuantizer(dtype, shape, options);
    for await (const piece of read(range)) {
      const values = piece.byteLength / dtypeSize[dtype];
      yield scope(() => {
        const packed = empty([Math.ceil(values / 2)], { dtype: 'uint8' });
        quantizer.add(piece, packed);
        return packed.toBytes();
      });
    }
    scope(() => {
      const quantState = quantizer.finish();
      for (const [key, value] of quantState.namedTensors()) state.set(key, value.toBytes());
      state.set(quantStateKey, quantState.packedJson().toBytes());
      quantState.dispose();
    });
  }
  let held: Uint8Array[] | undefined;
  async function* packed(read: Read): AsyncGenerator<Uint8Array, void> {
    if (held === undefined) yield* quantize(read);
    else yield* held;
  }
  async function* part(key: string, read: Read): AsyncGenerator<Uint8Array, void> {
    if (!state.has(key)) {
      held = [];
      for await (const piece of quantize(read)) held.push(piece);
    }
    yield state.get(key)!;
    state.delete(key);
  }
  const parts = [...storedParts(shape, options), [quantStateKey, 'uint8', []] as const];
  return [
    { name, dtype: 'uint8', shape: packedShape(shape), source: range, pieces: packed },
    ...parts.map(([key, partDtype, partShape]) => ({
      name: `${name}.${key}`,
      dtype: partDtype,
      shape: partShape,
      source: range,
      pieces: (read: Read) => part(key, read),
    })),
  ];
}
