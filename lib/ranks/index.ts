/** Several processes that follow one program together: one leads and writes, all work. */
export { endWithLauncher, launchRanks, tellLauncher, type LaunchOptions } from './launch';
export { leaderFirst, leads, Ranks, type JoinOptions } from './ranks';
export { shareWork, type ShareOptions } from './share-work';
