import { MessageChannel } from 'node:worker_threads';
import { serve } from '../../lib/worker';

test('an error that cannot be cloned is an answer, too', async () => {
  const { port1, port2 } = new MessageChannel();
  const odd = Object.assign(new TypeError('odd'), { cause: { release: () => undefined } });
  serve(port1, () => ({
    fail: () => {
      throw odd;
    },
    give: () => odd.cause,
  }));
  let calls = 0;
  const ask = (method: string): Promise<unknown> => {
    const answer = new Promise((resolve) => port2.once('message', resolve));
    port2.postMessage({ call: calls++, type: 'call', method, args: [] });
    return answer;
  };
  try {
    expect(await ask('create')).toMatchObject({ call: 0, type: 'value', done: true });
    expect(await ask('fail')).toMatchObject({
      ...{ call: 1, type: 'error', error: { message: 'TypeError: odd' } },
    });
    expect(await ask('give')).toMatchObject({ call: 2, type: 'error' });
  } finally {
    port1.close();
  }
});
