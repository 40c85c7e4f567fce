// What the caller has set for signals, taken down before the Go runtime puts its own handlers in place.

#include <signal.h>

unsigned long long flatrun_signals_ignored; // bit n-1: signal n
unsigned long long flatrun_signals_blocked;

/* Before the constructor of mount/enter, which may fork and block signals. */
__attribute__((constructor(101))) static void take_down(void)
{
	sigset_t blocked;
	sigemptyset(&blocked);
	sigprocmask(SIG_BLOCK, 0, &blocked);
	for (int n = 1; n <= 64; n++) {
		struct sigaction a;
		if (sigaction(n, 0, &a) == 0 && a.sa_handler == SIG_IGN)
			flatrun_signals_ignored |= 1ULL << (n - 1);
		if (sigismember(&blocked, n) == 1)
			flatrun_signals_blocked |= 1ULL << (n - 1);
	}
}
