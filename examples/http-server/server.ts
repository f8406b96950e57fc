/**
 * Speech translation over HTTP. One translation runs at a time; uploads, waiting, and clients that
 * go away cost the event loop nothing, if the translator has a thread of its own.
 *
 *     POST /translate?to=German     body: a recording in any format
 *       Accept: application/json    {"text", "duration", "seconds", "segments"}, the default
 *       Accept: text/event-stream   events `text` ({"text"}: a piece of it, as it is made), or for
 *                                   what is longer than the model's window `segment` ({"start",
 *                                   "end", "text"}); then `done` ({"text"}), or `error` ({"error"})
 *     GET /health                   {"waiting"}: how many uploads wait
 *
 * Errors are {"error"}, one line: 400 no recording or no language, 404, 405, 413 too large, 503 too
 * many wait.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { SpeechTranslator } from 'pare';
import { AudioError, Segmenter, streamAudio } from 'pare/audio';
import {
  AudioTooLongError,
  GenerationError,
  ProcessorError,
  translationInstruction,
} from 'pare/qwen2-audio';

/** A `SpeechTranslator`, or a `WorkerTranslator`, for which the event loop never waits. */
export type Translator = Pick<SpeechTranslator, 'translate' | 'stream'>;

export interface ServerOptions {
  /** Bytes of an upload at most; 32 MiB by default. */
  maxBytes?: number;
  /** Uploads that wait for their turn at most; 8 by default. */
  maxWaiting?: number;
  /** Tokens of a translation, or of one of its segments, at most; 256 by default. */
  maxNewTokens?: number;
  /** Hears of failures that are not the client's, of which it is told nothing. */
  onError?: (error: unknown) => void;
}

/** What the client is told. */
class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly headers: Record<string, string> = {},
  ) {
    super(message);
  }
}

/** The server, which does not listen yet. Closing it does not dispose the translator. */
export function translationServer(translator: Translator, options: ServerOptions = {}): Server {
  const { maxBytes = 32 * 2 ** 20, maxWaiting = 8, maxNewTokens = 256 } = options;
  const { onError = (error) => console.error(error) } = options;
  const queue = new Queue(maxWaiting);

  async function answer(
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const address = [request.url ?? '', 'http://localhost'] as const;
    if (!URL.canParse(...address)) throw new HttpError(400, 'this is no address of a page');
    const url = new URL(...address);
    if (url.pathname === '/health') return sendJson(response, 200, { waiting: queue.waiting });
    if (url.pathname !== '/translate') throw new HttpError(404, 'POST /translate?to=German');
    if (request.method !== 'POST') {
      throw new HttpError(405, 'POST the recording as the body', { allow: 'POST' });
    }
    const to = url.searchParams.get('to');
    if (!to) throw new HttpError(400, 'the target language is missing: POST /translate?to=German');
    translationInstruction(to); // throws where nobody knows the language
    queue.checkRoom();
    const audio = await readBody(request, maxBytes);
    const translation = { to, maxNewTokens, signal };
    const wantsEvents = request.headers.accept?.includes('text/event-stream') ?? false;
    await queue.run(signal, async () => {
      if (wantsEvents) return translateToEvents(translator, audio, translation, response);
      const { text, duration, seconds, segments } = await translator.translate(audio, translation);
      const timed = segments.map(({ start, end, text }) => ({ start, end, text }));
      sendJson(response, 200, { text, duration, seconds, segments: timed });
    });
  }

  const server = createServer((request, response) => {
    const gone = new AbortController();
    response.once('close', () => response.writableFinished || gone.abort());
    answer(request, response, gone.signal).catch((error: unknown) => {
      if (gone.signal.aborted) return;
      const { status, message, headers } = toHttpError(error);
      if (status === 500) onError(error);
      if (response.headersSent) {
        sendEvent(response, 'error', { error: message });
        response.end();
        return;
      }
      // What is left of the upload is thrown away, or the client would not come to read the answer.
      request.resume();
      sendJson(response, status, { error: message }, headers);
    });
  });
  server.requestTimeout = 60_000; // for the whole upload
  server.maxConnections = 4 * (maxWaiting + 1);
  return server;
}

type Request = { to: string; maxNewTokens: number; signal: AbortSignal };

async function translateToEvents(
  translator: Translator,
  audio: Uint8Array,
  request: Request,
  response: ServerResponse,
): Promise<void> {
  const heard = await hearWhole(audio);
  const text = heard.silent ? '' : await streamText(translator, heard.samples, request, response);
  if (text !== undefined) {
    sendEvent(response, 'done', { text });
  } else {
    const onSegment = ({ start, end, text }: { start: number; end: number; text: string }): void =>
      sendEvent(response, 'segment', { start, end, text });
    const translation = await translator.translate(audio, { ...request, onSegment, batchSize: 1 });
    sendEvent(response, 'done', { text: translation.text });
  }
  response.end();
}

/** Sends text as it is made, and returns it all; undefined for what is too long for that. */
async function streamText(
  translator: Translator,
  samples: Float32Array | undefined,
  request: Request,
  response: ServerResponse,
): Promise<string | undefined> {
  if (samples === undefined) return undefined;
  try {
    const pieces = translator.stream(samples, request);
    for (;;) {
      const { done, value } = await pieces.next();
      if (done) return value.text;
      sendEvent(response, 'text', { text: value });
    }
  } catch (error) {
    if (error instanceof AudioTooLongError) return undefined;
    throw error;
  }
}

/** The longest that Qwen2-Audio hears at once, in samples; a smaller model says that it is too long. */
const windowSamples = 30 * 16000;

/** The samples of a recording unless it is longer than the window, and whether nobody speaks. */
async function hearWhole(audio: Uint8Array): Promise<{ samples?: Float32Array; silent: boolean }> {
  const samples = new Float32Array(windowSamples);
  const segmenter = new Segmenter();
  const segments = [];
  let length = 0;
  for await (const piece of streamAudio(audio)) {
    if (length + piece.length > windowSamples) return { silent: false };
    samples.set(piece, length);
    length += piece.length;
    segments.push(...segmenter.push(piece));
  }
  segments.push(...segmenter.end());
  return { samples: samples.slice(0, length), silent: segments.every(({ silent }) => silent) };
}

async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const tooLarge = new HttpError(413, `the recording is larger than ${maxBytes} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge;
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Not `for await`, which would destroy the socket, and with it the answer, when it is left.
  await new Promise<void>((resolve, reject) => {
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxBytes) reject(tooLarge);
      else chunks.push(chunk);
    });
    request.once('end', resolve).once('error', reject);
    request.once('close', () => reject(new Error('the client is gone')));
  });
  return Buffer.concat(chunks);
}

/** Lets one in at a time, in the order in which they came. */
class Queue {
  readonly #max: number;
  readonly #turns: (() => void)[] = [];
  #busy = false;

  constructor(max: number) {
    this.#max = max;
  }

  get waiting(): number {
    return this.#turns.length;
  }

  checkRoom(): void {
    if (this.waiting < this.#max || !this.#busy) return;
    throw new HttpError(503, 'too many recordings wait; try again later', { 'retry-after': '10' });
  }

  /** @throws HttpError if too many wait; the signal's reason, if it is aborted while waiting */
  async run(signal: AbortSignal, task: () => Promise<void>): Promise<void> {
    this.checkRoom();
    if (this.#busy) await this.#turn(signal);
    this.#busy = true;
    try {
      signal.throwIfAborted();
      await task();
    } finally {
      this.#busy = false;
      this.#turns.shift()?.();
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const take = (): void => {
        this.#busy = true; // at once: whoever comes now comes after
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.#turns.splice(this.#turns.indexOf(take), 1);
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', leave, { once: true });
      this.#turns.push(take);
    });
  }
}

function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  const isTheirs = [AudioError, ProcessorError, GenerationError].some(
    (type) => error instanceof type,
  );
  if (isTheirs) return new HttpError(400, (error as Error).message);
  return new HttpError(500, 'the translation failed');
}

function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(`${JSON.stringify(body)}\n`);
}

/** The status goes out with the first event: until then an error has one of its own. */
function sendEvent(response: ServerResponse, event: string, data: unknown): void {
  if (!response.headersSent) {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  }
  response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}
