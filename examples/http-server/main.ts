/**
 * Starts the server: `node main.js --model DIR [--port 8080] [--host 127.0.0.1]`. Ends with SIGINT
 * or SIGTERM, after what is being translated, or ten seconds later without it.
 */
import type { AddressInfo } from 'node:net';
import { parseArgs } from 'node:util';
import { WorkerTranslator } from 'pare';
import { translationServer } from './server.js';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      model: { type: 'string' },
      port: { type: 'string', default: '8080' },
      host: { type: 'string', default: '127.0.0.1' },
    },
  });
  if (values.model === undefined) throw new Error('name a checkpoint: --model DIR or OWNER/NAME');
  // SpeechTranslator would serve as well, and hold the event loop while it computes a prompt.
  const translator = await WorkerTranslator.load(values.model);
  const server = translationServer(translator);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(Number(values.port), values.host, resolve);
  });
  const { address, port } = server.address() as AddressInfo;
  console.log(`listening on http://${address.includes(':') ? `[${address}]` : address}:${port}`);

  const end = (): void => {
    server.close(() => void translator.dispose());
    server.closeIdleConnections();
    setTimeout(() => server.closeAllConnections(), 10_000).unref();
  };
  process.once('SIGINT', end).once('SIGTERM', end);
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
