import { findLanguage, findTarget } from '../../lib/text';

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

test.each([
  ['de', ['de', 'zh'], 'de'],
  ['German', ['de', 'zh'], 'de'],
  ['zh', ['de', 'zh-CN'], 'zh-CN'],
  ['Chinese', ['de', 'zh-CN'], 'zh-CN'],
  ['zh-CN', ['de', 'zh-CN'], 'zh-CN'],
  ['zh-TW', ['zh-CN', 'zh-TW'], 'zh-TW'],
  ['zh-CN', ['zh'], 'zh'],
  ['Romanian', ['mo'], 'mo'],
  // Which of the two is not said.
  ['Chinese', ['zh-CN', 'zh-TW'], undefined],
  ['fr', ['de'], undefined],
  ['own', ['own'], 'own'],
])('%s among %j is %s', (text, targets, target) => {
  expect(findTarget(text, targets)).toBe(target);
});
