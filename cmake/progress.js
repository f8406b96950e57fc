'use strict';

/**
 * One line a step on standard error: what is going on, how far it is, how long it took. On a
 * terminal the line is redrawn with the time left; in a log every quarter is a line of its own.
 */
class Step {
  /** @param {string} title what the step does, as "building the addon" */
  constructor(title, stream = process.stderr) {
    this.title = title;
    this.stream = stream;
    this.start = Date.now();
    this.quarter = 0;
    this.fraction = undefined;
    if (stream.isTTY) {
      this.draw();
      this.timer = setInterval(() => this.draw(), 500);
      this.timer.unref();
    } else {
      stream.write(`${title} …\n`);
    }
  }

  /** @param {number} fraction of the work that is done, 0 to 1 */
  update(fraction) {
    this.fraction = fraction;
    const quarter = Math.floor(fraction * 4);
    if (quarter <= this.quarter || this.stream.isTTY) return;
    this.quarter = quarter;
    if (quarter < 4) this.stream.write(`${this.title} … ${Math.floor(fraction * 100)} %\n`);
  }

  /** Closes the line with the time taken and a note. */
  done(note = '') {
    this.end(`${this.title}: ${note ? `${note}, ` : ''}${seconds(Date.now() - this.start)}\n`);
  }

  /** Closes the line of a step that failed; the error says why. */
  fail() {
    this.end(`${this.title}: failed after ${seconds(Date.now() - this.start)}\n`);
  }

  end(line) {
    clearInterval(this.timer);
    this.stream.write(this.stream.isTTY ? `\r\x1b[K${line}` : line);
  }

  draw() {
    const elapsed = Date.now() - this.start;
    let line = `${this.title} … ${seconds(elapsed)}`;
    if (this.fraction > 0.02) {
      const left = (elapsed / this.fraction) * (1 - this.fraction);
      line += `, ${Math.floor(this.fraction * 100)} %, ${seconds(left)} left`;
    }
    this.stream.write(`\r\x1b[K${line.slice(0, (this.stream.columns ?? 80) - 1)}`);
  }
}

/** Runs `action` with a {@link Step} that is closed whatever happens. */
async function step(title, action) {
  const line = new Step(title);
  try {
    const result = await action(line);
    line.done();
    return result;
  } catch (error) {
    line.fail();
    throw error;
  }
}

function seconds(milliseconds) {
  const whole = Math.round(milliseconds / 1000);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

module.exports = { Step, step };
