/** Programs that have the packed package installed, each in a process of its own. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';
import { execute, install, pack, root, succeed, type Packed } from './installed';

const node = process.execPath;
const tsc = join(root, 'node_modules/typescript/bin/tsc');

let packed: Packed;
/** The program's folder, and the package's in it. */
let program: string;
let pare: string;
let installation: string;

beforeAll(async () => {
  packed = await pack();
  program = join(packed.folder, 'program');
  mkdirSync(program);
  installation = await install(program, [packed.main, packed.platform]);
  pare = join(program, 'node_modules/pare');
});
afterAll(() => rmSync(packed.folder, { recursive: true }));

/** Writes a file of the program and gives its path. */
function write(name: string, text: string): string {
  const file = join(program, name);
  writeFileSync(file, text);
  return file;
}

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string;
  main: string;
  exports: Record<string, string | { types: string; default: string }>;
  typesVersions: { '*': Record<string, [string]> };
};
/** As a program says them: `pare`, `pare/torch`. */
const entries = Object.keys(manifest.exports)
  .filter((name) => name !== './package.json')
  .map((name) => name.replace('.', 'pare'));

function listed(tarball: string): string[] {
  const files = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' });
  return files.trim().split('\n').sort();
}

describe('what is packed', () => {
  test('is what runs and what builds the addon, and nothing else', () => {
    const under = (folder: string): string[] =>
      readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
    const compiled = under('lib').flatMap((file) => {
      const made = file.replace(/^lib/, 'dist');
      return made.endsWith('.ts')
        ? ['.js', '.d.ts'].map((end) => made.replace(/\.ts$/, end))
        : made;
    });
    const building = [
      ...['build', 'fetch-libtorch', 'libtorch', 'lock', 'prebuilt', 'prerequisites', 'progress'],
      ...['run', 'stamp', 'wheels'],
    ].map((name) => `cmake/${name}.js`);
    const expected = [
      ...['LICENSE', 'README.md', 'package.json', 'CMakeLists.txt', 'binding.gyp'],
      ...[...building, 'cmake/checksums.json', 'cmake/wheel.py'],
      ...under('cmake').filter((file) => file.endsWith('.cmake')),
      ...[...under('bin'), ...under('native'), ...under('recipes'), ...compiled],
    ];
    expect(listed(packed.main)).toEqual(expected.map((file) => `package/${file}`).sort());
  });

  test('of the platform is the addon and what says where it belongs', () => {
    const files = ['LICENSE', 'README.md', 'package.json', 'pare.node'];
    expect(listed(packed.platform)).toEqual(files.map((file) => `package/${file}`));
    const folder = join(program, 'node_modules/@pare', readdirSync(join(pare, '../@pare'))[0]!);
    const { version, os, cpu, libc } = JSON.parse(
      readFileSync(join(folder, 'package.json'), 'utf8'),
    ) as Record<string, unknown>;
    expect({ version, os, cpu }).toEqual({
      version: manifest.version,
      os: ['linux'],
      cpu: [process.arch],
    });
    expect(libc).toEqual([expect.stringMatching(/^(glibc|musl)$/)]);
    // Nothing of the machine that packed it.
    const addon = readFileSync(join(folder, 'pare.node'), 'latin1');
    for (const place of [root, process.env.HOME ?? root]) expect(addon).not.toContain(place);
  });

  test('has neither scripts nor dependencies of development', () => {
    const text = readFileSync(join(pare, 'package.json'), 'utf8');
    const { scripts, devDependencies, optionalDependencies } = JSON.parse(text) as Record<
      string,
      object | undefined
    >;
    expect(scripts).toEqual({ install: 'node cmake/build.js' });
    expect(devDependencies).toBeUndefined();
    const platform = basename(packed.platform)
      .replace('pare-', '@pare/')
      .replace(`-${manifest.version}.tgz`, '');
    expect(optionalDependencies).toEqual({ [platform]: manifest.version });
  });

  test('has declarations that TypeScript 5.0 reads', () => {
    // Typed arrays and DataView have a parameter since 5.7; tslab brings 5.0.
    const generic = /<ArrayBuffer(Like)?>/;
    const files = listed(packed.main).filter((file) => file.endsWith('.d.ts'));
    expect(files.length).toBeGreaterThan(100);
    const offending = files.filter((file) =>
      generic.test(readFileSync(join(pare, file.replace('package/', '')), 'utf8')),
    );
    expect(offending).toEqual([]);
  });
});

describe('the installation', () => {
  test('takes the prebuilt addon and compiles nothing', () => {
    expect(installation).not.toMatch(/building the addon/);
    expect(readdirSync(join(pare, 'build')).sort()).toEqual([
      ...['addon.stamp', 'libtorch', 'pare.node'],
    ]);
  });

  test('goes through where there is no package for the platform', async () => {
    const other = join(packed.folder, 'other');
    mkdirSync(other);
    await install(other, [packed.main], ['--ignore-scripts']);
    expect(existsSync(join(other, 'node_modules/pare/dist/index.js'))).toBe(true);
    expect(existsSync(join(other, 'node_modules/@pare'))).toBe(false);
    const missing = await execute(other, [node, '-e', "require('pare/torch')"]);
    expect(missing.exitCode).toBe(1);
    expect(missing.stderr).toMatch(/the native addon .* is missing; run: npm rebuild pare/);
    // It would be built: here, where there is no compiler.
    const build = join(other, 'node_modules/pare/cmake/build.js');
    const built = await execute(other, [node, build], { CXX: 'no-such-compiler' });
    expect({ ...built, stdout: '' }).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: expect.stringMatching(/^pare: missing: g\+\+; on Debian: apt-get install g\+\+\n$/),
    });
  });
});

describe('a program', () => {
  test('of CommonJS and one of ESM have every room, by names, and the same classes', async () => {
    expect(entries.length).toBeGreaterThan(10);
    const file = write(
      'both.mjs',
      `import { createRequire } from 'node:module';
       import { SpeechTranslator, PareError, torch } from 'pare';
       import { Tensor, TorchError, tensor } from 'pare/torch';
       const require = createRequire(import.meta.url);
       const wrong = [];
       for (const name of ${JSON.stringify(entries)}) {
         const [here, there] = [await import(name), require(name)];
         for (const key of Object.keys(there)) {
           if (here[key] !== there[key]) wrong.push(name + ': ' + key);
         }
       }
       const made = require('pare/torch').tensor([1, 2]);
       let error;
       try { tensor([1, 2]).matmul(tensor([1, 2, 3])); } catch (thrown) { error = thrown; }
       console.log(JSON.stringify({
         wrong,
         tensor: [made instanceof Tensor, made instanceof torch.Tensor],
         error: [TorchError, PareError, require('pare').PareError].map((C) => error instanceof C),
         translator: SpeechTranslator === require('pare').SpeechTranslator,
       }));`,
    );
    expect(JSON.parse(await succeed(program, [node, file]))).toEqual({
      wrong: [],
      tensor: [true, true],
      error: [true, true, true],
      translator: true,
    });
  });

  test('finds no file that is not public', async () => {
    for (const name of ['pare/cli', 'pare/dist/index.js', 'pare/torch/binding']) {
      const { stderr } = await execute(program, [node, '-e', `require('${name}')`]);
      expect(stderr).toContain('ERR_PACKAGE_PATH_NOT_EXPORTED');
    }
    await succeed(program, [node, '-e', "require('pare/package.json').version"]);
  });

  test('has what there is to try it with', async () => {
    const script = `
      const { demo, SpeechTranslator } = require('pare');
      const missing = Object.values(demo).filter((path) => !require('node:fs').existsSync(path));
      SpeechTranslator.load(demo.teacher)
        .then((translator) => translator.translate(demo.clip, { to: 'German' }))
        .then(({ text }) => console.log(JSON.stringify({ missing, text })));`;
    const printed = JSON.parse(await succeed(program, [node, '-e', script])) as unknown;
    expect(printed).toEqual({ missing: [], text: expect.stringMatching(/Januar/) });
  });

  test('scores without the addon', async () => {
    const script = `console.log(require('pare/metrics').chrf(['ein Satz'], ['ein Satz']).score)`;
    const printed = await succeed(program, [node, '-e', script], { PARE_ADDON: '/nowhere' });
    expect(printed).toBe('100\n');
  });

  test('has tensors in several threads at once', async () => {
    const file = write(
      'threads.js',
      `const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');
       const { Generator, manualSeed, memory, randn, scope, setNumThreads } = require('pare/torch');
       function compute(seed) {
         const generator = new Generator(seed);
         return scope(() => {
           let a = randn([48, 48], { generator });
           for (let i = 0; i < 50; i++) a = a.matmul(randn([48, 48], { generator })).tanh();
           return a.toArray().reduce((sum, x) => sum + x, 0);
         });
       }
       if (!isMainThread) {
         parentPort.postMessage([compute(workerData), memory().handles]);
       } else {
         setNumThreads(1);
         const seeds = [1, 2, 3, 4, 5, 6];
         const asked = seeds.map((workerData) => new Promise((resolve, reject) => {
           new Worker(__filename, { workerData }).on('message', resolve).on('error', reject);
         }));
         const here = seeds.map(compute);
         Promise.all(asked).then((there) => console.log(JSON.stringify({ here, there })));
       }`,
    );
    const { here, there } = JSON.parse(await succeed(program, [node, file])) as {
      here: number[];
      there: [number, number][];
    };
    expect(new Set(here).size).toBe(6);
    expect(there).toEqual(here.map((sum) => [sum, 0]));
  });

  test('has the command line', async () => {
    const npx = (...args: string[]): Promise<string> =>
      succeed(program, ['npx', '--offline', 'pare', ...args]);
    expect(await npx('--version')).toBe(`${manifest.version}\n`);
    expect(await npx('--help')).toMatch(/^Usage: pare /);
    const findings = (await npx('doctor', '--json')).trim().split('\n');
    expect(findings.map((line) => JSON.parse(line) as unknown)).toContainEqual(
      expect.objectContaining({ name: 'addon', status: 'ok' }),
    );
  });
});

describe('TypeScript', () => {
  test('has the rooms of lib/index.ts by every way of resolution', () => {
    const index = readFileSync(join(root, 'lib/index.ts'), 'utf8');
    const rooms = [...index.matchAll(/^export \* as \w+ from '\.\/(.*)';$/gm)];
    expect(entries).toEqual(['pare', ...rooms.map(([, room]) => `pare/${room}`).sort()]);
    const { '*': versions } = manifest.typesVersions;
    expect(Object.keys(versions).map((name) => `pare/${name}`)).toEqual(entries.slice(1));
    for (const [name, target] of Object.entries(manifest.exports)) {
      if (typeof target === 'string' || name === '.') continue;
      expect(versions[name.slice(2)]).toEqual([target.types.slice(2)]);
      expect(target.default).toBe(target.types.replace(/\.d\.ts$/, '.js'));
    }
  });

  /** Compiles the test of types, strictly and with every declaration checked. */
  async function compile(options: Record<string, unknown>, type = 'commonjs'): Promise<void> {
    const folder = join(program, `types-${String(options.moduleResolution)}-${type}`);
    mkdirSync(folder);
    cpSync(join(root, 'test/types/public-api.ts'), join(folder, 'public-api.ts'));
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ type }));
    const compilerOptions = {
      ...{ target: 'es2022', strict: true, noEmit: true, types: ['node'] },
      ...{ noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true, skipLibCheck: false },
      ...options,
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions }));
    await succeed(folder, [node, tsc, '-p', '.']);
  }

  test('node10', () =>
    compile({ module: 'commonjs', moduleResolution: 'node10', ignoreDeprecations: '6.0' }));
  test('node16, from CommonJS', () => compile({ module: 'node16', moduleResolution: 'node16' }));
  test('nodenext, from ESM', () =>
    compile({ module: 'nodenext', moduleResolution: 'nodenext' }, 'module'));
  test('bundler', () => compile({ module: 'esnext', moduleResolution: 'bundler' }, 'module'));
});

test('the example of a server is compiled and runs', async () => {
  const folder = join(program, 'server');
  mkdirSync(folder);
  for (const name of ['main.ts', 'server.ts']) {
    cpSync(join(root, 'examples/http-server', name), join(folder, name));
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  const module = ['--module', 'nodenext', '--moduleResolution', 'nodenext'];
  const files = ['--types', 'node', 'main.ts'];
  await succeed(folder, [node, tsc, '--strict', '--target', 'es2022', ...module, ...files]);
  writeTinyCheckpoint(join(folder, 'model'));
  writeTone(join(folder, 'tone.wav'), 1, 300);
  const args = [join(folder, 'main.js'), '--model', join(folder, 'model'), '--port', '0'];
  const server = spawn(node, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(server, 'exit');
  try {
    const [line] = (await once(createInterface(server.stdout), 'line')) as [string];
    const [address] = /http:\/\/127\.0\.0\.1:\d+$/.exec(line)!;
    const body = readFileSync(join(folder, 'tone.wav'));
    const response = await fetch(`${address}/translate?to=German`, { method: 'POST', body });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ text: expect.any(String), duration: 1 });
  } finally {
    server.kill('SIGTERM');
  }
  expect(await ended).toEqual([0, null]);
});
