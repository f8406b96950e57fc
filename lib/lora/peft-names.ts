/**
 * Module names of Qwen2-Audio: the public checkpoint's, which are those of this library's models,
 * and those that the model has in memory in transformers 5, which PEFT writes. (In transformers 4
 * the two were the same.)
 */

/** [public, in memory] beginnings of names, the longer first. */
const beginnings: readonly (readonly [string, string])[] = [
  ['language_model.lm_head', 'lm_head'],
  ['language_model.model', 'model.language_model'],
  ['audio_tower', 'model.audio_tower'],
  ['multi_modal_projector', 'model.multi_modal_projector'],
];

function replaceBeginning(name: string, from: 0 | 1, to: 0 | 1): string {
  for (const pair of beginnings) {
    if (name === pair[from] || name.startsWith(`${pair[from]}.`)) {
      return pair[to] + name.slice(pair[from].length);
    }
  }
  return name;
}

/** A public name as transformers 5 has it in memory; names of other models stay. */
export function inMemoryName(name: string): string {
  return replaceBeginning(name, 0, 1);
}

/** The public name for a name in either form. */
export function publicName(name: string): string {
  return replaceBeginning(name, 1, 0);
}

const key = /^base_model\.model\.(.+)\.(lora_[AB])\.weight$/;

/** The key of a layer's tensor (`lora_A`) in adapter_model.safetensors, which names no adapter. */
export function tensorKey(name: string, tensor: string): string {
  return `base_model.model.${inMemoryName(name)}.${tensor}.weight`;
}

/** Module (as the file names it) and tensor (`lora_A`) of a key, or undefined for anything but A and B. */
export function parseKey(text: string): { module: string; tensor: string } | undefined {
  const match = key.exec(text);
  return match === null ? undefined : { module: match[1]!, tensor: match[2]! };
}
