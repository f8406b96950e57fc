/** A disk that fills up during a run: a line that says so, and the same command goes on. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { runRecipe } from '../../lib/pipeline';
import { digests, leftovers } from './folders';
import { tinyCorpus } from './tiny-corpus';
import { tinyRecipe, writeRecipe } from './tiny-recipe';

jest.setTimeout(1_200_000);

/** A file system of our own needs a name space of our own, which some systems do not give. */
function canMount(): boolean {
  const at = mkdtempSync(join(tmpdir(), 'pare-mount-'));
  try {
    execFileSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'tmpfs', at], { stdio: 'ignore' });
    return true;
  } catch {
    console.warn('full disk: not tested, since no file system can be mounted here');
    return false;
  } finally {
    rmSync(at, { recursive: true });
  }
}

/**
 * Runs the recipe on a disk of each size in turn, the last large enough; then lists the files and
 * copies the student out. Each line is what child.js says.
 */
const script = `
set -e
run=$1 out=$2 recipe=$3 child=$4 node=$5
shift 5
mount -t tmpfs -o size=$1 tmpfs "$run"
for size in "$@"; do
  mount -o remount,size=$size "$run"
  "$node" "$child" "$recipe"
  find "$run" -name '*.tmp-*' | sed 's/^/left behind: /'
done
cp -r "$run/." "$out"
`;

(canMount() ? test : test.skip)('goes on where the disk was full', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pare-full-'));
  try {
    tinyCorpus(join(dir, 'corpus'));
    const [run, out, whole] = [join(dir, 'run'), join(dir, 'out'), join(dir, 'whole')];
    for (const folder of [run, out]) mkdirSync(folder);
    const recipe = (output: string, name: string): string => {
      const settings = tinyRecipe(join(dir, 'corpus'), output);
      // The teacher's state is the largest file; written once, it leaves room for another one.
      settings.teacher.train.saveEvery = 100;
      return writeRecipe(dir, settings, name);
    };
    const file = join(dir, 'script.sh');
    writeFileSync(file, script);
    const child = join(__dirname, 'child.js');
    const sizes = ['16k', '600k', '1700k', '64m'];
    const given = [file, run, out, recipe(run, 'run.yaml'), child, process.execPath, ...sizes];
    const { stdout } = await promisify(execFile)('unshare', ['-rm', 'sh', ...given]);
    const said = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { error?: string; message?: string; student?: string });
    expect(said).toHaveLength(sizes.length);
    expect(said.pop()).toEqual({
      student: join(run, 'student', 'model'),
      peak: expect.any(Number) as number,
    });
    for (const { error, message } of said) {
      expect(error).toBe('FileError');
      expect(message).toMatch(
        /^cannot (write|make) .*: the disk is full; free some space and run the same command again$/,
      );
    }
    const [tokenizer, teacher, healing] = said.map(({ message }) => message);
    expect(tokenizer).toContain('/tokenizer');
    expect(teacher).toMatch(
      /\.teacher-\w+\.work\/checkpoints\/checkpoint-\d+\S*\/state\.safetensors/,
    );
    expect(healing).toMatch(
      /\.healed-\w+\.work\/checkpoints\/checkpoint-\d+\S*\/state\.safetensors/,
    );
    const { student } = await runRecipe(recipe(whole, 'whole.yaml'));
    expect(digests(join(out, 'student', 'model'))).toEqual(digests(student));
    expect(leftovers(out)).toEqual([]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
