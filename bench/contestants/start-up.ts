/** Loads the package and, where a folder is given, a checkpoint; prints a line and ends. */
import { loadModel } from '../../lib/qwen2-audio';
import { torchVersion } from '../../lib/torch';

const [dir] = process.argv.slice(2);
const model = dir === undefined ? undefined : loadModel(dir);
console.log(torchVersion(), model?.layers.length ?? '');
process.exit(0);
