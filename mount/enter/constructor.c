/*
 * The constructor: runs before the Go runtime, while the process has one thread, which setns(2) and unshare(2) demand
 * for user namespaces. It decides which of the cases in the package comment this process is, and calls the other files.
 * It never prints and never exits: Go tells what went wrong (Current), in one place and in one form.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "enter.h"

struct enter_state enter_state = { .conn = -1 };

int enter_fail(const char *step)
{
	if (!enter_state.error) {
		enter_state.error = errno ? errno : EIO;
		enter_state.step = step;
	}
	return -1;
}

/* FLATRUN_ENTER is a list of key or key=value, separated by ';', written by Go's Plan.encode. */
static void parse_plan(char *text, struct plan *p)
{
	char *save = NULL;

	for (char *word = strtok_r(text, ";", &save); word; word = strtok_r(NULL, ";", &save)) {
		char *value = strchr(word, '=');
		if (value)
			*value++ = 0;
		else
			value = "";
		if (!strcmp(word, "join"))
			p->join = 1;
		else if (!strcmp(word, "init"))
			p->init = 1;
		else if (!strcmp(word, "linger"))
			p->linger = 1;
		else if (!strcmp(word, "grace"))
			p->grace = 1;
		else if (!strcmp(word, "detach"))
			p->detach = 1, p->keep = atoi(value);
		else if (!strcmp(word, "fakeroot"))
			p->fakeroot = 1;
		else if (!strcmp(word, "new"))
			p->flags = strtoul(value, NULL, 0);
		else if (!strcmp(word, "process"))
			p->process = atoi(value);
		else if (!strcmp(word, "netns"))
			p->netns = value;
		else if (!strcmp(word, "uids"))
			p->uids = value;
		else if (!strcmp(word, "gids"))
			p->gids = value;
		else if (!strcmp(word, "daemon"))
			p->daemon = value;
		else if (!strcmp(word, "here"))
			p->here = atoi(value);
		else if (!strcmp(word, "conn"))
			enter_state.conn = atoi(value);
		else if (!strcmp(word, "asked"))
			enter_state.asked = 1;
		else if (!strcmp(word, "dir"))
			snprintf(enter_state.dir, sizeof enter_state.dir, "%s", value);
	}
}

/*
 * Becomes the session: everything that can fail is done before the fork, so that the exit status of the process that
 * Go waits for tells the errno. The session is not a child of what this program will become: a shell that waits for
 * all its children would wait for it.
 */
static void become_daemon(const struct plan *p, struct arguments *a)
{
	if (enter_own(p) || enter_keep_capabilities(1))
		_exit(enter_state.error & 0x7f);
	pid_t child = fork();
	if (child)
		_exit(child < 0 ? errno & 0x7f : 0);
	setsid();
	if (chdir("/")) { /* not worth failing for */ }
	/* Descriptor 3 reports readiness. What the caller left open above it (pipes, a batch system's sockets) is not ours to hold. */
	syscall(SYS_close_range, 4U, ~0U, 0U);
	execv(p->daemon, a->word);
	_exit(127);
}

static void carry_out(const struct plan *p, struct arguments *a)
{
	int failed;
	const char *base = a->count ? strrchr(a->word[0], '/') : NULL;

	if (a->count) /* execve of /proc/self/exe made it "exe", in ps and in the accounting of batch systems */
		prctl(PR_SET_NAME, base ? base + 1 : a->word[0]);
	if (p->daemon)
		become_daemon(p, a);
	if (p->netns && enter_network(p->netns))
		return;
	if (p->process) {
		failed = enter_process(p->process);
	} else if (p->here) {
		enter_state.kind = p->here;
		if (enter_state.conn >= 0)
			fcntl(enter_state.conn, F_SETFD, FD_CLOEXEC);
		failed = enter_below_session(p);
		enter_keep_capabilities(0);
	} else if (p->join) {
		failed = enter_session_join(enter_state.dir, a->image) || enter_below_session(p);
	} else {
		failed = enter_own(p);
	}
	if (!failed && (enter_state.made & CLONE_NEWPID) && (p->detach ? enter_fork_detached(p) : enter_fork(p)))
		enter_fail("fork");
}

__attribute__((constructor)) static void enter(void)
{
	static char text[sizeof enter_state.plan];
	struct arguments a = { 0 };
	struct plan p = { 0 };
	const char *given = getenv("FLATRUN_ENTER");

	enter_state.uid = geteuid();
	enter_state.gid = getegid();
	if (enter_read_arguments(&a))
		return;
	enter_state.image = a.image;
	enter_state.program = a.program;
	if (!given && (!a.container || !a.image))
		return;
	if (enter_session_dir(a.config, enter_state.dir, sizeof enter_state.dir))
		return;
	if (given) {
		strncpy(enter_state.plan, given, sizeof text - 1);
		memcpy(text, enter_state.plan, sizeof text);
		unsetenv("FLATRUN_ENTER");
		parse_plan(text, &p);
		carry_out(&p, &a);
	} else if (a.plan || !strncmp(a.image, "instance://", 11)) {
		return;
	} else if (enter_plain_directory(a.image) && enter_is_rank()) {
		if (!a.unknown && enter_session_join(enter_state.dir, NULL) == 0)
			enter_state.kind = ENTER_JOINED;
	} else if (enter_plain_directory(a.image)) {
		if (!a.unknown && enter_own(&p) == 0)
			enter_state.kind = ENTER_OWN;
	} else if (enter_session_join(enter_state.dir, a.image) == 0) {
		enter_state.kind = ENTER_JOINED;
	}
}
