import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder, writeFiles, type Libtorch, type LibtorchModule } from './fakes';

interface Prebuilt {
  name: string;
  addon: string;
  libtorch: string;
  cuda: boolean;
}
const { platformPackage, findPrebuilt, placePrebuilt } = jest.requireActual<{
  platformPackage(cuda: boolean): { name: string; os: string[]; cpu: string[]; libc: string[] };
  findPrebuilt(wanted: { root: string; sources: string; cuda: boolean }): Prebuilt | undefined;
  placePrebuilt(prebuilt: Prebuilt, libtorch: Libtorch, addon: string): string | undefined;
}>('../../cmake/prebuilt.js');
const { findLibtorch } = jest.requireActual<LibtorchModule>('../../cmake/libtorch.js');

const ours = join(__dirname, '../../build/pare.node');
const libtorch = findLibtorch()!;
const { name } = platformPackage(libtorch.cuda);

let folder: string;
const before = process.env.PARE_PREBUILT;
let said: jest.SpyInstance;
beforeEach(() => {
  folder = temporaryFolder();
  delete process.env.PARE_PREBUILT;
  said = jest.spyOn(console, 'error').mockImplementation(() => undefined);
});
afterEach(() => {
  said.mockRestore();
  rmSync(folder, { recursive: true });
  if (before === undefined) delete process.env.PARE_PREBUILT;
  else process.env.PARE_PREBUILT = before;
});

function installPlatformPackage(sources: string): void {
  const pare = { libtorch: libtorch.version, cuda: libtorch.cuda, sources };
  writeFiles(folder, { [`node_modules/${name}/package.json`]: JSON.stringify({ name, pare }) });
}
const find = (): Prebuilt | undefined =>
  findPrebuilt({ root: folder, sources: 'a hash', cuda: libtorch.cuda });

test('its name says the system, and a CUDA build is another package', () => {
  expect(platformPackage(false)).toEqual({
    name: expect.stringMatching(new RegExp(`^@pare/addon-linux-${process.arch}-(gnu|musl)$`)),
    os: ['linux'],
    cpu: [process.arch],
    libc: [expect.stringMatching(/^(glibc|musl)$/)],
  });
  expect(platformPackage(true).name).toBe(`${platformPackage(false).name}-cuda`);
});

test('where it is not installed, there is none', () => expect(find()).toBeUndefined());

test('it is found where it is installed, if it was made of the same sources', () => {
  installPlatformPackage('another hash');
  expect(find()).toBeUndefined();
  expect(said).toHaveBeenCalledWith(
    `pare: passing over ${name}, which was built from other sources`,
  );
  installPlatformPackage('a hash');
  expect(find()).toEqual({
    name,
    addon: join(folder, 'node_modules', name, 'pare.node'),
    libtorch: libtorch.version,
    cuda: libtorch.cuda,
  });
  process.env.PARE_PREBUILT = '0';
  expect(find()).toBeUndefined();
});

describe('it is put in its place', () => {
  const place = (addon: string, built: Partial<Prebuilt> = {}): string | undefined => {
    const prebuilt = { name, addon, libtorch: libtorch.version, cuda: libtorch.cuda, ...built };
    return placePrebuilt(prebuilt, libtorch, join(folder, 'pare.node'));
  };

  test('with a link to libtorch', () => {
    expect(place(ours)).toBeUndefined();
    expect(readdirSync(folder).sort()).toEqual(['libtorch', 'pare.node']);
    expect(readlinkSync(join(folder, 'libtorch'))).toBe(join(libtorch.root, 'lib'));
    // And again, over what is there.
    expect(place(ours)).toBeUndefined();
  });

  test('unless it was built with another libtorch', () => {
    expect(place(ours, { libtorch: '2.12' })).toMatch(
      /^it was built with libtorch 2\.12 \(C.*\), and here is 2\.\d+ \(C/,
    );
    expect(place(ours, { cuda: !libtorch.cuda })).toMatch(/^it was built with libtorch/);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('unless it cannot be loaded here, whichever of its symbols is missing', () => {
    writeFileSync(join(folder, 'text'), 'no library');
    expect(place(join(folder, 'text'))).toMatch(/^it cannot be loaded: .*(file too short|ELF)/);
    writeFiles(folder, { 'lacking.c': 'int gone(void);\nint use(void) { return gone(); }\n' });
    const compile = ['-shared', '-fPIC', '-Wl,-z,lazy', 'lacking.c', '-o', 'lacking'];
    execFileSync(process.env.CXX ?? 'g++', ['-x', 'c', ...compile], { cwd: folder });
    expect(place(join(folder, 'lacking'))).toMatch(
      /^it cannot be loaded: .*undefined symbol: gone/,
    );
    expect(readdirSync(folder).sort()).toEqual(['lacking', 'lacking.c', 'text']);
  });
});
