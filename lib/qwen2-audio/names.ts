/**
 * Tensor names by writer. Ours are the public checkpoint's (`language_model.model.layers…`);
 * transformers 5 holds `model.language_model.layers…` with `lm_head`, and 5.18 was seen to save
 * `language_model.model.model.layers…`.
 */
const beginnings: readonly (readonly [RegExp, string])[] = [
  [/^(language_model\.)?lm_head\./, 'language_model.lm_head.'],
  [/^language_model\.model\.model\./, 'language_model.model.'],
  [/^model\.language_model\./, 'language_model.model.'],
  [/^model\.(audio_tower|multi_modal_projector)\./, '$1.'],
];

/** A tensor's public name, whatever wrote it. */
export function publicTensorName(name: string): string {
  for (const [pattern, replacement] of beginnings) {
    if (pattern.test(name)) return name.replace(pattern, replacement);
  }
  return name;
}

/** Tables that old versions saved and that are computed here. */
export function isDerived(name: string): boolean {
  return name.endsWith('rotary_emb.inv_freq');
}
