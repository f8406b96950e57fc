import { join } from 'node:path';

export function loadAddon(): unknown {
  const target = { exports: {} };
  process.dlopen(
    target as never,
    process.env.PARE_ADDON ?? join(__dirname, '../../build/pare.node'),
  );
  return target.exports;
}
