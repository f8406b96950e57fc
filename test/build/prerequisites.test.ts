interface PrerequisitesModule {
  checkPrerequisites(kinds: ('compiler' | 'pip')[], env?: NodeJS.ProcessEnv): void;
}
const { checkPrerequisites } = jest.requireActual<PrerequisitesModule>(
  '../../cmake/prerequisites.js',
);

test('a machine that can build the addon lacks nothing', () => {
  expect(() => checkPrerequisites(['compiler', 'pip'])).not.toThrow();
});

test('all that is missing is named in one line, with the Debian packages that have it', () => {
  expect(() => checkPrerequisites(['compiler', 'pip'], { PATH: '/nowhere' })).toThrow(
    'missing: g++, make, cmake, python3, pip for python3; ' +
      'on Debian: apt-get install g++ make cmake python3 python3-pip',
  );
});
