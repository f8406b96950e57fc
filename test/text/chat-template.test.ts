import { ChatTemplate, TokenizerError } from '../../lib/text';

const messages = [{ role: 'user' as const, content: 'Hello' }];

test.each([
  ['{{ range(3) }}', '[0, 1, 2]'],
  ['{% for i in range(2, 8, 3) %}{{ i }};{% endfor %}', '2;5;'],
  ['{% for i in range(3, 0, -2) %}{{ i }};{% endfor %}', '3;1;'],
  ['{% for i in range(3, 0) %}{{ i }};{% endfor %}', ''],
])('%s', (source, text) => {
  expect(new ChatTemplate(source).render(messages)).toBe(text);
});

const loop = '{% for i in range(100000) %}';

test.each([
  ['loops without an end', `${loop}${loop}{% endfor %}{% endfor %}`, 'come to an end in 5 s'],
  ['a range that no memory holds', '{{ range(10000000000) }}', 'of more than 100000 numbers'],
  ['steps of nothing', '{{ range(1, 5, 0) }}', 'of more than 100000 numbers'],
])('%s: an error, not an end of the program', (_, source, reason) => {
  const render = (): string => new ChatTemplate(source).render(messages);
  expect(render).toThrow(TokenizerError);
  expect(render).toThrow(reason);
});
