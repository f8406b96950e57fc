// One worker a core, one libtorch thread a worker: tests are many small operations.
process.env.OMP_NUM_THREADS ??= '1';

const modules = 'hyparquet|hyparquet-compressors|hyparquet-writer|fzstd|hysnappy';

module.exports = {
  maxWorkers: '100%',
  // No test asserts a time; this only ends one that hangs.
  testTimeout: 300_000,
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  testPathIgnorePatterns: ['/node_modules/'],
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/build/'],
  // As a program that has the package installed says it.
  moduleNameMapper: { '^pare$': '<rootDir>/lib', '^pare/([\\w-]+)$': '<rootDir>/lib/$1' },
  transform: {
    '^.+\\.ts$': ['@swc/jest', { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } }],
    // Modules that Node can require and jest cannot.
    [`/node_modules/(${modules})/.+\\.js$`]: ['@swc/jest', { jsc: { target: 'es2022' } }],
  },
  transformIgnorePatterns: [`/node_modules/(?!(${modules})/)`],
};
