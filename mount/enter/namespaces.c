/* Making user namespaces with their id maps, and entering those of another process. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enter.h"

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	ssize_t n = write(fd, text, strlen(text));
	int error = errno;
	close(fd);
	errno = error;
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

static int map_one(const char *path, int fakeroot, unsigned id, const char *step)
{
	char text[64];

	snprintf(text, sizeof text, "%u %u 1", fakeroot ? 0 : id, id);
	return write_file(path, text) ? enter_fail(step) : 0;
}

/* The kernel asks for setgroups to be given up first: an ordinary user could drop a group that denies him access. */
static int map_own_gid(gid_t gid, int fakeroot)
{
	if (write_file("/proc/self/setgroups", "deny") && errno != ENOENT)
		return enter_fail("give up setgroups in the user namespace");
	return map_one("/proc/self/gid_map", fakeroot, gid, "map the group id");
}

/* One-entry maps. */
static int map_self(uid_t uid, gid_t gid, int fakeroot)
{
	if (map_one("/proc/self/uid_map", fakeroot, uid, "map the user id"))
		return -1;
	return map_own_gid(gid, fakeroot);
}

/* Runs `TOOL PID A B C …`, with the numbers in one string as they stand in the plan. */
static int run_map_tool(const char *tool, pid_t pid, const char *numbers)
{
	char target[16], copy[1024], *argv[64] = { (char *)tool, target }, *save = NULL;
	int argc = 2, status;

	snprintf(target, sizeof target, "%d", pid);
	snprintf(copy, sizeof copy, "%s", numbers);
	for (char *n = strtok_r(copy, " ", &save); n && argc < 63; n = strtok_r(NULL, " ", &save))
		argv[argc++] = n;
	pid_t child = fork();
	if (child == 0) {
		execvp(tool, argv);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -1;
	return status == 0 ? 0 : -1;
}

/* Writes a map of a process below, as whoever has all capabilities here may. Ids that are not mapped here cannot be there: then 0 is our own, and no other. */
static int write_map(const char *file, pid_t pid, const char *numbers, unsigned own)
{
	char path[64], text[1024];
	size_t n = 0;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
	for (int spaces = 0; numbers[n] && n + 1 < sizeof text; n++)
		text[n] = numbers[n] == ' ' && ++spaces % 3 == 0 ? '\n' : numbers[n];
	text[n] = 0;
	if (write_file(path, text) == 0)
		return 0;
	snprintf(text, sizeof text, "0 %u 1", own);
	return write_file(path, text);
}

enum { MAPPED, NO_UIDS, NO_GIDS }; /* exit status of the mapper */

static int map_ids(const struct plan *p, pid_t pid, int below)
{
	if (below ? write_map("uid_map", pid, p->uids, enter_state.uid) : run_map_tool("newuidmap", pid, p->uids))
		return NO_UIDS;
	if (below ? write_map("gid_map", pid, p->gids, enter_state.gid) : run_map_tool("newgidmap", pid, p->gids))
		return NO_GIDS;
	return MAPPED;
}

/* Maps are written from outside of the namespace: a helper forked before waits for the namespace to exist. */
static pid_t start_mapper(const struct plan *p, int go[2], int below)
{
	pid_t self = getpid(), child;
	char byte;

	if (pipe2(go, O_CLOEXEC))
		return -1;
	child = fork();
	if (child != 0)
		return child;
	close(go[1]);
	if (read(go[0], &byte, 1) != 1)
		_exit(0);
	signal(SIGCHLD, SIG_DFL);
	_exit(map_ids(p, self, below));
}

/* Returns what the mapper says, -1 if there is nothing to map. */
static int finish_mapper(pid_t mapper, int go[2], int made)
{
	int status = -1;

	if (made && write(go[1], "", 1) != 1)
		made = 0;
	close(go[0]);
	close(go[1]);
	while (waitpid(mapper, &status, 0) < 0 && errno == EINTR)
		;
	return !made ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : NO_UIDS;
}

static int mapped(int answer)
{
	errno = EPERM;
	switch (answer) {
	case MAPPED:
		return 0;
	case NO_UIDS:
		return enter_fail("map subordinate user ids with newuidmap");
	case NO_GIDS:
		return enter_fail("map subordinate group ids with newgidmap");
	}
	return -1;
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0) {
		ioctl(fd, SIOCSIFFLAGS, &request);
		close(fd);
	}
}

static int made(unsigned flags)
{
	if (flags & CLONE_NEWNET)
		loopback_up();
	enter_state.made |= flags;
	return 0;
}

int enter_own(const struct plan *p)
{
	int go[2], answer;
	pid_t mapper = 0;

	if (p->uids && p->gids && (mapper = start_mapper(p, go, 0)) < 0)
		return enter_fail("start newuidmap");
	int failed = unshare(CLONE_NEWUSER | CLONE_NEWNS | p->flags);
	if (failed)
		enter_fail("create a user namespace");
	if (mapper) {
		answer = finish_mapper(mapper, go, !failed);
		if (!p->daemon || answer < 0)
			failed = mapped(answer);
		else if (answer == NO_UIDS) /* a session does without where the administrator's grant is worth nothing */
			failed = map_self(enter_state.uid, enter_state.gid, 0);
		else if (answer == NO_GIDS)
			failed = map_own_gid(enter_state.gid, 0);
	} else if (!failed) {
		failed = map_self(enter_state.uid, enter_state.gid, p->fakeroot);
	}
	if (failed)
		return -1;
	enter_state.kind = ENTER_OWN;
	return made(p->flags);
}

static int fakeroot_below(const struct plan *p)
{
	int go[2];
	pid_t mapper = 0;

	if (p->uids && p->gids && (mapper = start_mapper(p, go, 1)) < 0)
		return enter_fail("map ids");
	int failed = unshare(CLONE_NEWUSER | CLONE_NEWNS | p->flags);
	if (failed)
		enter_fail("create a user namespace");
	if (mapper)
		return mapped(finish_mapper(mapper, go, !failed));
	return failed ? -1 : map_self(enter_state.uid, enter_state.gid, 1);
}

/* In a session's user namespace already, with all capabilities in it: fakeroot needs one more below, the rest does not. */
int enter_below_session(const struct plan *p)
{
	if (p->fakeroot) {
		if (fakeroot_below(p))
			return -1;
	} else if (p->flags && unshare(p->flags)) {
		return enter_fail("create namespaces");
	}
	return made(p->flags);
}

/* Before the user namespace is another one: what the caller may do in the network's, he may do here only. */
int enter_network(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int failed = fd < 0 || setns(fd, CLONE_NEWNET);

	if (failed)
		enter_fail("join the network namespace");
	if (fd >= 0)
		close(fd);
	return failed ? -1 : 0;
}

/* Enters those namespaces of pid that differ from ours; entering again the machine's own would be refused. */
int enter_process(pid_t pid)
{
	static const struct { const char *name; int flag; } all[] = {
		{ "user", CLONE_NEWUSER }, { "mnt", CLONE_NEWNS }, { "pid", CLONE_NEWPID }, { "ipc", CLONE_NEWIPC },
		{ "uts", CLONE_NEWUTS }, { "net", CLONE_NEWNET }, { "cgroup", CLONE_NEWCGROUP },
	};
	int flags = 0;
	int fd = syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return enter_fail("find the instance's process");
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		char path[64];
		struct stat theirs, ours;
		snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, all[i].name);
		if (stat(path, &theirs))
			continue;
		snprintf(path, sizeof path, "/proc/self/ns/%s", all[i].name);
		if (stat(path, &ours) == 0 && ours.st_ino != theirs.st_ino)
			flags |= all[i].flag;
	}
	if (flags && setns(fd, flags)) {
		enter_fail("enter the instance's namespaces");
		close(fd);
		return -1;
	}
	close(fd);
	enter_state.kind = ENTER_PROCESS;
	enter_state.made |= flags & ~(CLONE_NEWUSER | CLONE_NEWNS);
	return 0;
}

/*
 * execve of a user other than root empties the permitted set but for ambient capabilities. With keep they are made
 * ambient, for the next execve of ourselves; without it, ambient and inheritable sets are emptied again, as the command
 * must not get them.
 */
int enter_keep_capabilities(int keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0L, 0L, 0L);
	if (syscall(SYS_capget, &header, data))
		return enter_fail("read capabilities");
	for (int i = 0; i < 2; i++)
		data[i].inheritable = keep ? data[i].permitted : 0;
	if (syscall(SYS_capset, &header, data))
		return enter_fail("set capabilities");
	for (int c = 0; keep && c < 64; c++)
		if (data[c / 32].permitted & 1u << c % 32)
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, (long)c, 0L, 0L);
	return 0;
}
