/** Damage to files, seeded: bytes that change, and JSON that stays JSON but says something else. */
import type { Random } from '../../lib/data/random';

/** JSON as it is written: keys may come twice, and what is no JSON may stand in it. */
type Node = { object: [string, Node][] } | { array: Node[] } | { text: string };

function nodeOf(value: unknown): Node {
  if (Array.isArray(value)) return { array: value.map(nodeOf) };
  if (typeof value !== 'object' || value === null) return { text: JSON.stringify(value) };
  return { object: Object.entries(value).map(([key, child]) => [key, nodeOf(child)]) };
}

function write(node: Node): string {
  if ('text' in node) return node.text;
  if ('array' in node) return `[${node.array.map(write).join()}]`;
  return `{${node.object.map(([key, child]) => `${JSON.stringify(key)}:${write(child)}`).join()}}`;
}

/** What stands in the place of a value: wrong types, numbers out of every range, things without end. */
const strange: readonly string[] = [
  ...['null', 'true', 'false', '""', '"x"', '[]', '{}', '[[]]', '[null]', '{"":0}', '"NaN"'],
  ...['0', '-0', '-1', '1', '2', '3', '7', '0.5', '-0.5', '1e-320', '1e308', '1e400', '-1e400'],
  ...['255', '256', '65536', '2147483648', '-2147483649', '4294967296', '1099511627776'],
  ...['9007199254740991', '9007199254740993', '-9223372036854775808', '18446744073709551616'],
  ...['NaN', 'Infinity', '-Infinity', 'undefined', "'x'", '0x10', '01', '1_000', '+1', '.5', ','],
  ...[
    '"\\u0000"',
    '"\\ud800"',
    '"a\\nb\\u001b[2Jc\\r\\u2028d"',
    '"../../../etc/passwd"',
    '"\u0000"',
  ],
  ...['{"__proto__":{"polluted":1}}', '{"constructor":{"prototype":{}}}', '{"toString":1}'],
  ...['{"content":"<|im_end|>"}', '"<|AUDIO|>"', '"(a+)+$"', '"((.*)*)*x"', '"int64"', '"uint8"'],
];

const keys: readonly string[] = [
  ...['', '__proto__', 'constructor', 'toString', 'hasOwnProperty', 'then', 'length', '0', '-1'],
  ...['weight', '__metadata__', 'a\nb', '\u0000', '\ud800', 'x'.repeat(3000)],
];

function strangeNode(random: Random): Node {
  const kind = random.next();
  if (kind < 0.02) {
    const depth = random.pick([50, 2000, 20_000]);
    return { text: random.pick(['[', '{"a":']).repeat(depth) + '1' + ']'.repeat(depth) };
  }
  if (kind < 0.04) {
    const depth = random.pick([50, 2000, 20_000]);
    return { text: '['.repeat(depth) + ']'.repeat(depth) };
  }
  if (kind < 0.06) return { text: JSON.stringify('y'.repeat(random.pick([300, 100_000]))) };
  if (kind < 0.2) return { text: String(random.index(2 ** random.index(40)) - random.index(20)) };
  return { text: random.pick(strange) };
}

/** Something in the tree, small parts of large ones as likely as others of their depth. */
function pickPlace(root: Node, random: Random): { parent: Node; index: number } | undefined {
  let found: { parent: Node; index: number } | undefined;
  let node = root;
  for (;;) {
    const children = 'object' in node ? node.object : 'array' in node ? node.array : [];
    if (children.length === 0 || (found !== undefined && random.next() < 0.35)) return found;
    found = { parent: node, index: random.index(children.length) };
    node = childOf(found);
  }
}

function childOf({ parent, index }: { parent: Node; index: number }): Node {
  if ('object' in parent) return parent.object[index]![1];
  return (parent as { array: Node[] }).array[index]!;
}

function replace({ parent, index }: { parent: Node; index: number }, by: Node): void {
  if ('object' in parent) parent.object[index]![1] = by;
  else if ('array' in parent) parent.array[index] = by;
}

/** A number beside the one that is there, or a text with another letter. */
function nudged(node: Node, random: Random): Node {
  if (!('text' in node)) return strangeNode(random);
  const number = Number(node.text);
  if (node.text !== '' && Number.isFinite(number)) {
    const factor = random.pick([-1, 0.5, 2, 3, 1000, 1e9]);
    return { text: String(random.pick([number + 1, number - 1, number * factor])) };
  }
  const at = random.index(node.text.length + 1);
  return { text: node.text.slice(0, at) + random.pick(['a', '0', 'F', '"']) + node.text.slice(at) };
}

function change(root: Node, random: Random): void {
  const place = pickPlace(root, random);
  if (place === undefined) return;
  const { parent, index } = place;
  const child = childOf(place);
  const list: unknown[] = 'object' in parent ? parent.object : (parent as { array: Node[] }).array;
  const kind = random.next();
  if (kind < 0.15) list.splice(index, 1);
  else if (kind < 0.45) replace(place, strangeNode(random));
  else if (kind < 0.6) replace(place, nudged(child, random));
  else if (kind < 0.68) {
    const other = pickPlace(root, random)!;
    replace(place, nodeOf(JSON.parse(safe(write(childOf(other))))));
  } else if (kind < 0.76)
    replace(place, random.pick([{ array: [child] }, { object: [['a', child]] }]));
  else if ('array' in parent) list.splice(index, 0, random.pick([child, strangeNode(random)]));
  else if ('object' in parent) {
    const [key] = parent.object[index]!;
    const entry = random.pick<[string, Node]>([
      [key, strangeNode(random)],
      [random.pick(keys), random.pick([child, strangeNode(random)])],
    ]);
    if (kind < 0.88) list.splice(random.index(list.length + 1), 0, entry);
    else list[index] = [random.pick(keys), child];
  }
}

/** What is in the tree already may be no JSON any more. */
function safe(text: string): string {
  try {
    JSON.parse(text);
    return text;
  } catch {
    return '0';
  }
}

/** The JSON with one to three things in it changed, as text. */
export function mutatedJson(value: unknown, random: Random): string {
  const root = nodeOf(value);
  for (let count = 1 + random.index(3); count > 0; count--) change(root, random);
  return write(root);
}

const garbage: readonly Uint8Array[] = [
  ...[
    [0xff, 0xfe],
    [0xc0, 0x80],
    [0xed, 0xa0, 0x80],
    [0xf4, 0x90, 0x80, 0x80],
    [0xef, 0xbb, 0xbf],
  ],
  ...[[0], [0x22], [0x5c], [0x7b], [0x5d], [0x80], [0xe2, 0x80, 0xa8]],
].map((bytes) => Uint8Array.from(bytes));

/** The bytes with one to four places changed, moved, doubled or cut off; most in the first `within`. */
export function mutatedBytes(
  bytes: Uint8Array,
  random: Random,
  within: number = bytes.length,
): Buffer {
  let result = Buffer.from(bytes);
  for (let count = 1 + random.index(4); count > 0; count--) {
    const end = Math.max(1, random.next() < 0.9 ? Math.min(within, result.length) : result.length);
    const at = random.index(end);
    const length = random.index(random.pick([4, 40, 400]));
    const [before, piece, after] = [
      result.subarray(0, at),
      result.subarray(at, at + length),
      result.subarray(at + length),
    ];
    const kind = random.next();
    if (kind < 0.45) result[at] = random.index(256);
    else if (kind < 0.6) result[at] = (result[at] ?? 0) ^ (1 << random.index(8));
    else if (kind < 0.7) result = Buffer.concat([before, random.pick(garbage), piece, after]);
    else if (kind < 0.8) result = Buffer.concat([before, piece, piece, after]);
    else if (kind < 0.9) result = Buffer.concat([before, after]);
    else if (kind < 0.97) result = Buffer.from(before);
    else result = Buffer.concat([after, piece, before]);
    if (result.length === 0) return result;
  }
  return result;
}
