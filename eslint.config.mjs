import js from '@eslint/js';
import tseslint from 'typescript-eslint';

const readonly = (names) => Object.fromEntries(names.map((name) => [name, 'readonly']));

export default tseslint.config(
  { ignores: ['node_modules/', 'build/', 'dist/', 'runs/', '**/.ipynb_checkpoints/'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommended],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      // The compiler does the rest of what needs types.
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true },
      ],
    },
  },
  {
    files: ['**/*.js', '**/*.cjs'],
    languageOptions: {
      sourceType: 'commonjs',
      globals: readonly(['require', 'module', 'exports', '__dirname', '__filename']),
    },
  },
  {
    // Plain Node: what runs before anything is installed, settings, worker programs.
    files: ['**/*.js', '**/*.cjs', '**/*.mjs'],
    languageOptions: {
      globals: readonly([
        ...['process', 'console', 'Buffer', 'URL', 'TextDecoder', 'TextEncoder', 'WebAssembly'],
        ...['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate'],
        ...['performance', 'structuredClone', 'AbortController', 'AbortSignal'],
      ]),
    },
  },
);
