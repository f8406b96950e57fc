/** Names of devices; nothing here loads the addon. */

/** `cpu`, `cuda` (the current GPU), `cuda:1`. */
export function isDeviceName(text: string): boolean {
  return /^(?:cpu|cuda(?::\d+)?)$/.test(text);
}

/** Whether a name is that of a GPU. */
export function isCuda(device: string): boolean {
  return device.startsWith('cuda');
}

/** The GPU's number in `cuda:1`; undefined for the current one. */
export function cudaIndex(device: string): number | undefined {
  const [, index] = /^cuda:(\d+)$/.exec(device) ?? [];
  return index === undefined ? undefined : Number(index);
}
