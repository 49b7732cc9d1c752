import { libc } from "./libc.ts";

const pthreadSigmask = libc("int pthread_sigmask(int how, const void *set, void *old)");
const sigfillset = libc("int sigfillset(void *set)");

const SIG_BLOCK = 0;
const SIG_SETMASK = 2;
/** sigset_t. */
const SET_SIZE = 128;

const all = Buffer.alloc(SET_SIZE);
sigfillset(all);

/** Runs `act` with this thread undisturbed by signals: they come to another thread, or afterwards. */
export function withoutSignals<T>(act: () => T): T {
  const before = Buffer.alloc(SET_SIZE);
  pthreadSigmask(SIG_BLOCK, all, before);
  try {
    return act();
  } finally {
    pthreadSigmask(SIG_SETMASK, before, null);
  }
}
