/*
 * A new PID namespace begins with the next child, so the process that made it stays outside as the parent. It is what
 * the caller sees: signals sent to it go on to the child, a stopped child stops it, and it ends as the child ended.
 * All three stay in one process group, so that the terminal's own signals reach the child without help.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enter.h"

/* Signals that are waited for. Those that stop a process keep their meaning (the terminal sends them to the whole
 * group), and so do faults, which are ours when they come. */
static void waited_for(sigset_t *set)
{
	static const int not[] = { SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT };

	sigfillset(set);
	for (size_t i = 0; i < sizeof not / sizeof *not; i++)
		sigdelset(set, not[i]);
}

/* Ends as the child ended: by the same signal, so that the caller's shell sees it, else with the same status. With an init
 * a signal becomes a status, as Apptainer's init has it, which is all that it can tell: callers know 137 from a container
 * with --pid, and HTCondor's policies a job killed in one. */
static void end_like(int status, int init)
{
	if (WIFSIGNALED(status) && init)
		_exit(128 + WTERMSIG(status));
	if (WIFSIGNALED(status)) {
		struct rlimit none = { 0, 0 };
		sigset_t all;

		setrlimit(RLIMIT_CORE, &none); /* the child's core is the one that tells something */
		signal(WTERMSIG(status), SIG_DFL);
		sigfillset(&all);
		sigprocmask(SIG_UNBLOCK, &all, NULL);
		raise(WTERMSIG(status));
		_exit(128 + WTERMSIG(status));
	}
	_exit(WEXITSTATUS(status));
}

/* Ends the namespace with its process 1, and reaps what that waits for. */
static void end_namespace(pid_t init, int grace)
{
	pid_t pid;

	kill(init, grace ? SIGTERM : SIGKILL);
	while ((pid = waitpid(grace ? -1 : init, NULL, 0)) != init && (pid > 0 || errno == EINTR))
		;
}

/* Deals with what the children did; the program's end is ours. */
static void reap(pid_t child, pid_t init, int lingers, int grace)
{
	int status;

	while (waitpid(child, &status, WNOHANG | WUNTRACED) == child) {
		if (!WIFSTOPPED(status)) {
			if (init > 0 && !lingers)
				end_namespace(init, grace);
			end_like(status, init > 0);
		}
		/* The caller's shell must see a stop. It continues us, and SIGCONT is passed on. */
		raise(SIGSTOP);
	}
}

static void watch(pid_t child, pid_t init, int lingers, int grace, const sigset_t *set)
{
	siginfo_t info;

	syscall(SYS_close_range, 3U, ~0U, 0U); /* a pipe must end when the program closes it */
	reap(child, init, lingers, grace);
	for (;;) {
		int sig = sigwaitinfo(set, &info);
		if (sig == SIGCHLD)
			reap(child, init, lingers, grace);
		else if (sig > 0 && info.si_code != SI_KERNEL)
			kill(child, sig); /* SI_KERNEL: from the terminal, which sent it to the child as well */
	}
}

/* Process 1: inherits orphans and reaps them. The kernel ignores every signal for it that has no handler. */
static void run_init(int grace)
{
	siginfo_t info;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "flatrun-init");
	syscall(SYS_close_range, 0U, ~0U, 0U);
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	if (grace)
		sigaddset(&chld, SIGTERM);
	for (;;) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (sigwaitinfo(&chld, &info) == SIGTERM && info.si_pid == 0) { /* from outside: the parent */
			enter_end_others();
			_exit(0);
		}
	}
}

int enter_fork(const struct plan *p)
{
	sigset_t set, before;
	struct sigaction dfl = { .sa_handler = SIG_DFL }, chld;
	pid_t init = 0;

	waited_for(&set);
	sigprocmask(SIG_BLOCK, &set, &before);
	sigaction(SIGCHLD, &dfl, &chld); /* with SIG_IGN inherited, no status would be kept for us */
	if (p->init && (init = fork()) == 0) {
		if (p->linger)
			enter_linger();
		run_init(p->grace);
	}
	pid_t child = init < 0 ? -1 : fork();
	if (child > 0)
		watch(child, init, p->linger, p->grace, &set);
	int error = errno;
	/* Where no init ends the namespace with its parent, the program must end itself. The setting is the main thread's. */
	if (child == 0 && (!init || p->linger))
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGCHLD, &chld, NULL);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (child < 0) {
		if (init > 0)
			kill(init, SIGKILL);
		errno = error;
		return -1;
	}
	return 0;
}
