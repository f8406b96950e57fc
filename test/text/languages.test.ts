import { findLanguage } from '../../lib/text';

test.each([
  ['de', 'de', 'German'],
  [' German ', 'de', 'German'],
  ['zh-CN', 'zh', 'Chinese'],
  ['CHINESE', 'zh', 'Chinese'],
  // Two codes bear each of these names, of which one was given up.
  ['Romanian', 'ro', 'Romanian'],
  ['Yiddish', 'yi', 'Yiddish'],
  ['Hebrew', 'he', 'Hebrew'],
  ['Indonesian', 'id', 'Indonesian'],
  ['mo', 'mo', 'Romanian'],
  // What is in use has three letters.
  ['Filipino', 'tl', 'Filipino'],
])('%j is %s, %s', (text, code, name) => {
  expect(findLanguage(text)).toEqual({ code, name });
});

test.each(['', 'xx', 'Klingonese', 'd'])('%j is no language', (text) => {
  expect(findLanguage(text)).toBeUndefined();
});
