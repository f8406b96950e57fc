import type { DType } from '../torch/dtype';

/**
 * What transformers writes into config.json of a model that bitsandbytes quantised. It makes every
 * linear layer but lm_head a 4-bit one unless the list of what to skip says otherwise.
 */
export function quantizationConfig(model: {
  /** Names of the linear layers that are not in 4 bits. */
  plain: readonly string[];
  doubleQuant: boolean;
  computeDtype: DType;
}): Record<string, unknown> {
  const { plain, doubleQuant, computeDtype } = model;
  const usual = plain.length > 0 && plain.every((name) => name.endsWith('lm_head'));
  return {
    quant_method: 'bitsandbytes',
    load_in_4bit: true,
    load_in_8bit: false,
    bnb_4bit_quant_type: 'nf4',
    bnb_4bit_use_double_quant: doubleQuant,
    bnb_4bit_compute_dtype: computeDtype,
    bnb_4bit_quant_storage: 'uint8',
    llm_int8_skip_modules: usual ? null : plain,
  };
}
