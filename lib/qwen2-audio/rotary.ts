import { cat, functional as F, noGrad, scope, Tensor, tensor, type DType } from '../torch';

/** cos and sin [batch or 1, 1, time, headDim]; the sine of the first half is negated. */
export interface Rotary {
  cos: Tensor;
  sin: Tensor;
}

/**
 * Tables of rotary position embeddings (Su et al. 2021) in the half layout of `Qwen2Model`:
 * angles in float32, then the dtype of the hidden states.
 * @param positionIds [batch or 1][time]
 */
export function rotaryTables(
  positionIds: readonly (readonly number[])[],
  headDim: number,
  theta: number,
  dtype: DType,
  device: string = 'cpu',
): Rotary {
  const half = headDim / 2;
  const batch = positionIds.length;
  const time = positionIds[0]!.length;
  const frequencies = Float32Array.from({ length: half }, (_, i) => theta ** (-(2 * i) / headDim));
  return scope(() =>
    noGrad(() => {
      const positions = tensor(Float32Array.from(positionIds.flat()), {
        shape: [batch, 1, time, 1],
        device,
      });
      const angles = positions.mul(tensor(frequencies, { device }));
      const sin = angles.sin();
      return {
        cos: cat([angles, angles], -1).cos().to(dtype),
        sin: cat([sin.neg(), sin], -1).to(dtype),
      };
    }),
  );
}

/** x cos + rotateHalf(x) sin, with x [batch, heads, time, headDim]. */
export function applyRotary(x: Tensor, { cos, sin }: Rotary): Tensor {
  // Under autocast x is bfloat16 while the tables have the weights' dtype.
  const dtype = x.dtype;
  if (cos.dtype !== dtype) return applyRotary(x, { cos: cos.to(dtype), sin: sin.to(dtype) });
  return F.rotary(x, cos, sin);
}
