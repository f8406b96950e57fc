'use strict';
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { guard } = require('./run.js');

const POLL_MS = 200;
// On a shared file system a holder on another host cannot be asked; it touches the file instead.
const HEARTBEAT_MS = 10_000;
const SILENT_MS = 120_000;

/**
 * Runs `action` while holding the lock file `file`, which names its holder. Waits while the holder
 * lives; takes the lock over from one that died.
 * @param {string} file
 * @param {() => Promise<any>} action
 * @param {(holder: {pid: number, host: string}) => void} onWait called once if it has to wait
 */
async function withLock(file, action, onWait = () => {}) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const mine = JSON.stringify({
    pid: process.pid,
    started: startTime('self'),
    host: os.hostname(),
  });
  for (let waited = false; !tryTake(file, mine); waited = true) {
    const holder = read(file);
    if (holder && !waited && alive(holder, file)) onWait(holder.who);
    if (holder && !alive(holder, file)) remove(file, holder.text);
    else await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  const release = () => remove(file, mine);
  guard();
  process.on('exit', release);
  const heartbeat = setInterval(() => touch(file), HEARTBEAT_MS);
  heartbeat.unref();
  try {
    return await action();
  } finally {
    clearInterval(heartbeat);
    process.off('exit', release);
    release();
  }
}

/** Takes the lock if nobody has it. A link, unlike an open, never shows a half written file. */
function tryTake(file, mine) {
  const own = `${file}.${process.pid}`;
  fs.writeFileSync(own, mine);
  try {
    fs.linkSync(own, file);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  } finally {
    fs.rmSync(own, { force: true });
  }
}

function read(file) {
  try {
    const text = fs.readFileSync(file, 'utf8');
    try {
      return { text, who: JSON.parse(text) };
    } catch {
      return { text, who: {} };
    }
  } catch {
    return undefined;
  }
}

function alive({ who }, file) {
  if (who.host !== os.hostname()) {
    try {
      return Date.now() - fs.statSync(file).mtimeMs < SILENT_MS;
    } catch {
      return false;
    }
  }
  try {
    process.kill(who.pid, 0);
  } catch (error) {
    if (error.code === 'ESRCH') return false;
  }
  // The number may have been given to another process since.
  return startTime(who.pid) === who.started;
}

/** When a process began, in the kernel's ticks; undefined where /proc is missing. */
function startTime(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

/** Removes the lock only if it is still the one that `text` describes. */
function remove(file, text) {
  const aside = `${file}.${process.pid}.old`;
  try {
    fs.renameSync(file, aside);
    // Somebody took the lock between our reading and our renaming: give it back.
    if (fs.readFileSync(aside, 'utf8') !== text) fs.linkSync(aside, file);
  } catch {
    // Removed by another who waits.
  }
  fs.rmSync(aside, { force: true });
}

function touch(file) {
  try {
    fs.utimesSync(file, new Date(), new Date());
  } catch {
    // The folder was removed under us; there is nothing left to guard.
  }
}

module.exports = { withLock };
