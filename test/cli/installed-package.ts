/**
 * The package as it is when installed: lib/ compiled to dist/ in a folder of its own, which has the
 * rest of the checkout by links. Independent of whether dist/ of the checkout is there or current.
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { transformFileSync } from '@swc/core';

const root = join(__dirname, '../..');

/** @returns the package's folder, which the caller removes */
export function installPackage(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pare-package-'));
  for (const file of readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' })) {
    const source = join(root, 'lib', file);
    const target = join(folder, 'dist', file.replace(/\.ts$/, '.js'));
    mkdirSync(dirname(target), { recursive: true });
    if (file.endsWith('.ts')) {
      const { code } = transformFileSync(source, {
        swcrc: false,
        module: { type: 'commonjs' },
        jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
      });
      writeFileSync(target, code);
    } else if (/\.\w+$/.test(file)) {
      cpSync(source, target);
    }
  }
  for (const name of ['package.json', 'bin']) {
    cpSync(join(root, name), join(folder, name), { recursive: true });
  }
  for (const name of ['build', 'cmake', 'node_modules']) {
    symlinkSync(join(root, name), join(folder, name));
  }
  return folder;
}
