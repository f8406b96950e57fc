/**
 * GPT-2's map from bytes to printable characters, by which byte-level BPE writes its vocabulary:
 * printable bytes stand for themselves, the others for U+0100 and on (`bytes_to_unicode`).
 */
export const byteToCharacter: readonly string[] = (() => {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCodePoint(isPrintable(byte) ? byte : next++),
  );
})();
