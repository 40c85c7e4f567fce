/*
 * Process 1 of a container in the background. It is all that stays behind: a fork of this program from before the Go
 * runtime, a few kB. It reaps, passes signals on to the process group of the program that was started in it, and ends
 * with that program, except that a program which ended well may have left services behind: then it stays until it is
 * told to end. This is how Apptainer's instances behave.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "enter.h"

static void leave(int status, int grace)
{
	if (grace)
		enter_end_others();
	_exit(status);
}

/* told is the signal to end that was passed on, 0 if none was: a program that ends well after it has left nothing on purpose. */
static void reap_all(pid_t program, int told, int grace)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != program)
			continue;
		if (WIFSIGNALED(status))
			leave(128 + WTERMSIG(status), grace);
		if (WEXITSTATUS(status))
			leave(WEXITSTATUS(status), grace);
	}
	if (told && kill(-program, 0) && errno == ESRCH)
		leave(128 + told, grace);
}

/* The lock on the instance's state, held by descriptor keep, lives exactly as long as this process. */
static void serve(pid_t program, int keep, int grace, const sigset_t *all)
{
	prctl(PR_SET_NAME, "flatrun-init");
	if (chdir("/")) { /* else it would keep the caller's directory busy */ }
	if (keep > 0)
		syscall(SYS_close_range, 0U, (unsigned)keep - 1, 0U);
	syscall(SYS_close_range, (unsigned)keep + 1, ~0U, 0U);
	for (int told = 0;;) {
		int sig = sigwaitinfo(all, NULL);
		if (sig == SIGINT || sig == SIGTERM || sig == SIGQUIT || sig == SIGHUP)
			told = sig;
		if (sig == SIGCHLD)
			reap_all(program, told, grace);
		else if (sig > 0 && kill(-program, sig) && errno == ESRCH)
			leave(128 + sig, grace); /* nobody is left to be told */
	}
}

int enter_fork_detached(const struct plan *p)
{
	sigset_t all, before;
	struct sigaction dfl = { .sa_handler = SIG_DFL }, chld;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	sigaction(SIGCHLD, &dfl, &chld);
	pid_t init = fork();
	if (init > 0)
		_exit(0);
	pid_t program = init < 0 ? -1 : fork();
	if (program > 0) {
		setpgid(program, program);
		serve(program, p->keep, p->grace, &all);
	}
	int error = errno;
	if (program == 0)
		setpgid(0, 0);
	sigaction(SIGCHLD, &chld, NULL);
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return program < 0 ? -1 : 0;
}

/*
 * Process 1 gives all others of its namespace ten seconds to end: who serves a file system has to write what it holds.
 * Some may be children of a process outside, which reaps them.
 */
void enter_end_others(void)
{
	struct timespec tenth = { .tv_nsec = 100 * 1000 * 1000 };
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	kill(-1, SIGTERM);
	for (int i = 0; i < 100; i++) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (kill(-1, 0))
			return;
		sigtimedwait(&chld, NULL, &tenth);
	}
}

/* Process 1 of a PID namespace that several containers share: it stays for the last of them, whoever that is. */
void enter_linger(void)
{
	struct timespec second = { .tv_sec = 1 };
	sigset_t chld;

	prctl(PR_SET_NAME, "flatrun-init");
	if (chdir("/")) { /* as above */ }
	syscall(SYS_close_range, 0U, ~0U, 0U);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	do {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		sigtimedwait(&chld, NULL, &second);
	} while (kill(-1, 0) == 0); /* to process 1, -1 is everybody else in its namespace */
	_exit(0);
}
