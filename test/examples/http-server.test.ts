/** examples/http-server, in this process; test/package runs its program. */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { translationServer, type Translator } from '../../examples/http-server/server';
import { SpeechTranslator, WorkerTranslator } from '../../lib';
import { tinySeconds, writeTinyCheckpoint, writeTone } from '../tiny-checkpoint';

const mp3 = join(__dirname, '../audio/fixtures/tones.mp3');

let folder: string;
let translator: WorkerTranslator;
let expected: SpeechTranslator;
const servers: Server[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-http-'));
  writeTinyCheckpoint(join(folder, 'model'));
  translator = await WorkerTranslator.load(join(folder, 'model'));
  expected = await SpeechTranslator.load(join(folder, 'model'));
});
afterEach(async () => {
  for (const server of servers.splice(0)) {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }
});
afterAll(async () => {
  await translator.dispose();
  expected.dispose();
  rmSync(folder, { recursive: true });
});

/** @returns the address of a server on a free port */
async function listen(...args: Parameters<typeof translationServer>): Promise<string> {
  const server = translationServer(...args);
  servers.push(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function tone(seconds: number, pitch = 300): Buffer {
  const file = join(folder, 'tone.wav');
  writeTone(file, seconds, pitch);
  return readFileSync(file);
}

interface Upload {
  to?: string;
  events?: boolean;
  signal?: AbortSignal;
}

function upload(
  address: string,
  audio: Uint8Array,
  { to = 'German', events = false, signal }: Upload = {},
): Promise<Response> {
  return fetch(`${address}/translate?to=${to}`, {
    method: 'POST',
    body: new Uint8Array(audio),
    headers: events ? { accept: 'text/event-stream' } : {},
    signal,
  });
}

async function eventsOf(response: Response): Promise<[string, { text: string; start?: number }][]> {
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  const blocks = (await response.text()).trim().split('\n\n');
  return blocks.map((block) => {
    const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(block)!;
    return [event!, JSON.parse(data!) as { text: string }];
  });
}

async function errorOf(response: Response, status: number): Promise<string> {
  const { error } = (await response.json()) as { error: string };
  expect({ status: response.status, error }).toEqual({ status, error: expect.any(String) });
  expect(error).toMatch(/^[^\n]+$/);
  return error;
}

const options = {
  maxNewTokens: 6,
  onError: (error: unknown): void => {
    throw error;
  },
};

describe('with a model', () => {
  test('a recording of any format is translated', async () => {
    const address = await listen(translator, options);
    for (const audio of [tone(1), readFileSync(mp3)]) {
      const response = await upload(address, audio);
      const { text, segments, ...rest } = (await response.json()) as Record<string, unknown>;
      const request = { to: 'German', maxNewTokens: 6 };
      const right = await expected.translate(audio, request);
      expect(response.status).toBe(200);
      expect(text).toBe(right.text);
      const timed = right.segments.map(({ start, end, text }) => ({ start, end, text }));
      expect(segments).toEqual(timed);
      expect(rest).toEqual({ duration: right.duration, seconds: expect.any(Number) });
    }
  });

  test('events are the text as it is made', async () => {
    const address = await listen(translator, { ...options, maxNewTokens: 12 });
    const audio = tone(1.5, 200);
    const events = await eventsOf(await upload(address, audio, { events: true }));
    const right = await expected.translate(audio, { to: 'German', maxNewTokens: 12 });
    expect(events.at(-1)).toEqual(['done', { text: right.text }]);
    const pieces = events.slice(0, -1);
    expect(pieces.length).toBeGreaterThan(1);
    expect(new Set(pieces.map(([event]) => event))).toEqual(new Set(['text']));
    expect(pieces.map(([, { text }]) => text).join('')).toBe(right.text);
  });

  test('of what is longer than the window, they are its segments', async () => {
    const address = await listen(translator, options);
    const audio = tone(2.5 * tinySeconds);
    const events = await eventsOf(await upload(address, audio, { events: true }));
    const right = await expected.translate(audio, { to: 'German', maxNewTokens: 6 });
    expect(events.at(-1)).toEqual(['done', { text: right.text }]);
    const segments = events.slice(0, -1);
    expect(segments.length).toBeGreaterThan(1);
    expect(segments).toEqual(
      right.segments.map(({ start, end, text }) => ['segment', { start, end, text }]),
    );
  });

  test('of silence there is no text', async () => {
    const silence = tone(1).fill(0, 44);
    const address = await listen(translator, options);
    const events = await eventsOf(await upload(address, silence, { events: true }));
    expect(events).toEqual([['done', { text: '' }]]);
  });

  test('what is no recording is refused in one line, as events or not', async () => {
    const address = await listen(translator, options);
    const cut = tone(1).subarray(0, 5000);
    for (const events of [false, true]) {
      for (const garbage of [Buffer.from('no audio at all'), Buffer.alloc(0), cut]) {
        await errorOf(await upload(address, garbage, { events }), 400);
      }
    }
    // And the next is served.
    expect((await upload(address, tone(1))).status).toBe(200);
  });

  test('a wrong request is refused before its body is read', async () => {
    const address = await listen(translator, options);
    expect(await errorOf(await upload(address, tone(1), { to: '' }), 400)).toMatch(/language/);
    expect(await errorOf(await upload(address, tone(1), { to: 'Klingon' }), 400)).toMatch(
      /Klingon/,
    );
    await errorOf(await fetch(`${address}/`), 404);
    const get = await fetch(`${address}/translate?to=German`);
    expect(get.headers.get('allow')).toBe('POST');
    await errorOf(get, 405);
    const [response] = (await once(
      httpRequest({ port: new URL(address).port, path: '//' }).end(),
      'response',
    )) as [IncomingMessage];
    response.resume();
    expect(response.statusCode).toBe(400);
  });

  test('a recording that is too large is refused, whether it says its length or not', async () => {
    const address = await listen(translator, { ...options, maxBytes: 100_000 });
    const large = Buffer.alloc(3_000_000);
    expect(await errorOf(await upload(address, large), 413)).toMatch(/100000 bytes/);
    const body = new ReadableStream({
      start(controller) {
        for (let at = 0; at < large.length; at += 50_000) {
          controller.enqueue(new Uint8Array(large.subarray(at, at + 50_000)));
        }
        controller.close();
      },
    });
    const init: RequestInit & { duplex: 'half' } = { method: 'POST', body, duplex: 'half' };
    await errorOf(await fetch(`${address}/translate?to=de`, init), 413);
  });

  test('a client that goes away ends its translation, and the next is served', async () => {
    const address = await listen(translator, { ...options, maxNewTokens: 100_000 });
    const leaving = new AbortController();
    const response = await upload(address, tone(1), { events: true, signal: leaving.signal });
    const reader = response.body!.getReader();
    await reader.read();
    leaving.abort();
    await expect(reader.read()).rejects.toThrow(/aborted/);
    const { waiting } = (await (await fetch(`${address}/health`)).json()) as { waiting: number };
    expect(waiting).toBe(0);
    const garbage = await upload(address, Buffer.from('no audio'));
    await errorOf(garbage, 400);
  });
});

describe('the queue', () => {
  /** Translates when it is told to. */
  function heldTranslator(): Translator & { starts: string[]; finish: (() => void)[] } {
    const starts: string[] = [];
    const finish: (() => void)[] = [];
    const text = '…';
    return {
      starts,
      finish,
      translate: (audio, { signal }) =>
        new Promise((resolve, reject) => {
          starts.push(Buffer.from(audio as Uint8Array).toString());
          signal!.addEventListener('abort', () => {
            starts.push('aborted');
            reject(signal!.reason as Error);
          });
          const whole = { duration: 1, silent: false, segments: [], tokenIds: [], seconds: 1 };
          finish.push(() => resolve({ text, ...whole }));
        }),
      stream: () => {
        throw new Error('not asked for');
      },
    };
  }

  async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
    while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  const waiting = async (address: string): Promise<number> =>
    ((await (await fetch(`${address}/health`)).json()) as { waiting: number }).waiting;

  test('lets one in at a time, in their order, and no more wait than it may hold', async () => {
    const held = heldTranslator();
    const address = await listen(held, { ...options, maxWaiting: 2 });
    const responses: Promise<Response>[] = [];
    for (const [index, name] of ['a', 'b', 'c'].entries()) {
      responses.push(upload(address, Buffer.from(name)));
      await until(async () => held.starts.length === 1 && (await waiting(address)) === index);
    }
    const full = await upload(address, Buffer.from('d'));
    expect(full.headers.get('retry-after')).toBe('10');
    await errorOf(full, 503);
    for (let done = 0; done < 3; done++) {
      await until(() => held.finish.length === done + 1);
      expect(held.starts).toEqual(['a', 'b', 'c'].slice(0, done + 1));
      held.finish[done]!();
      expect((await responses[done]!).status).toBe(200);
    }
  });

  test('a client that goes away gives its place up, waiting or translated', async () => {
    const held = heldTranslator();
    const address = await listen(held, { ...options, maxWaiting: 1 });
    const leaving = new AbortController();
    const first = upload(address, Buffer.from('a'), { signal: leaving.signal });
    await until(() => held.starts.length === 1);
    const second = upload(address, Buffer.from('b'), { signal: leaving.signal });
    await until(async () => (await waiting(address)) === 1);
    leaving.abort();
    await Promise.all([first, second].map((left) => expect(left).rejects.toThrow(/aborted/)));
    await until(async () => held.starts.length === 2 && (await waiting(address)) === 0);
    const third = upload(address, Buffer.from('c'));
    await until(() => held.finish.length === 2);
    held.finish[1]!();
    expect((await third).status).toBe(200);
    expect(held.starts).toEqual(['a', 'aborted', 'c']);
  });

  test('what is not the fault of the client is told to the program, not to the client', async () => {
    const failing: Translator = {
      translate: () => Promise.reject(new Error('/secret/model.safetensors: gone')),
      stream: () => {
        throw new Error('not asked for');
      },
    };
    const heard: unknown[] = [];
    const address = await listen(failing, { onError: (error) => heard.push(error) });
    const response = await upload(address, Buffer.from('a'));
    expect(await errorOf(response, 500)).toBe('the translation failed');
    expect(heard).toEqual([new Error('/secret/model.safetensors: gone')]);
  });
});
